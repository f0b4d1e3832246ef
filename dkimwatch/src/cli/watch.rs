//! `dkimwatch watch`: watches, and prints a line for each access.

use std::{
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::selection::{Selection, discover_all},
    config,
    exit::Outcome,
    host::Host,
    kernel::{BackendChoice, KernelError, Session},
    keys::Inventory,
    pipeline::Pipeline,
    print::{Colour, Ecs, HostFacts, Pretty, Printer},
    watchlist::WatchList,
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
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
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
    let host = Host::here();
    let mut loaded = match args.selection.load(&host) {
        Ok(loaded) => loaded,
        Err(sentence) => return complain(&sentence, Outcome::Usage),
    };
    if let Some(sentence) = args.selection.hopeless() {
        return complain(&sentence, Outcome::Usage);
    }
    if let Some(sentence) = crate::kernel::missing_rights() {
        return complain(&KernelError::Rights(sentence), Outcome::Blind);
    }
    let inventory = discover_all(&mut loaded.settings, &host);
    for note in loaded.notes.iter().chain(&inventory.notes) {
        tracing::warn!("{}: {}", note.place, note.text);
    }
    if inventory.keys.is_empty() && inventory.folders.is_empty() {
        let text = "no DKIM key found on this host: name its keys in keys.paths of the configuration, or with --key";
        return complain(&text, Outcome::Usage);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(watch(args, loaded.settings, &inventory))
}

async fn watch(args: &Args, settings: config::Settings, inventory: &Inventory) -> Result<Outcome> {
    // Before anything is attached: a signal from here on drains and detaches.
    let shutdown = shutdown(args.duration)?;
    let mut session = match Session::open(log_level()) {
        Ok(session) => session,
        Err(error) => return complain(&error, Outcome::Blind),
    };
    relay_kernel_log(&mut session);
    // First the hooks, then what they watch: nothing falls between looking at a folder and watching it.
    let live = match session.go_live(args.backend) {
        Ok(live) => live,
        Err(error) => return complain(&error, Outcome::Blind),
    };
    let stores = settings.containers.clone();
    let mut list = WatchList::new(settings, inventory);
    list.refresh(&mut session).context("arm the watch")?;
    list.settle().await;
    let pipeline = Pipeline::new(session, live, list, stores, printer(args.format))?;
    match pipeline.run(shutdown).await? {
        0 => Ok(Outcome::Quiet),
        _ => Ok(Outcome::Findings),
    }
}

fn printer(format: Format) -> Box<dyn Printer> {
    let out = std::io::stdout();
    match format {
        Format::Ecs => Box::new(Ecs::new(std::io::LineWriter::new(out), HostFacts::of_this_host())),
        Format::Pretty => {
            let plain = !out.is_terminal() || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
            Box::new(Pretty::new(out, if plain { Colour::Never } else { Colour::Always }))
        }
    }
}

/// aya-log's level: the kernel side's diagnostics are compiled away by the verifier unless they are asked for.
fn log_level() -> u8 {
    match tracing::level_filters::LevelFilter::current().into_level() {
        Some(tracing::Level::DEBUG | tracing::Level::TRACE) => aya_log::Level::Debug as u8,
        _ => 0,
    }
}

/// Hands the kernel side's log to ours.
fn relay_kernel_log(session: &mut Session) {
    use tokio::io::{Interest, unix::AsyncFd};
    let logger = match session.log() {
        Ok(logger) => logger,
        Err(error) => {
            tracing::debug!(%error, "no log from the kernel side");
            return;
        }
    };
    // SAFETY: the logger owns its ring's descriptor, which is the same for as long as it lives.
    match unsafe { AsyncFd::register_with_interest(logger, Interest::READABLE) } {
        Ok(mut logger) => drop(tokio::spawn(async move {
            while let Ok(mut ready) = logger.readable_mut().await {
                ready.get_inner_mut().flush();
                ready.clear_ready();
            }
        })),
        Err(error) => tracing::debug!(%error, "no log from the kernel side"),
    }
}

/// Done at SIGINT, SIGTERM, or when the time is over. The signals are caught from this call on.
fn shutdown(after: Option<Duration>) -> Result<impl Future<Output = ()>> {
    let mut interrupt = signal(SignalKind::interrupt()).context("catch SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("catch SIGTERM")?;
    Ok(async move {
        let time_over = async {
            match after {
                Some(after) => tokio::time::sleep(after).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            () = time_over => {}
        }
    })
}

fn complain(error: &dyn std::fmt::Display, outcome: Outcome) -> Result<Outcome> {
    writeln!(std::io::stderr().lock(), "dkimwatch: {error}")?;
    Ok(outcome)
}

/// A number and a unit.
fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let seconds = match text.get(digits.len()..) {
        Some("s" | "") => 1,
        Some("m") => 60,
        Some("h") => 60 * 60,
        Some("d") => 24 * 60 * 60,
        _ => return Err("a duration is a number and s, m, h or d, for instance 30s".to_owned()),
    };
    let number: u64 = digits.parse().map_err(|_| format!("{digits:?} is not a whole number"))?;
    number.checked_mul(seconds).map(Duration::from_secs).ok_or_else(|| format!("{text} is too long"))
}

#[cfg(test)]
mod tests {
    use super::duration;
    use std::time::Duration;

    #[test]
    fn durations_have_units() {
        assert_eq!(duration("30s"), Ok(Duration::from_secs(30)));
        assert_eq!(duration("2h"), Ok(Duration::from_secs(7200)));
        for wrong in ["", "s", "1w", "-1s", "1.5h", "99999999999999999999d", "18446744073709551615d"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
    }
}
