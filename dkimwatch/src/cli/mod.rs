//! The command line: every command and flag, from which help, manual pages and completions come.

pub mod audit;
pub mod bench_attach;
pub mod config;
pub mod doctor;
pub mod events;
pub mod journal;
pub mod keys;
pub mod replay;
pub mod report;
pub mod run;
pub mod selection;
pub mod unload;
pub mod watch;
mod watching;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::exit::Outcome;

/// Watch who opens the DKIM private keys of this mail host, and say when it was not the signer.
#[derive(Parser, Clone, Debug)]
#[command(name = "dkimwatch", version, max_term_width = 100)]
#[command(after_help = "Exit codes: 0 quiet, 1 findings, 2 usage or configuration, 3 cannot see.")]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Clone, Debug)]
pub enum Command {
    /// Watch the keys and print a line for each access.
    ///
    /// The line `watch-started` comes once the hooks have reported a canary, and says what this kernel cannot see. SIGINT
    /// and SIGTERM end the watch: it prints what is still under way, and a summary.
    ///
    /// Exits with 0 if every reader was expected, 1 if one was not, 2 if the command line or the configuration is wrong, 3
    /// if the kernel cannot be watched.
    Watch(watch::Args),
    /// Watch as a service: every event into the journal, and then alerts to standard output.
    ///
    /// Ready, for systemd, once the hooks have reported a canary. SIGHUP reads the configuration again: a wrong one is told, and the old
    /// one goes on; between the two nothing goes unseen. SIGINT and SIGTERM end the watch, and what is under way is recorded.
    /// The kernel goes on watching, and holds what it sees until `run` is started again: the records of that time come first then.
    /// `--no-pin` leaves nothing behind, and `dkimwatch unload` takes away what was left.
    ///
    /// Exits with 0 if every reader was expected, 1 if one was not, 2 if the command line or the configuration is wrong, 3
    /// if the kernel cannot be watched or the journal cannot be written.
    Run(run::Args),
    /// Take away what `run` left in the kernel.
    ///
    /// The hooks of `dkimwatch run` go on seeing when it has ended, and hold what they see until it is started again. This detaches them
    /// and lets go of what they hold. Not while `dkimwatch run` runs.
    ///
    /// Exits with 0, also where nothing was left, and with 3 if something cannot be removed.
    Unload(unload::Args),
    /// List the keys of this host, and how each was found.
    ///
    /// Asks the signers' own configuration; no key is opened. Exits with 0, also where there is no key, and with 2 if the
    /// configuration is wrong.
    Keys(keys::Args),
    /// Say what this kernel allows, which backend works, what stays unseen, and what to change.
    ///
    /// Tries every backend on a canary and leaves none attached. Exits with 0 if one works, 3 if none does.
    Doctor(doctor::DoctorArgs),
    /// Look for keys where none should be.
    Audit(audit::Args),
    /// Read the journal, or follow it as it is written.
    ///
    /// Exits with 0, also where nothing is to be told, and with 2 if there is no journal.
    Events(events::Args),
    /// Verify the journal, set its seal up, or say what it holds.
    Journal(journal::Args),
    /// Work on the configuration.
    Config(config::Args),
    /// Run recorded accesses through the program and compare with the expected lines.
    ///
    /// Needs no privilege. Exits with 0 if every story came out as expected, 1 if one did not, 2 if one could not be run.
    Replay(replay::ReplayArgs),
    /// Say what journals know: was a key exposed, since when, by whom, and what is to be done.
    ///
    /// The verdict comes first, then what to do for each domain, the readers of each key, the accesses that nobody expected,
    /// the times at which nobody watched, and whether the journals can be believed. Journals may be copies from other hosts;
    /// entries of several are put in the order of time. Times are UTC.
    ///
    /// A key is exposed when somebody who was not expected opened or read it, or reached a device or a process's memory that
    /// holds it. What was refused exposes nothing. What root's own checks and key tools do (severity notice) is told apart.
    ///
    /// The page of --format html is one file without a script, and fetches nothing.
    ///
    /// Exits with 0 if all accesses were expected and all of the time was watched, 1 if not, 2 if the command line is wrong or
    /// there is no journal, 3 if a journal cannot be read.
    Report(report::Args),
    /// Attach one set of programs and wait, for `cargo xtask bench`.
    #[command(hide = true)]
    BenchAttach(bench_attach::BenchAttachArgs),
}

impl Cli {
    /// Runs the command.
    ///
    /// # Errors
    /// What the command could not do, in words for the operator.
    pub fn run(self) -> Result<Outcome> {
        match self.command {
            Command::Watch(args) => watch::run(&args),
            Command::Run(args) => run::run(&args),
            Command::Unload(args) => unload::run(&args),
            Command::Keys(args) => keys::run(&args),
            Command::Audit(args) => audit::run(&args),
            Command::Events(args) => events::run(&args),
            Command::Journal(args) => journal::run(&args),
            Command::Config(args) => config::run(&args),
            Command::Replay(args) => replay::run(&args),
            Command::Report(args) => report::run(&args),
            Command::Doctor(args) => doctor::run(&args),
            Command::BenchAttach(args) => bench_attach::run(&args),
        }
    }
}
