//! `dkimwatch unload`: takes away what `run` left in the kernel.

use std::{io::Write as _, path::PathBuf};

use anyhow::Result;

use crate::{
    cli::watching::complain,
    exit::Outcome,
    kernel::{PIN_FOLDER, unload},
};

/// Removes hooks and rings that `run` left in the kernel: from then on nothing is seen until it is started again. What the rings held and
/// no `run` has written down is lost.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Where they are
    #[arg(long, value_name = "DIR", default_value = PIN_FOLDER, value_hint = clap::ValueHint::DirPath)]
    pub pins: PathBuf,
}

/// Runs the command.
///
/// # Errors
/// When standard output is closed. What is wrong with the pins is printed, and is the outcome.
pub fn run(args: &Args) -> Result<Outcome> {
    match unload(&args.pins) {
        Ok(0) => writeln!(std::io::stdout(), "nothing was left in the kernel")?,
        Ok(hooks) => writeln!(std::io::stdout(), "detached {hooks} hooks: the keys are not watched any more")?,
        Err(error) => return complain(&error, Outcome::Blind),
    }
    Ok(Outcome::Quiet)
}
