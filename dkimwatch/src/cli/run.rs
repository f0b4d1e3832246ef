//! `dkimwatch run`: the service. Watches as `watch` does, and writes every event into the journal before it tells anybody.

use std::{
    cell::RefCell,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    rc::Rc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result};
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    away::Heritage,
    cli::{
        selection::Selection,
        watch::Format,
        watching::{Wanted, complain, see, shutdown, wanted},
    },
    clock::boot_ns,
    config::{JournalSettings, Recording},
    exit::Outcome,
    judge::{Guarded, JudgedAccess, Part},
    kernel::{BackendChoice, PIN_FOLDER, PinFolder},
    pipeline::{Border, Pipeline},
    print::{Colour, Ecs, HostFacts, JournalNoted, Pretty, Printer, Progress, State},
    record::{Journal, JournalError, Recorder},
};

/// How often the journal says that the watch goes on.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// How long a program of the kernel side may take that has begun to count an open.
const COUNTING: Duration = Duration::from_millis(10);

/// Watches as a service: every event goes into the journal, alerts and events of the watch to standard output as well.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Which keys.
    #[command(flatten)]
    pub selection: Selection,
    /// What is told: lines for people, or one ECS 9 object a line
    #[arg(long, value_enum, default_value_t = Format::Pretty)]
    pub format: Format,
    /// The way into the kernel: the first that works, or only this one
    #[arg(long, value_enum, default_value_t = BackendChoice::Auto)]
    pub backend: BackendChoice,
    /// Where the kernel keeps hooks and rings while no dkimwatch runs, on a BPF file system
    #[arg(long, value_name = "DIR", default_value = PIN_FOLDER, value_hint = clap::ValueHint::DirPath)]
    pub pins: PathBuf,
    /// End the hooks with the service: what happens until it is started again is not seen
    #[arg(long, conflicts_with = "pins")]
    pub no_pin: bool,
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
    let began = unix_ns();
    // Before anything is watched: what cannot be recorded is no evidence.
    let recorder = match open(&wanted.settings.journal, args.format) {
        Ok(recorder) => Shared(Rc::new(RefCell::new(recorder))),
        Err(Refused::Journal(error)) => return complain(&error, Outcome::Blind),
        Err(Refused::Other(error)) => return Err(error),
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let kept = Kept::open(args, &wanted.settings.journal.folder, began);
        serve(args, wanted, &recorder, kept).await
    })?;
    recorder.0.borrow_mut().finish().context("write the journal to its end")?;
    Ok(outcome)
}

/// Where hooks and rings are kept, and what another watch has left there.
struct Kept {
    /// Or why there is none.
    folder: Result<PinFolder, String>,
    heritage: Vec<Heritage>,
}

impl Kept {
    /// What cannot be kept is said, and is a blind spot: it is no reason not to watch.
    fn open(args: &Args, journal: &Path, since_unix_ns: i64) -> Self {
        let none = |why| Self { folder: Err(why), heritage: Vec::new() };
        if args.no_pin {
            return none("it is told to pin nothing (--no-pin)".to_owned());
        }
        let opened = PinFolder::open(&args.pins)
            .and_then(|folder| Ok((Heritage::all(&folder, journal, since_unix_ns)?, folder)));
        match opened {
            Ok((heritage, folder)) => Self { folder: Ok(folder), heritage },
            Err(error) => {
                tracing::error!("{error}");
                none(error.to_string())
            }
        }
    }
}

async fn serve(args: &Args, wanted: Wanted, recorder: &Shared, mut kept: Kept) -> Result<Outcome> {
    let mut hangup = signal(SignalKind::hangup()).context("catch SIGHUP")?;
    let stop = shutdown(None)?;
    tokio::pin!(stop);
    let journal = wanted.settings.journal.clone();
    let mut pipeline = match see(wanted, own(&journal, &kept), args.backend, Box::new(recorder.clone())).await? {
        Ok(pipeline) => serving(pipeline, &journal, &kept)?,
        Err(outcome) => return Ok(outcome),
    };
    if !kept.heritage.is_empty() {
        // This watch's hooks see by now; what the former one's saw until now is told first. What is counted has no time by which the two
        // could tell whose it is.
        for heritage in &kept.heritage {
            heritage.left.summaries.switch().off()?;
        }
        tokio::time::sleep(COUNTING).await;
        let border = Border::default();
        border.draw(boot_ns());
        pipeline = pipeline.adopting(std::mem::take(&mut kept.heritage), border);
    }
    say(&[NotifyState::Ready, NotifyState::Status("watching")]);
    loop {
        let border = Border::default();
        pipeline = pipeline.before(border.clone());
        let mut next = None;
        let switch = pipeline.switch();
        let end = async {
            loop {
                tokio::select! {
                    () = &mut stop => break,
                    _ = hangup.recv() => {
                        next = reload(args, &journal, recorder, &kept).await;
                        if next.is_some() {
                            // What is counted has no time by which the two could tell whose it is.
                            if let Some(switch) = &switch {
                                if let Err(error) = switch.off() {
                                    tracing::error!(%error, "opens at this moment may be counted twice");
                                }
                                tokio::time::sleep(COUNTING).await;
                            }
                            // What happens from now on is the next one's, which sees already.
                            border.draw(boot_ns());
                            break;
                        }
                    }
                }
            }
        };
        let counts = pipeline.run(end).await?;
        match next {
            Some(next) => pipeline = next.after(counts, border),
            None => {
                say(&[NotifyState::Stopping]);
                return Ok(if counts.unexpected == 0 { Outcome::Quiet } else { Outcome::Findings });
            }
        }
    }
}

/// What is the service's own beside its configuration.
fn own(journal: &JournalSettings, kept: &Kept) -> Vec<Guarded> {
    let pins = kept.folder.as_ref().ok().map(|folder| Guarded { part: Part::Pins, path: folder.path().to_owned() });
    // In this order: a former watch's records name them by it.
    std::iter::once(Guarded { part: Part::Journal, path: journal.folder.clone() }).chain(pins).collect()
}

/// A pipeline as the service has it.
fn serving(pipeline: Pipeline, journal: &JournalSettings, kept: &Kept) -> Result<Pipeline> {
    let mut pipeline = pipeline.with_heartbeat(HEARTBEAT).with_pulse(pulse);
    pipeline.pin(kept.folder.as_ref().map_err(String::as_str), &journal.folder)?;
    match journal.record {
        Recording::Summary => pipeline.with_summaries(),
        Recording::All => Ok(pipeline),
    }
}

/// A pipeline by the configuration as it is now. `None`: it is wrong, which was said, and the old one goes on.
async fn reload(args: &Args, journal: &JournalSettings, recorder: &Shared, kept: &Kept) -> Option<Pipeline> {
    say(&[NotifyState::Reloading, NotifyState::monotonic_usec_now().unwrap_or(NotifyState::Status("reloading"))]);
    let next = async {
        let wanted = wanted(&args.selection)?;
        let Ok(wanted) = wanted else { anyhow::bail!("see above") };
        if wanted.settings.journal != *journal {
            tracing::warn!("the table [journal] has changed: it counts from the next start on");
        }
        match see(wanted, own(journal, kept), args.backend, Box::new(recorder.clone())).await? {
            Ok(next) => serving(next, journal, kept),
            Err(_) => anyhow::bail!("see above"),
        }
    };
    let next = next.await;
    say(&[NotifyState::Ready]);
    next.inspect_err(|error| tracing::error!("the new configuration is not used, the old one goes on: {error:#}")).ok()
}

/// Why there is no recorder.
enum Refused {
    Journal(JournalError),
    Other(anyhow::Error),
}

fn open(settings: &JournalSettings, format: Format) -> Result<Recorder, Refused> {
    let unix_ns = unix_ns();
    let (journal, notices) = Journal::open(&settings.folder, settings.limits, unix_ns).map_err(Refused::Journal)?;
    if !journal.is_sealed() {
        tracing::warn!(
            "the journal is not sealed: whoever comes to be root here can rewrite it unseen; run `dkimwatch journal setup-sealing` once and keep what it prints off this host"
        );
    }
    let host = HostFacts::of_this_host();
    let stdout = std::io::stdout();
    let colour = if stdout.is_terminal() { Colour::of_terminal() } else { Colour::Never };
    let teller_host = host.clone();
    let made = Recorder::new(
        journal,
        settings.sync,
        host,
        move |lines| -> Box<dyn Printer> {
            match format {
                Format::Pretty => Box::new(Pretty::new(lines, colour)),
                Format::Ecs => Box::new(Ecs::new(lines, teller_host)),
            }
        },
        Box::new(stdout),
    );
    let mut recorder = made.context("a thread for the journal").map_err(Refused::Other)?;
    for notice in notices {
        let state = State::Journal(JournalNoted { unix_ns: unix_ns.into(), notice });
        recorder.state(&state).context("write the journal").map_err(Refused::Other)?;
    }
    Ok(recorder)
}

/// Wall-clock time, nanoseconds since the Unix epoch.
fn unix_ns() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}

/// systemd's watchdog: it is fed by the loop that reads the rings.
fn pulse() {
    say(&[NotifyState::Watchdog]);
}

/// Tells systemd, where it is there: sd_notify(3).
fn say(what: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(what) {
        tracing::debug!(%error, "systemd does not hear");
    }
}

/// A recorder that one pipeline hands on to the next.
#[derive(Clone)]
struct Shared(Rc<RefCell<Recorder>>);

impl Printer for Shared {
    fn access(&mut self, judged: &JudgedAccess) -> std::io::Result<()> {
        self.0.borrow_mut().access(judged)
    }

    fn follow_up(&mut self, judged: &JudgedAccess) -> std::io::Result<()> {
        self.0.borrow_mut().follow_up(judged)
    }

    fn state(&mut self, state: &State) -> std::io::Result<()> {
        self.0.borrow_mut().state(state)
    }

    fn progress(&self) -> Progress {
        self.0.borrow().progress()
    }
}
