//! `dkimwatch watch`: watches, and prints a line for each access.

use std::{io::IsTerminal as _, time::Duration};

use anyhow::Result;

use crate::{
    cli::{
        selection::Selection,
        watching::{see, shutdown, wanted},
    },
    config,
    exit::Outcome,
    kernel::BackendChoice,
    print::{Colour, Ecs, HostFacts, Pretty, Printer},
};

/// Watches the keys and prints a line for each access.
///
/// Exit code 0 if every reader was expected, 1 if one was not, 2 if the configuration is wrong, 3 if the kernel cannot be
/// watched.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which keys.
    #[command(flatten)]
    pub selection: Selection,
    /// Lines for people, or one ECS 9 object a line
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    pub format: Format,
    /// The way into the kernel: the first that works, or only this one
    #[arg(long, value_enum, default_value_t = BackendChoice::Auto)]
    pub backend: BackendChoice,
    /// Stop after this long: 30s, 10m, 2h, 1d
    #[arg(long = "for", value_name = "DURATION", value_parser = config::duration)]
    pub duration: Option<Duration>,
}

/// `--format`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// For people.
    Pretty,
    /// For machines: Elastic Common Schema 9, one JSON object a line.
    Ecs,
}

/// Runs the command.
///
/// # Errors
/// What went wrong while watching. What is wrong before is printed, and is the outcome.
pub fn run(args: &Args) -> Result<Outcome> {
    let wanted = match wanted(&args.selection)? {
        Ok(wanted) => wanted,
        Err(outcome) => return Ok(outcome),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        // Before anything is attached: a signal from here on drains and detaches.
        let shutdown = shutdown(args.duration)?;
        let pipeline = match see(wanted, Vec::new(), args.backend, printer(args.format)).await? {
            Ok(pipeline) => pipeline,
            Err(outcome) => return Ok(outcome),
        };
        let counts = pipeline.run(shutdown).await?;
        Ok(if counts.unexpected == 0 { Outcome::Quiet } else { Outcome::Findings })
    })
}

fn printer(format: Format) -> Box<dyn Printer> {
    let out = std::io::stdout();
    match format {
        Format::Ecs => Box::new(Ecs::new(std::io::LineWriter::new(out), HostFacts::of_this_host())),
        Format::Pretty => {
            let colour = if out.is_terminal() { Colour::of_terminal() } else { Colour::Never };
            Box::new(Pretty::new(out, colour))
        }
    }
}
