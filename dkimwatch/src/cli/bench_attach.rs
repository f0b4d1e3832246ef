//! `dkimwatch bench-attach`: attaches one set of programs and waits, so that a benchmark can measure beside it.

use std::io::{Read as _, Write as _};

use anyhow::Result;

use crate::{
    exit::Outcome,
    kernel::{Backend, BackendChoice, Empties, Session},
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
    /// An empty program at each hook of the lsm backend.
    EmptyLsm,
    /// An empty program at each hook of the fentry backend.
    EmptyFentry,
    /// An empty program at each hook of the tracepoint backend.
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
    match args.program {
        Set::EmptyLsm => waiting(Empties::attach(Backend::Lsm)?),
        Set::EmptyFentry => waiting(Empties::attach(Backend::Fentry)?),
        Set::EmptyTracepoint => waiting(Empties::attach(Backend::Tracepoint)?),
        Set::Lsm => waiting(live(BackendChoice::Lsm)?),
        Set::Fentry => waiting(live(BackendChoice::Fentry)?),
        Set::Tracepoint => waiting(live(BackendChoice::Tracepoint)?),
    }
}

fn live(backend: BackendChoice) -> Result<Session> {
    let mut session = Session::open(0)?;
    session.go_live(backend)?;
    // What it costs at most: with a key on tmpfs.
    session.see_around_page_cache()?;
    Ok(session)
}

/// Says so, and keeps what is attached until the other side has enough of it.
fn waiting<T>(attached: T) -> Result<Outcome> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "attached")?;
    out.flush()?;
    // Returns when the other side closes it.
    std::io::stdin().lock().read_to_end(&mut Vec::new())?;
    drop(attached);
    Ok(Outcome::Quiet)
}
