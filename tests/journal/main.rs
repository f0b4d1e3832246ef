//! `dkimwatch run` and its journal: killed, away, starved of disk, read a new configuration, and asked by systemd.

mod away;

mod summed;

use std::{
    collections::BTreeSet,
    env, fs,
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context as _, Result, bail, ensure};
use dkimwatch::record::{Entry, ReadOut, VerificationKey, entries, set_up_sealing, verify};
use dkimwatch_tests::support::{Event, WatchCommand};
use rustix::process::Signal;

/// How long anything may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// One at a time: each watches the whole host.
static HOST: Mutex<()> = Mutex::new(());

/// A folder with a key, a configuration that names it, a sealed journal, and a BPF file system for what outlives the watch.
struct Lab {
    /// Unmounted before the folder goes.
    bpf: Mounted,
    folder: tempfile::TempDir,
    key: PathBuf,
    journal: PathBuf,
    seal: VerificationKey,
}

impl Lab {
    fn new(journal: Option<&Path>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let key = folder.path().join("a.private");
        fs::write(&key, "a private key\n")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;
        // Whoever is refused the key gets as far as that.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let journal = journal.map_or_else(|| folder.path().join("journal"), Path::to_owned);
        let (seal, _) = set_up_sealing(&journal, false)?;
        let bpf = Mounted::new("bpf", "mode=700")?;
        Ok(Self { bpf, folder, key, journal, seal })
    }

    fn config(&self) -> String {
        format!("[keys]\ndiscover = false\npaths = [{:?}]\n[journal]\npath = {:?}\n", self.key, self.journal)
    }

    fn command(&self) -> WatchCommand {
        WatchCommand::new().service().config(self.config()).pins(self.pins())
    }

    /// What outlives the watch.
    fn pins(&self) -> PathBuf {
        self.bpf.0.path().join("pins")
    }

    /// What the journal holds, once it is seen that nobody altered it.
    fn recorded(&self) -> Result<Vec<Entry>> {
        let found = verify(&self.journal, Some(&self.seal))?;
        ensure!(found.is_whole() && found.sealed == found.entries, "{:?}", found.findings);
        let mut recorded = Vec::new();
        for read in entries(&self.journal, None)? {
            match read? {
                ReadOut::Entry(entry) => recorded.push(entry),
                ReadOut::Damage { segment, bytes } => bail!("{bytes} bytes of segment {segment} are no entry"),
            }
        }
        Ok(recorded)
    }

    /// And the events in it.
    fn events(&self) -> Result<Vec<Event>> {
        self.recorded()?.iter().map(|entry| Event::parse(str::from_utf8(&entry.event)?)).collect()
    }
}

/// Somebody who opens a key all the time.
struct Load {
    ends: Arc<AtomicBool>,
    opened: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// With so long between two.
    fn start(key: &Path, pause: Duration) -> Self {
        let (ends, opened) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (key, its_end, its_count) = (key.to_owned(), Arc::clone(&ends), Arc::clone(&opened));
        let open = move || {
            while !its_end.load(Ordering::Relaxed) {
                if fs::File::open(&key).is_ok() {
                    its_count.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::park_timeout(pause);
            }
        };
        Self { ends, opened, thread: Some(std::thread::spawn(open)) }
    }

    /// How often it was opened, once that is over.
    fn end(mut self) -> u64 {
        self.ends.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            let _ = thread.join();
        }
        self.opened.load(Ordering::Relaxed)
    }
}

/// `DKIMWATCH_KILLS`: 200 as the long pass has it.
fn kills() -> u64 {
    env::var("DKIMWATCH_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(5)
}

#[test]
fn killed_at_any_moment_nothing_that_was_told_is_lost() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    let mut told = BTreeSet::new();
    let mut opened = 0;
    // Other moments each time, the same ones again with the same seed.
    let mut seed = u64::from(std::process::id());
    println!("seed {seed}");
    let kills = kills();
    for _ in 0..kills {
        let watch = lab.command().start()?;
        let load = Load::start(&lab.key, Duration::from_micros(200));
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // After so many events: a moment by what the program has done, and not by a clock.
        let count = usize::try_from(seed >> 56)?;
        watch.wait_for_count("alerts", count, PATIENCE, Event::is_alert)?;
        let events = watch.kill()?;
        // And some behind it, while nobody runs.
        opened += load.end();
        told.extend(events.iter().filter_map(|event| event.text("event.id").map(str::to_owned)));
    }
    // The last one may be torn: the next start cuts it off, and says so.
    lab.command().start()?.stop()?;
    let events = lab.events()?;
    let recorded: BTreeSet<String> =
        events.iter().filter_map(|event| event.text("event.id").map(str::to_owned)).collect();
    let lost: Vec<_> = told.difference(&recorded).collect();
    let cuts = events.iter().filter(|event| event.action() == "journal-cut").count();
    let opens = events.iter().filter(|event| event.action() == "key-opened").count() as u64;
    println!("{kills} kills: {opened} opens, {opens} recorded, {} told, {cuts} torn entries cut off", told.len());
    // Where one watch takes over from another, both may tell of what happens in that very moment.
    ensure!((opened..=opened + 2 * kills).contains(&opens), "{opened} opens, {opens} recorded");
    ensure!(told.len() > 100, "there was a load");
    ensure!(lost.is_empty(), "told and not recorded: {lost:?}");
    let others = events.iter().find(|event| event.action().starts_with("journal-") && event.action() != "journal-cut");
    ensure!(others.is_none(), "{others:?}");
    Ok(())
}

#[test]
fn an_entry_has_the_kernels_record_and_expected_accesses_are_recorded_but_not_told() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    let signer = "[[signer]]\nname = \"cat\"\nexecutable = \"/usr/bin/cat\"\n";
    let watch = lab.command().config(lab.config() + signer).start()?;
    for program in ["/usr/bin/cat", "/usr/bin/head"] {
        ensure!(Command::new(program).arg(&lab.key).output()?.status.success(), "{program}");
    }
    let told = watch.stop()?.events;
    told.accesses().exactly(1, "the stranger is told")?;
    let recorded = lab.recorded()?;
    let accesses: Vec<&Entry> = recorded.iter().filter(|entry| entry.verdict.is_some()).collect();
    // The third is this test, which ends the watch.
    ensure!(accesses.len() == 3, "{accesses:?}");
    let last = accesses.last().context("the last one")?;
    let last = Event::parse(str::from_utf8(&last.event)?)?;
    ensure!(last.action() == "monitor-tampered" && last.text("rule.id") == Some("monitor/parent"), "{last}");
    for entry in accesses {
        let access = dkimwatch::decode::decode(&entry.record)?;
        let event = Event::parse(str::from_utf8(&entry.event)?)?;
        ensure!(event.pid() == Some(access.process.pid), "{event}");
    }
    ensure!(recorded.iter().map(|entry| entry.seq).eq(1..=recorded.len() as u64), "in their order");
    Ok(())
}

#[test]
fn on_a_full_disk_alerts_are_told_and_the_gap_is_recorded() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let disk = Mounted::new("tmpfs", "size=2m,mode=700")?;
    let journal = disk.0.path().join("journal");
    let lab = Lab::new(Some(&journal))?;
    let watch = lab.command().start()?;
    let open = |number: u32| -> Result<Event> {
        let mut reader = Command::new("/usr/bin/head").arg(&lab.key).stdout(std::process::Stdio::null()).spawn()?;
        let pid = reader.id();
        reader.wait()?;
        watch.wait_for(&format!("alert {number}"), PATIENCE, |event| event.is_alert() && event.pid() == Some(pid))
    };
    open(1)?;
    let filler = disk.0.path().join("filler");
    let full = fs::write(&filler, vec![0; 8 << 20]).expect_err("the disk is full");
    ensure!(full.kind() == std::io::ErrorKind::StorageFull, "{full}");
    // What is left of the last page takes an entry or two.
    let unrecorded: Vec<Event> = (2..12).map(open).collect::<Result<_>>()?;
    fs::remove_file(&filler)?;
    let last = open(12)?;
    watch.stop()?;
    let events = lab.events()?;
    let id = |event: &Event| event.text("event.id").map(str::to_owned);
    let recorded: BTreeSet<_> = events.iter().map(id).collect();
    let missing = unrecorded.iter().filter(|event| !recorded.contains(&id(event))).count();
    ensure!(missing > 0, "the disk was full");
    ensure!(recorded.contains(&id(&last)), "it goes on");
    let gaps: Vec<_> = events.iter().filter(|event| event.action() == "journal-gap").collect();
    let alerts: u64 = gaps.iter().filter_map(|gap| gap.number("dkimwatch.journal.gap.alerts")).sum();
    ensure!(alerts == missing as u64, "{missing} are missing, and the gaps tell of {alerts}: {gaps:?}");
    Ok(())
}

#[test]
fn a_new_configuration_takes_over_without_a_gap_and_a_wrong_one_does_not() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    let other = lab.folder.path().join("b.private");
    fs::write(&other, "another one\n")?;
    let watch = lab.command().start()?;
    let load = Load::start(&lab.key, Duration::from_millis(2));
    watch.wait_for_count("alerts before", 100, PATIENCE, Event::is_alert)?;
    let config = watch.config();
    fs::write(&config, lab.config().replace("paths = [", &format!("paths = [{other:?}, ")))?;
    watch.signal(Signal::HUP)?;
    watch.wait_for_count("the second start", 2, PATIENCE, |event| event.action() == "watch-started")?;
    ensure!(fs::read(&other).is_ok(), "the new key");
    watch.wait_for("the new key is watched", PATIENCE, |event| event.is_about(&other))?;
    fs::write(&config, "[keys]\npaths = [\"relative\"]\n")?;
    watch.signal(Signal::HUP)?;
    watch.wait_for_log("the old one goes on", PATIENCE)?;
    watch.wait_for_log("\"relative\" is not an absolute path", PATIENCE)?;
    let before = watch.events_where(|event| event.is_about(&lab.key)).len();
    watch.wait_for_count("alerts behind", before + 100, PATIENCE, |event| event.is_about(&lab.key))?;
    let opened = load.end();
    let watched = watch.stop()?;
    let opens = |event: &Event| event.action() == "key-opened" && event.is_about(&lab.key);
    // What happens in the very moment in which one takes over from the other, both may tell.
    let told = watched.events.only(opens).len() as u64;
    ensure!((opened..=opened + 2).contains(&told), "{opened} opens, {told} told");
    let recorded = lab.events()?.iter().filter(|event| opens(event)).count() as u64;
    ensure!(recorded == told, "{told} told, {recorded} recorded");
    watched.events.only(|event| event.action() == "watch-started").exactly(2, "a wrong one starts nothing")
}

#[test]
fn systemd_is_told_once_the_canary_was_seen() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let lab = Lab::new(None)?;
    let path = lab.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let next = || -> Result<String> {
        let mut bytes = [0; 512];
        let length = socket.recv(&mut bytes).context("sd_notify")?;
        Ok(String::from_utf8_lossy(bytes.get(..length).unwrap_or_default()).into_owned())
    };
    let watch = lab.command().environment("NOTIFY_SOCKET", &path).start()?;
    ensure!(next()?.starts_with("READY=1"), "first of all");
    ensure!(next()?.contains("WATCHDOG=1"), "the loop goes round");
    watch.signal(Signal::HUP)?;
    let reloading =
        std::iter::repeat_with(&next).find(|said| !said.as_ref().is_ok_and(|said| said.contains("WATCHDOG=1")));
    ensure!(reloading.context("endless")??.contains("RELOADING=1"), "then it reads its configuration");
    watch.stop()?;
    let said: Vec<String> = std::iter::repeat_with(next)
        .take_while(Result::is_ok)
        .flatten()
        .take_while(|said| !said.contains("STOPPING=1"))
        .collect();
    ensure!(said.iter().any(|said| said.contains("READY=1")), "ready again: {said:?}");
    Ok(())
}

/// A file system of its own.
struct Mounted(tempfile::TempDir);

impl Mounted {
    fn new(kind: &str, options: &str) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", kind, "-o", options, kind]).arg(folder.path());
        ensure!(mount.status()?.success(), "{mount:?}");
        Ok(Self(folder))
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(self.0.path()).status();
    }
}
