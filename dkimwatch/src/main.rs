//! Parses, runs, and turns the outcome into an exit code.

use std::process::ExitCode;

use clap::Parser as _;
use dkimwatch::{cli::Cli, exit::Outcome};
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("DKIMWATCH_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    // At `debug` it says an engine's whole answer, with a container's environment in it, where passwords are.
    let filter = match "bollard=info".parse() {
        Ok(quiet) => filter.add_directive(quiet),
        Err(_) => filter,
    };
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match cli.run() {
        Ok(outcome) => outcome.into(),
        // Whoever read the output has had enough.
        Err(error) if is_closed_pipe(&error) => Outcome::Quiet.into(),
        Err(error) => {
            tracing::error!("{error:#}");
            Outcome::Blind.into()
        }
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}
