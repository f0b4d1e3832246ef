//! The stage between judging and telling: every event into the journal first. On a thread of its own, as a disk may take its time;
//! what comes while it does is written and synced together.

use std::{
    cell::RefCell,
    io::Write,
    path::PathBuf,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use super::{EntryKind, Journal, JournalError, New, Notice, pack, teller::Teller};
use crate::{
    judge::{JudgedAccess, Verdict},
    print::{Ecs, HostFacts, JournalNoted, Printer, Progress, State},
};

/// Events that wait for the disk. Behind them the rings fill, and what they lose is counted.
const WAITING: usize = 16_384;
/// Events that are written at once.
const BATCH: usize = 1_024;

/// Which entries wait for the disk before they are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SyncPolicy {
    /// Alerts do.
    pub alerts: bool,
    /// The rest is on the disk behind so long.
    pub within: Duration,
}

/// An event, as an entry and as the line that tells of it.
struct Item {
    new: New,
    /// Nothing, where it is only recorded.
    line: Vec<u8>,
}

/// What writes lines into memory.
type Lines = Rc<RefCell<Vec<u8>>>;

/// Records events, and then has them told.
pub struct Recorder {
    /// The thread holds the other end; dropping this one has it write what waits, and end.
    send: Option<SyncSender<Item>>,
    thread: Option<JoinHandle<()>>,
    ecs: Ecs<Vec<u8>>,
    teller: Box<dyn Printer>,
    lines: Lines,
    /// Events that it was given.
    given: u64,
    /// Those that the thread is done with.
    kept: Arc<AtomicU64>,
}

/// What a recorder writes its lines with: into this memory.
#[derive(Clone, Debug, Default)]
pub struct LineBuffer(Lines);

impl Write for LineBuffer {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.borrow_mut().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Recorder {
    /// Over a journal, telling on `out` by the printer that `teller` makes.
    ///
    /// # Errors
    /// As pthread_create(3).
    pub fn new(
        journal: Journal,
        policy: SyncPolicy,
        host: HostFacts,
        teller: impl FnOnce(LineBuffer) -> Box<dyn Printer>,
        out: Box<dyn Write + Send>,
    ) -> std::io::Result<Self> {
        let (send, receive) = sync_channel(WAITING);
        let kept = Arc::new(AtomicU64::new(0));
        let work = Work {
            folder: journal.folder().to_owned(),
            journal,
            policy,
            ecs: Ecs::new(Vec::new(), host.clone()),
            teller: Teller::start(out)?,
            gap: None,
            due: None,
            packer: None,
            kept: Arc::clone(&kept),
        };
        let thread = std::thread::Builder::new().name("journal".to_owned()).spawn(move || work.run(&receive))?;
        let lines = Lines::default();
        let teller = teller(LineBuffer(Rc::clone(&lines)));
        let ecs = Ecs::new(Vec::new(), host);
        Ok(Self { send: Some(send), thread: Some(thread), ecs, teller, lines, given: 0, kept })
    }

    /// Writes what waits, to the disk, and ends.
    ///
    /// # Errors
    /// The thread has ended before its time.
    pub fn finish(&mut self) -> std::io::Result<()> {
        self.send = None;
        match self.thread.take().map(JoinHandle::join) {
            None | Some(Ok(())) => Ok(()),
            Some(Err(_)) => Err(std::io::Error::other("the journal's thread has ended before its time")),
        }
    }

    fn record(
        &mut self,
        kind: EntryKind,
        unix_ns: i128,
        verdict: Option<Verdict>,
        record: &[u8],
        tell: bool,
    ) -> std::io::Result<()> {
        let mut event = self.ecs.take();
        if event.last() == Some(&b'\n') {
            event.pop();
        }
        let line = std::mem::take(&mut *self.lines.borrow_mut());
        let unix_ns = i64::try_from(unix_ns).unwrap_or(i64::MAX);
        let new = New { unix_ns, kind, verdict, event, record: record.to_vec() };
        let item = Item { new, line: if tell { line } else { Vec::new() } };
        let gone = || std::io::Error::other("the journal's thread has ended before its time");
        let send = self.send.as_ref().ok_or_else(gone)?;
        self.given += 1;
        match send.try_send(item) {
            Ok(()) => Ok(()),
            // The disk is slow: wait for it. The rings fill meanwhile, and count what they lose.
            Err(TrySendError::Full(item)) => send.send(item).map_err(|_| gone()),
            Err(TrySendError::Disconnected(_)) => Err(gone()),
        }
    }
}

impl Printer for Recorder {
    fn access(&mut self, judged: &JudgedAccess) -> std::io::Result<()> {
        self.ecs.access(judged)?;
        // What is expected is in the journal; nobody need be told.
        let tell = judged.verdict == Verdict::Unexpected;
        if tell {
            self.teller.access(judged)?;
        }
        let access = &judged.attributed.access;
        self.record(EntryKind::Access, judged.attributed.unix_ns, Some(judged.verdict), &access.record, tell)
    }

    fn follow_up(&mut self, judged: &JudgedAccess) -> std::io::Result<()> {
        self.ecs.follow_up(judged)?;
        self.teller.follow_up(judged)?;
        self.record(EntryKind::FollowUp, judged.attributed.unix_ns, Some(judged.verdict), &[], true)
    }

    fn state(&mut self, state: &State) -> std::io::Result<()> {
        self.ecs.state(state)?;
        let tell = !matches!(state, State::Heartbeat(_) | State::Summarised(_));
        if tell {
            self.teller.state(state)?;
        }
        self.record(EntryKind::State, state.unix_ns(), None, &[], tell)
    }

    fn progress(&self) -> Progress {
        Progress { given: self.given, kept: self.kept.load(Ordering::Acquire) }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if let Err(error) = self.finish() {
            tracing::error!(%error, "the journal was not written to its end");
        }
    }
}

/// The thread's own.
struct Work {
    folder: PathBuf,
    journal: Journal,
    policy: SyncPolicy,
    ecs: Ecs<Vec<u8>>,
    teller: Teller,
    /// What could not be written, up to now.
    gap: Option<Gap>,
    /// When what was written must be on the disk.
    due: Option<Instant>,
    packer: Option<JoinHandle<()>>,
    /// Events that are in the journal, as far as they ever will be.
    kept: Arc<AtomicU64>,
}

/// Entries that could not be written.
struct Gap {
    count: u64,
    alerts: u64,
    since_unix_ns: i64,
    until_unix_ns: i64,
    why: String,
}

impl Work {
    fn run(mut self, receive: &Receiver<Item>) {
        self.pack(None);
        loop {
            let first = match self.due {
                Some(due) => receive.recv_timeout(due.saturating_duration_since(Instant::now())),
                None => receive.recv().map_err(RecvTimeoutError::from),
            };
            match first {
                Ok(first) => {
                    let mut batch = vec![first];
                    batch.extend(receive.try_iter().take(BATCH - 1));
                    self.take(batch);
                    // Under a load there is always something to take.
                    if self.due.is_some_and(|due| due <= Instant::now()) {
                        self.sync();
                    }
                }
                Err(RecvTimeoutError::Timeout) => self.sync(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        self.take(Vec::new());
        self.sync();
        self.teller.end();
        if let Some(packer) = self.packer.take() {
            let _ = packer.join();
        }
    }

    /// Records a batch, and then tells of it.
    fn take(&mut self, batch: Vec<Item>) {
        let count = batch.len() as u64;
        let (lines, news): (Vec<_>, Vec<_>) = batch.into_iter().map(|Item { new, line }| (line, new)).unzip();
        if let Err(error) = self.write(&news) {
            // They are told all the same.
            tracing::error!(%error, "an event is not in the journal");
        }
        self.kept.fetch_add(count, Ordering::Release);
        for line in lines.into_iter().filter(|line| !line.is_empty()) {
            self.teller.tell(line);
        }
    }

    fn write(&mut self, news: &[New]) -> Result<(), JournalError> {
        let had_gap = self.gap.is_some();
        let written = self.try_write(news);
        match &written {
            Ok(()) => {
                if let Some(Gap { count, alerts, .. }) = self.gap.take_if(|_| had_gap) {
                    tracing::warn!(count, alerts, "the journal is written again; the gap is an entry of its own");
                }
            }
            Err(error) => {
                let alerts = news.iter().filter(|new| is_alert(new)).count() as u64;
                let now = unix_ns(SystemTime::now());
                let time = |new: Option<&New>| new.map_or(now, |new| new.unix_ns);
                let gap = self.gap.get_or_insert_with(|| Gap {
                    count: 0,
                    alerts: 0,
                    since_unix_ns: time(news.first()),
                    until_unix_ns: 0,
                    why: String::new(),
                });
                gap.count += news.len() as u64;
                gap.alerts += alerts;
                (gap.until_unix_ns, gap.why) = (time(news.last()), error.to_string());
            }
        }
        written
    }

    fn try_write(&mut self, news: &[New]) -> Result<(), JournalError> {
        if let Some(Gap { count, alerts, since_unix_ns, until_unix_ns, why }) = &self.gap {
            let (count, alerts, since_unix_ns, until_unix_ns) = (*count, *alerts, *since_unix_ns, *until_unix_ns);
            let notice = Notice::Gap { count, alerts, since_unix_ns, until_unix_ns, why: why.clone() };
            self.note(notice)?;
        }
        for new in news {
            match self.journal.append(new.clone()) {
                Ok(_) => {}
                // One that is too long is no reason to lose the others.
                Err(error) => {
                    tracing::error!(%error, "an event is not in the journal");
                    let (alerts, unix_ns, why) = (u64::from(is_alert(new)), new.unix_ns, error.to_string());
                    self.note(Notice::Gap { count: 1, alerts, since_unix_ns: unix_ns, until_unix_ns: unix_ns, why })?;
                }
            }
        }
        self.journal.flush()?;
        if self.policy.alerts && news.iter().any(is_alert) {
            // What it fails at is in the journal all the same, and perhaps on the disk: no gap.
            self.sync();
        } else {
            self.due.get_or_insert(Instant::now() + self.policy.within);
        }
        self.rotate();
        Ok(())
    }

    fn sync(&mut self) {
        self.due = None;
        if let Err(error) = self.journal.sync() {
            tracing::error!(%error, "the journal is not on the disk");
            self.due = Some(Instant::now() + self.policy.within);
        }
    }

    /// Closes a segment that is large or old enough. A failure costs nothing: the segment goes on.
    fn rotate(&mut self) {
        match self.journal.rotate(unix_ns(SystemTime::now())) {
            Ok(None) => {}
            Ok(Some(number)) => {
                self.trim();
                self.pack(Some(number));
            }
            Err(error) => tracing::error!(%error, "no new segment can be begun"),
        }
    }

    /// Removes what is old enough, once it is written that it is removed.
    fn trim(&mut self) {
        let (number, alert) = (self.journal.number(), self.journal.last_alert());
        let trimmed =
            pack::overdue(&self.folder, self.journal.limits(), number, alert, SystemTime::now()).and_then(|numbers| {
                let (Some(first), Some(last)) = (numbers.first(), numbers.last()) else { return Ok(()) };
                self.note(Notice::Trimmed { first: *first, last: *last })?;
                self.journal.sync()?;
                pack::remove(&self.folder, &numbers)
            });
        if let Err(error) = trimmed {
            tracing::error!(%error, "old segments of the journal stay");
        }
    }

    /// Packs what is closed, on a thread of its own.
    fn pack(&mut self, closed: Option<u64>) {
        if self.packer.as_ref().is_some_and(|packer| !packer.is_finished()) {
            // The next one to be closed is packed with it.
            return;
        }
        let (folder, current) = (self.folder.clone(), self.journal.number());
        let work = move || {
            let packed = pack::unpacked(&folder, current)
                .and_then(|numbers| numbers.into_iter().try_for_each(|number| pack::pack(&folder, number)));
            if let Err(error) = packed {
                tracing::error!(%error, "a segment of the journal stays as it is, unpacked");
            }
        };
        tracing::debug!(?closed, "packing");
        match std::thread::Builder::new().name("journal-pack".to_owned()).spawn(work) {
            Ok(packer) => self.packer = Some(packer),
            Err(error) => tracing::error!(%error, "no thread to pack the journal"),
        }
    }

    /// An entry of the journal about itself.
    fn note(&mut self, notice: Notice) -> Result<(), JournalError> {
        let unix_ns = unix_ns(SystemTime::now());
        let state = State::Journal(JournalNoted { unix_ns: unix_ns.into(), notice });
        // Into memory, which takes everything.
        let _ = self.ecs.state(&state);
        let mut event = self.ecs.take();
        event.pop();
        let new = New { unix_ns, kind: EntryKind::State, verdict: None, event, record: Vec::new() };
        self.journal.append(new).map(|_| ())
    }
}

fn is_alert(new: &New) -> bool {
    new.kind == EntryKind::Access && new.verdict == Some(Verdict::Unexpected)
}

/// Nanoseconds since the Unix epoch.
fn unix_ns(time: SystemTime) -> i64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_nanos()).unwrap_or(i64::MAX)
}
