//! What `watch` and `run` have in common: from the command line to a pipeline that sees.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    cli::selection::{Selection, discover_all},
    config::{self, Settings},
    exit::Outcome,
    host::Host,
    judge::{Guarded, Part},
    kernel::{BackendChoice, KernelError, Session},
    keys::Inventory,
    pipeline::Pipeline,
    print::Printer,
    watchlist::WatchList,
};

/// What is to be watched.
pub(super) struct Wanted {
    pub(super) settings: Settings,
    /// The configuration's file, absolute, whether it is there or not.
    pub(super) config: PathBuf,
    pub(super) inventory: Inventory,
}

/// Asks configuration and host. What is wrong is printed, and is the outcome.
pub(super) fn wanted(selection: &Selection) -> Result<Result<Wanted, Outcome>> {
    let host = Host::here();
    let mut loaded = match selection.load(&host) {
        Ok(loaded) => loaded,
        Err(sentence) => return complain(&sentence, Outcome::Usage).map(Err),
    };
    if let Some(sentence) = selection.hopeless() {
        return complain(&sentence, Outcome::Usage).map(Err);
    }
    if let Some(sentence) = crate::kernel::missing_rights() {
        return complain(&KernelError::Rights(sentence), Outcome::Blind).map(Err);
    }
    let inventory = discover_all(&mut loaded.settings, &host);
    for note in loaded.notes.iter().chain(&inventory.notes) {
        tracing::warn!("{}: {}", note.place, note.text);
    }
    if inventory.keys.is_empty() && inventory.folders.is_empty() {
        let text = "no DKIM key found on this host: name its keys in keys.paths of the configuration, or with --key";
        return complain(&text, Outcome::Usage).map(Err);
    }
    let config = loaded.file.as_deref().unwrap_or(Path::new(config::DEFAULT_PATH));
    let config = std::path::absolute(config).context("the configuration's path")?;
    Ok(Ok(Wanted { settings: loaded.settings, config, inventory }))
}

/// A pipeline that has seen the canary, and whose list is armed; so are the configuration and what else is the watch's own.
pub(super) async fn see(
    wanted: Wanted,
    own: Vec<Guarded>,
    backend: BackendChoice,
    printer: Box<dyn Printer>,
) -> Result<Result<Pipeline, Outcome>> {
    let mut session = match Session::open(log_level()) {
        Ok(session) => session,
        Err(error) => return complain(&error, Outcome::Blind).map(Err),
    };
    relay_kernel_log(&mut session);
    // First the hooks, then what they watch: nothing falls between looking at a folder and watching it.
    let live = match session.go_live(backend) {
        Ok(live) => live,
        Err(error) => return complain(&error, Outcome::Blind).map(Err),
    };
    let Wanted { settings, config, inventory } = wanted;
    let stores = settings.containers.clone();
    let mut list = WatchList::new(settings, &inventory);
    list.guard([Guarded { part: Part::Configuration, path: config }]);
    list.guard(own);
    list.refresh(&mut session).context("arm the watch")?;
    list.settle().await;
    Pipeline::new(session, live, list, stores, printer).map(Ok)
}

/// Done at SIGINT, SIGTERM, or when the time is over. The signals are caught from this call on.
pub(super) fn shutdown(after: Option<Duration>) -> Result<impl Future<Output = ()>> {
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

/// Says what is wrong.
pub(super) fn complain(error: &dyn std::fmt::Display, outcome: Outcome) -> Result<Outcome> {
    writeln!(std::io::stderr().lock(), "dkimwatch: {error}")?;
    Ok(outcome)
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
