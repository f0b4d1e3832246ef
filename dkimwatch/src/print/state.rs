//! Events of the watch itself: it sees, it saw nothing for a while, it ends.

use std::time::Duration;

use dkimwatch_common::{record::Via, tally::Hook};

use crate::{escape, judge::JudgedKey, record::Notice, summary::Summed};

/// An event of the watch itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// The hooks are proven live.
    Started(WatchStarted),
    /// Accesses were lost.
    Lost(EventsLost),
    /// The watch goes on.
    Heartbeat(Heartbeat),
    /// The journal says something of itself.
    Journal(JournalNoted),
    /// The watch goes on from another one.
    Resumed(WatchResumed),
    /// The watch has ended.
    Stopped(WatchStopped),
    /// Expected opens, in sum.
    Summarised(Box<Summed>),
}

/// `watch-started`: comes once, after the canary was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchStarted {
    /// Wall-clock time, nanoseconds since the Unix epoch.
    pub unix_ns: i128,
    /// The backend.
    pub backend: Via,
    /// The hooks that are attached.
    pub hooks: Vec<Hook>,
    /// The keys that are watched.
    pub keys: Vec<JudgedKey>,
    /// The folders that are watched as a whole.
    pub folders: Vec<std::path::PathBuf>,
    /// Names of the expected signers.
    pub signers: Vec<String>,
    /// What this kernel and this backend cannot see, a sentence each.
    pub blind_spots: Vec<String>,
}

/// How something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// The ring had no room for a record.
    RingFull,
    /// A record came and could not be decoded.
    Undecodable,
    /// A hook's program was not asked: the kernel does not enter one that another task was preempted in (`recursion_misses`).
    PassedBy,
}

impl Loss {
    /// As the events name it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::RingFull => "ring-full",
            Self::Undecodable => "undecodable",
            Self::PassedBy => "passed-by",
        }
    }
}

/// `events-lost`: something went unseen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsLost {
    /// Wall-clock time of the report, nanoseconds since the Unix epoch.
    pub unix_ns: i128,
    /// How.
    pub why: Loss,
    /// The hook that lost them; `None` for records that came and could not be decoded.
    pub hook: Option<Hook>,
    /// The CPU that lost them, where known.
    pub cpu: Option<u32>,
    /// How many.
    pub count: u64,
    /// They were lost after this time, nanoseconds since the Unix epoch …
    pub since_unix_ns: i128,
    /// … and before this one.
    pub until_unix_ns: i128,
}

/// `watch-heartbeat`: a minute has passed, so that silence means something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heartbeat {
    /// Wall-clock time, nanoseconds since the Unix epoch.
    pub unix_ns: i128,
    /// How long the watch has run.
    pub ran: Duration,
    /// What it has told of since.
    pub counts: Counts,
}

/// What a watch has told of since it began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Accesses by expected signers.
    pub expected: u64,
    /// Accesses by declared maintenance.
    pub maintenance: u64,
    /// Accesses by anybody else.
    pub unexpected: u64,
    /// Accesses lost, and records that could not be decoded.
    pub lost: u64,
    /// Calls, of whatever file, that passed a program by ([`Loss::PassedBy`]).
    pub passed_by: u64,
}

/// `journal-…`: something that an investigator must know of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalNoted {
    /// Wall-clock time, nanoseconds since the Unix epoch.
    pub unix_ns: i128,
    /// What.
    pub notice: Notice,
}

/// `watch-resumed`: the kernel went on watching while no dkimwatch ran, and what it saw was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchResumed {
    /// Wall-clock time, nanoseconds since the Unix epoch.
    pub unix_ns: i128,
    /// When the former watch wrote its last word, nanoseconds since the Unix epoch.
    pub since_unix_ns: i128,
    /// Records that the kernel held and that were told now.
    pub count: u64,
    /// Records that it held and that the journal had already.
    pub known: u64,
    /// All of the former watch's hooks went on; else what they had seen by its end is all that there is.
    pub whole: bool,
}

/// `watch-stopped`: the summary.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchStopped {
    /// Wall-clock time, nanoseconds since the Unix epoch.
    pub unix_ns: i128,
    /// How long the watch ran.
    pub ran: Duration,
    /// What it has told of.
    pub counts: Counts,
    /// The kernel goes on watching, and holds what it sees.
    pub goes_on: bool,
}

impl State {
    /// Wall-clock time, nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn unix_ns(&self) -> i128 {
        match self {
            Self::Started(started) => started.unix_ns,
            Self::Lost(lost) => lost.unix_ns,
            Self::Heartbeat(heartbeat) => heartbeat.unix_ns,
            Self::Journal(noted) => noted.unix_ns,
            Self::Resumed(resumed) => resumed.unix_ns,
            Self::Stopped(stopped) => stopped.unix_ns,
            Self::Summarised(summed) => summed.unix_ns,
        }
    }

    /// The word in events (`event.action`).
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Started(_) => "watch-started",
            Self::Lost(_) => "events-lost",
            Self::Heartbeat(_) => "watch-heartbeat",
            Self::Journal(noted) => noted.notice.action(),
            Self::Resumed(_) => "watch-resumed",
            Self::Stopped(_) => "watch-stopped",
            Self::Summarised(_) => "key-opens-summarised",
        }
    }

    /// A sentence a person can act on (`event.reason`).
    #[must_use]
    pub fn reason(&self) -> String {
        match self {
            Self::Started(started) => format!(
                "The {} backend is live: it saw the canary. Watching {} and {} for {}.",
                started.backend.name(),
                count(started.keys.len(), "key"),
                count(started.folders.len(), "folder"),
                if started.signers.is_empty() {
                    "any reader, as no signer is expected".to_owned()
                } else {
                    format!("readers other than {}", escape::text(started.signers.join(", ").as_bytes()))
                },
            ),
            Self::Lost(lost) => {
                let hook = lost.hook.map_or("", |hook| hook.name());
                let (singular, plural_, what) = match lost.why {
                    Loss::RingFull => {
                        ("access", "accesses", format!("could not be handed over by {hook}, as the ring was full"))
                    }
                    Loss::Undecodable => ("access", "accesses", "came as records that could not be decoded".to_owned()),
                    Loss::PassedBy => (
                        "call",
                        "calls",
                        format!(
                            "passed {hook} by, as another task had been preempted in its program, and what was called for is unknown"
                        ),
                    ),
                };
                let advice = match lost.why {
                    Loss::RingFull | Loss::Undecodable => "Look for what opened keys so often.",
                    Loss::PassedBy => "The lsm backend has no such gap: see dkimwatch doctor.",
                };
                format!(
                    "{} {what}, between {} and {}: a reader in that time may be unknown. {advice}",
                    plural(lost.count, singular, plural_),
                    super::time::rfc3339(lost.since_unix_ns),
                    super::time::rfc3339(lost.until_unix_ns),
                )
            }
            Self::Heartbeat(heartbeat) => {
                format!("The watch goes on after {} s. {}", heartbeat.ran.as_secs(), heartbeat.counts.sentence())
            }
            Self::Journal(noted) => noted.notice.reason(),
            Self::Resumed(resumed) => {
                let known = match resumed.known {
                    0 => String::new(),
                    known => format!(" {} in the journal already.", plural(known, "record was", "records were")),
                };
                let did = if resumed.whole {
                    "went on watching since"
                } else {
                    "held what was not read when the former watch ended without a word, and nobody watched since"
                };
                format!(
                    "The kernel {did} {}: {} that it held {} read, and what came of them stands before this.{known}",
                    super::time::rfc3339(resumed.since_unix_ns),
                    plural(resumed.count, "record", "records"),
                    if resumed.count == 1 { "was" } else { "were" },
                )
            }
            Self::Stopped(stopped) => format!(
                "The watch has ended after {} s; {}. {}",
                stopped.ran.as_secs(),
                if stopped.goes_on {
                    "the kernel goes on watching, and holds what it sees until dkimwatch run is started again"
                } else {
                    "nobody sees the keys now"
                },
                stopped.counts.sentence()
            ),
            Self::Summarised(summed) => summed.sentence(),
        }
    }
}

impl Counts {
    fn sentence(&self) -> String {
        let Self { expected, maintenance, unexpected, lost, passed_by } = *self;
        let passed_by = match passed_by {
            0 => String::new(),
            count => format!(" {} passed a hook by.", plural(count, "call", "calls")),
        };
        format!(
            "It saw {} by expected signers, {maintenance} by maintenance, {unexpected} by others, and lost {lost}.{passed_by}",
            plural(expected, "access", "accesses"),
        )
    }
}

fn count(number: usize, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

fn plural(number: u64, one: &str, more: &str) -> String {
    if number == 1 { format!("1 {one}") } else { format!("{number} {more}") }
}

impl Summed {
    fn sentence(&self) -> String {
        let Self { group, count, first_unix_ns, last_unix_ns, processes, .. } = self;
        let key = match (&group.domain, &group.selector) {
            (Some(domain), Some(selector)) => {
                format!("{}/{}", escape::text(domain.as_bytes()), escape::text(selector.as_bytes()))
            }
            _ => group.path.clone(),
        };
        format!(
            "{} was opened {} by {} of {}, as is expected, between {} and {}. The first open of each process is an event of its own.",
            key,
            plural(*count, "time", "times"),
            plural(*processes, "process", "processes"),
            group.executable.as_deref().unwrap_or("a program without a path"),
            super::time::rfc3339(*first_unix_ns),
            super::time::rfc3339(*last_unix_ns),
        )
    }
}
