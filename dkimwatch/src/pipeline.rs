//! The one road through the program: ring → decode → attribute → judge → print.

mod adopting;
mod asked;
mod doubts;
mod ending;
mod held;
mod making;
mod settling;
mod summing;
mod telling;
mod window;

use std::{
    collections::VecDeque,
    future::Future,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use bytes::Bytes;
use dkimwatch_common::{
    deed::Deed,
    record::Kind,
    tally::Hook,
    watch::{FileWatch, Tag, file_watch},
};

use crate::{
    attribute::{AttributedAccess, Attributor},
    away::{Heritage, MemoFile},
    clock::{boot_ns, now},
    containers::{Enricher, Keyed, Name, Scout, Stores, Within},
    decode::{self, Access, Ring},
    host::Host,
    judge::{self, JudgedAccess, Verdict},
    kernel::{Batch, Live, Rings, Session, dumps_through_pipe},
    losses::Losses,
    print::{Counts, Printer},
    refused::Resolver,
    watchlist::{Change, Changes, Standing, WatchList},
};
use adopting::Inheritance;
use doubts::Doubts;
use held::Held;
use settling::Settling;
use summing::Summing;
pub use window::Border;

/// How often the hooks' counters are looked at, so that a loss is told soon after.
const LOSS_CHECK: Duration = Duration::from_secs(1);

/// How often the watch list is made true again although nothing told of a change: a safety net, not the mechanism.
const SAFETY_NET: Duration = Duration::from_secs(30);

/// How long the watch list rests after it was made true, at least and at most, when a watched folder changes: somebody who changes
/// one without end must not keep the watch from watching. In between it is [`IDLE`] times what it took.
const REST: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_secs(5);

/// A tenth of the time, not more, is for the list.
const IDLE: u32 = 9;

/// The same where a key may lie elsewhere by now, which is watched only after a look; and never less than the last look took.
const SOON: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_millis(200);

/// Accesses that wait at once. Under a flood the rest is told as it stands.
const HELD: usize = 1_024;

/// A running watch: the stages, and what they need to know.
pub struct Pipeline {
    session: Session,
    rings: Rings,
    list: WatchList,
    changes: Changes,
    refused: Resolver,
    doubts: Doubts,
    attributor: Attributor,
    printer: Box<dyn Printer>,
    live: Live,
    started: Instant,
    /// When the watch list was last made true.
    refreshed: Instant,
    /// The same moment, before the looking began, by the clock of the records.
    refreshed_boot_ns: u64,
    /// How long the looking took.
    refreshing: Duration,
    /// When it was last looked whether a mount led elsewhere.
    looked: Instant,
    told: Counts,
    /// How often it says that it goes on; never, where somebody looks on.
    heartbeat: Option<Duration>,
    /// Told each second that the road is travelled.
    pulse: Option<fn()>,
    /// Where another pipeline ended, and where another one will go on.
    behind: Option<Border>,
    before: Border,
    /// What is read and not given back.
    settling: Settling,
    /// What the next watch must know, where there may be one.
    memo: Option<MemoFile>,
    /// What is to be taken over first.
    heritage: Vec<Heritage>,
    /// It is being taken over.
    inheritance: Option<Inheritance>,
    losses: Losses,
    enricher: Enricher,
    /// Where keys are looked for in containers, if they are.
    scout: Option<Scout>,
    /// Accesses that wait for a verdict, or a moment for their container's details, oldest first.
    held: VecDeque<Held>,
    /// Accesses that were told before their container's details were known.
    followed: VecDeque<AttributedAccess>,
    /// A watched folder changed: look again, once the list has rested.
    stale: bool,
    /// A key's data lies elsewhere by now, or a link leads there: look again soon.
    moved: bool,
    /// Something was mounted or taken away: look soon whether that is so.
    unsure: bool,
    /// Expected opens that are told in sum; none, where each is told.
    summing: Option<Summing>,
}

impl Pipeline {
    /// A pipeline over a session that is live and whose list is armed.
    ///
    /// # Errors
    /// When the rings or inotify cannot be polled.
    pub fn new(
        mut session: Session,
        live: Live,
        list: WatchList,
        stores: Stores,
        printer: Box<dyn Printer>,
    ) -> Result<Self> {
        let rings = session.rings()?;
        let mut changes = Changes::new().context("inotify")?;
        changes.watch(list.concerned());
        let moved = !list.is_settled();
        let scout = if list.discovers() { Some(Scout::new(&stores).context("look for containers")?) } else { None };
        Ok(Self {
            session,
            rings,
            list,
            changes,
            attributor: if live.hooks.contains(&Hook::MapCode) {
                Attributor::for_this_host()
            } else {
                Attributor::for_this_host().without_recorded_code()
            },
            refused: Resolver::default(),
            doubts: Doubts::default(),
            printer,
            live,
            started: Instant::now(),
            refreshed: Instant::now(),
            // The list was made true before this: the first stranger at a signer's path is worth a look.
            refreshed_boot_ns: 0,
            refreshing: Duration::ZERO,
            looked: Instant::now(),
            told: Counts::default(),
            heartbeat: None,
            pulse: None,
            behind: None,
            before: Border::default(),
            settling: Settling::default(),
            memo: None,
            heritage: Vec::new(),
            inheritance: None,
            losses: Losses::since(now()),
            scout,
            enricher: Enricher::new(Host::here(), stores),
            held: VecDeque::new(),
            followed: VecDeque::new(),
            stale: false,
            moved,
            unsure: false,
            summing: None,
        })
    }

    /// Runs until `shutdown` is done, drains, and says what it told. The end of the watch is told, unless another one goes on.
    ///
    /// # Errors
    /// When the output is closed or the kernel can no longer be asked.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) -> Result<Counts> {
        self.adopt().await?;
        self.tell_started()?;
        let mut loss_check = ticks(LOSS_CHECK);
        let mut safety_net = ticks(SAFETY_NET);
        let mut heartbeat = ticks(self.heartbeat.unwrap_or(SAFETY_NET));
        tokio::pin!(shutdown);
        loop {
            let (least, most) = (*REST.start(), *REST.end());
            let rested = self.refreshed + (IDLE * self.refreshing).clamp(least, most);
            let ready = self.looked + (IDLE * self.refreshing).clamp(*SOON.start(), *SOON.end()).max(self.refreshing);
            let (rested, ready) = (rested.into(), ready.into());
            let release = self.held.iter().map(|held| held.until).min();
            tokio::select! {
                () = &mut shutdown => break,
                batch = self.rings.next() => {
                    self.take(batch?)?;
                }
                change = self.changes.next() => match change {
                    Change::Folder(names) => {
                        self.stale = true;
                        self.moved |= self.list.is_turned(&names);
                    }
                    Change::Anything => (self.stale, self.moved) = (true, true),
                    Change::Mounts => self.unsure = true,
                },
                (access, answer) = self.refused.next() => self.take_refused(access, &answer)?,
                () = self.doubts.due() => self.look_at_doubts()?,
                () = tokio::time::sleep_until(rested), if self.stale => self.refresh(),
                // What is mounted over a key is watched only after a look: that does not wait as long.
                () = tokio::time::sleep_until(ready), if self.moved || self.unsure => self.look_soon(),
                answer = self.list.answer() => {
                    self.list.learn(answer);
                    self.judge_anew();
                    self.tell_held(None)?;
                }
                name = self.enricher.next() => self.take_details(&name)?,
                () = tokio::time::sleep_until(release.unwrap_or_else(tokio::time::Instant::now)), if release.is_some() => {
                    self.tell_held(Some(tokio::time::Instant::now()))?;
                }
                _ = safety_net.tick() => self.refresh(),
                found = next_of(&mut self.scout) => {
                    self.enricher.know(&found);
                    self.judge_anew();
                    if self.list.add(&found) {
                        self.refresh();
                    }
                }
                _ = loss_check.tick() => {
                    self.tell_losses()?;
                    self.clear_summaries()?;
                    self.pulse.iter().for_each(|pulse| pulse());
                }
                _ = heartbeat.tick(), if self.heartbeat.is_some() => {
                    self.tell_summaries()?;
                    self.tell_heartbeat()?;
                }
            }
        }
        self.end().await
    }

    /// The road itself.
    /// When the youngest of the batch happened, nanoseconds since boot.
    fn take(&mut self, Batch { records, end }: Batch) -> Result<Option<u64>> {
        let accesses = self.decoded(records)?;
        let youngest = accesses.last().map(|access| access.boot_ns);
        self.settling.read(end, youngest.unwrap_or(0));
        for access in accesses {
            match access.kind {
                Kind::Library => self.learn_code(access),
                Kind::Refused => self.refused.ask(access),
                // Of which only the path is known.
                Kind::Tamper if access.file.tag == Tag::MAX => self.ask_about(access)?,
                Kind::Tamper if access.file.in_doubt => self.doubt(access)?,
                Kind::Device if access.deed == Deed::BlockDevice && access.file.tag == Tag::MAX => {
                    self.take_device(access)?;
                }
                // Nothing was written.
                Kind::Memory if access.core_limited && !dumps_through_pipe() => {}
                _ => self.go_on(access)?,
            }
        }
        self.rings.hold_attempts(self.refused.is_full());
        self.settle();
        Ok(youngest)
    }

    /// A signer mapped code. What is the system's is not told of again; the rest is kept for the verdict.
    fn learn_code(&mut self, access: Access) {
        let file = access.file.id;
        let mut mapped = self.attributor.mapped(&access);
        let attributed = self.attributor.attribute(access);
        let mut foreign = judge::foreign(&mapped, &attributed, self.list.policy());
        if foreign.is_none() {
            // What the host has at that path: the same file, unless the process sees another root or somebody was quick.
            // Asked late, as the answer is not cheap.
            let found = self.list.at(&mapped.path, &mut self.session).unwrap_or_else(|error| {
                tracing::error!(%error, "cannot ask the kernel about a library");
                None
            });
            let at_home = found.filter(|found| found.file == file);
            mapped.at_home = Some(at_home.is_some());
            foreign = judge::foreign(&mapped, &attributed, self.list.policy());
            if let (None, Some(found), Some(_)) = (foreign, at_home, mapped.unowned) {
                self.session.watch_set.know_library(file, found.ctime);
            }
        }
        tracing::debug!(path = %mapped.path.escape_ascii(), ?foreign, "a signer mapped code");
        self.attributor.learn(&attributed.access, foreign.map(|_| mapped));
    }

    /// Tells the held accesses that are decided by now, and those whose time is over.
    fn tell_held(&mut self, over: Option<tokio::time::Instant>) -> Result<()> {
        for mut held in std::mem::take(&mut self.held) {
            self.enrich(&mut held.attributed);
            let Some(judged) = judge::judge(held.attributed.clone(), self.list.policy()) else { continue };
            match Held::of(&judged, &held.attributed, held.since) {
                Some(held) if over.is_none_or(|over| held.until > over) => self.held.push_back(held),
                _ => self.tell_access(&judged)?,
            }
        }
        Ok(())
    }

    /// Adds what is known of the container by now.
    fn enrich(&mut self, attributed: &mut AttributedAccess) {
        if let Some(container) = &attributed.container {
            let process = &attributed.access.process;
            let within = Within { pid: process.pid, start_ns: process.start_ns };
            attributed.enrichment = self.enricher.of(container, within);
            if let Err(error) = self.list.meet(attributed, &mut self.session) {
                tracing::error!(%error, "cannot ask the kernel about a signer in a container");
            }
        }
    }

    /// Something was found out of a container.
    fn take_details(&mut self, name: &Name) -> Result<()> {
        self.judge_anew();
        self.tell_held(None)?;
        for mut attributed in std::mem::take(&mut self.followed) {
            if !attributed.container.as_ref().is_some_and(|container| name.is_of(container)) {
                self.followed.push_back(attributed);
                continue;
            }
            self.enrich(&mut attributed);
            if let Some(judged) = judge::judge(attributed, self.list.policy()) {
                self.printer.follow_up(&judged).context("write the event")?;
            }
        }
        Ok(())
    }

    /// The rest of the road, once it is known which file it was.
    fn go_on(&mut self, mut access: Access) -> Result<()> {
        self.list.resolve_paths(&mut access);
        self.decide_doubts(&access);
        if is_folder_read(&access) || self.list.ends_container(&access) {
            return Ok(());
        }
        if !self.is_enrolled(&access) {
            return Ok(());
        }
        self.moved |= self.list.is_copied_up(&access) || self.list.leads_elsewhere(&access);
        let mut attributed = self.attributor.attribute(access);
        self.enrich(&mut attributed);
        if let Some(judged) = judge::judge(attributed.clone(), self.list.policy()) {
            let judged = self.second_look(judged, &attributed);
            match Held::of(&judged, &attributed, tokio::time::Instant::now()) {
                Some(held) if self.held.len() < HELD => self.held.push_back(held),
                _ => self.tell_access(&judged)?,
            }
        }
        Ok(())
    }

    /// The accesses of a batch, in the order in which they happened: the rings are two, and a ring's order is that of
    /// the reservations.
    fn decoded(&mut self, records: Vec<(Ring, Bytes)>) -> Result<Vec<Access>> {
        let mut accesses = Vec::with_capacity(records.len());
        for (_, record) in records {
            if decode::is_canary(&record) {
                continue;
            }
            match decode::decode(&record) {
                Ok(access) => accesses.push(Access { record, ..access }),
                Err(error) => self.tell_undecodable(&error)?,
            }
        }
        accesses.sort_by_key(|access| access.boot_ns);
        // What code a signer mapped, each must know for itself.
        accesses.retain(|access| {
            let at = access.boot_ns;
            let is_ours = self.behind.as_ref().is_none_or(|border| border.is_behind(at)) && self.before.is_before(at);
            access.kind == Kind::Library || is_ours
        });
        accesses.retain_mut(|access| self.inherited(access));
        Ok(accesses)
    }

    /// Whether the file is the one that was enrolled. Where that cannot be found out, it is: better an alarm too many.
    fn is_enrolled(&mut self, access: &Access) -> bool {
        let standing = self.list.standing(access, &mut self.session).unwrap_or_else(|error| {
            tracing::error!(%error, "cannot ask the kernel about a reused inode number");
            Standing::Enrolled
        });
        let file = &access.file;
        let changed = match standing {
            Standing::Enrolled => return true,
            Standing::Heir => {
                let watch = FileWatch { tag: file.tag, kind: file_watch::ARMED, generation: file.generation, pad: 0 };
                self.session.watch_set.arm_file(file.id, watch)
            }
            Standing::Another if file.is_folder => self.session.watch_set.leads_no_more(file.id),
            Standing::Another => {
                tracing::debug!(inode = file.id.ino, "the inode number was reused; no longer watched");
                self.session.watch_set.disarm_file(file.id)
            }
        };
        if let Err(error) = changed {
            tracing::error!(%error, "cannot change what is watched by a reused inode number");
        }
        false
    }

    /// A signer that was upgraded a moment ago runs an executable that the policy has not met: look at the disk before
    /// raising an alarm.
    fn second_look(&mut self, judged: JudgedAccess, attributed: &AttributedAccess) -> JudgedAccess {
        let worth_it = judged.verdict == Verdict::Unexpected
            // Under a flood this is one look for each batch: what the batch holds happened before it.
            && attributed.access.boot_ns > self.refreshed_boot_ns
            && self.runs_a_readers_path(attributed);
        if !worth_it {
            return judged;
        }
        self.refresh();
        judge::judge(attributed.clone(), self.list.policy()).unwrap_or(judged)
    }

    fn runs_a_readers_path(&self, attributed: &AttributedAccess) -> bool {
        use std::os::unix::ffi::OsStrExt as _;
        let path = attributed.executable.path.as_deref();
        self.list.policy().readers.iter().any(|reader| {
            let paths = [Some(&reader.executable), reader.place.as_ref()];
            paths.iter().flatten().any(|one| Some(one.as_os_str().as_bytes()) == path)
        })
    }

    /// Makes the watch list true, if it is not: elsewhere on the host, mounts come and go with each container.
    fn look_soon(&mut self) {
        self.unsure = false;
        self.looked = Instant::now();
        if self.moved || self.list.is_elsewhere() {
            self.refresh();
        }
    }

    /// Makes the watch list true. A failure does not end the watch: what is armed stays armed, and a full table must not be
    /// a way to switch the watch off.
    fn refresh(&mut self) {
        let start = Instant::now();
        (self.stale, self.moved, self.unsure) = (false, false, false);
        self.refreshed_boot_ns = boot_ns();
        let before = self.summing.is_some().then(|| self.list.policy().clone());
        if let Err(error) = self.list.refresh(&mut self.session) {
            tracing::error!(%error, "the watch list is incomplete");
        }
        let policy = self.list.policy();
        if before.is_some_and(|before| before.readers != policy.readers || before.watched != policy.watched) {
            self.judge_anew();
        }
        self.changes.watch(self.list.concerned());
        self.remember();
        // What became of a link between the look and now, nobody tells.
        self.moved |= !self.list.is_settled();
        self.refreshed = Instant::now();
        self.refreshing = self.refreshed - start;
        self.looked = self.refreshed;
        tracing::debug!(took = ?self.refreshing, "looked at what is watched");
    }
}

/// A folder that was opened or listed. On an overlay of several file systems it can have the number of a key, which is a file.
fn is_folder_read(access: &Access) -> bool {
    const S_IFMT: u32 = 0o17_0000;
    const S_IFDIR: u32 = 0o04_0000;
    matches!(access.kind, Kind::Open | Kind::Data) && access.file.mode & S_IFMT == S_IFDIR
}

/// What was found in containers; never, where nobody looks.
async fn next_of(scout: &mut Option<Scout>) -> Vec<Keyed> {
    match scout {
        Some(scout) => scout.next().await,
        None => std::future::pending().await,
    }
}

/// A clock whose first tick is one period away.
fn ticks(period: Duration) -> tokio::time::Interval {
    let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks
}
