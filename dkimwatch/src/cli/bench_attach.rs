//! `dkimwatch bench-attach`: attaches one set of programs and waits, so that a benchmark can measure beside it.

use std::io::{Read as _, Write as _};

use anyhow::Result;

use crate::{
    exit::Outcome,
    kernel::{Backend, BackendChoice, Session},
};

/// Attaches one set of programs, prints `attached`, and stays until its standard input closes.
#[derive(clap::Args, Clone, Debug)]
pub struct BenchAttachArgs {
    /// Which set.
    #[arg(long)]
    pub program: Set,
}

/// A set of programs.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub enum Set {
    /// An empty program at the LSM hook.
    EmptyLsm,
    /// An empty program at the function's exit.
    EmptyFexit,
    /// An empty program at the system calls' exits.
    EmptyTracepoint,
    /// The lsm backend.
    Lsm,
    /// The fentry backend.
    Fentry,
    /// The tracepoint backend.
    Tracepoint,
}

/// Attaches and waits.
///
/// # Errors
/// When the kernel refuses.
pub fn run(args: &BenchAttachArgs) -> Result<Outcome> {
    let mut session = Session::open(0)?;
    match args.program {
        Set::EmptyLsm => session.attach_empty(Backend::Lsm)?,
        Set::EmptyFexit => session.attach_empty(Backend::Fentry)?,
        Set::EmptyTracepoint => session.attach_empty(Backend::Tracepoint)?,
        Set::Lsm => drop(session.go_live(BackendChoice::Lsm)?),
        Set::Fentry => drop(session.go_live(BackendChoice::Fentry)?),
        Set::Tracepoint => drop(session.go_live(BackendChoice::Tracepoint)?),
    }
    let mut out = std::io::stdout().lock();
    writeln!(out, "attached")?;
    out.flush()?;
    // Returns when the other side closes it.
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    Ok(Outcome::Quiet)
}
