//! A flood of signatures costs neither ring nor disk, and hides nobody.

use std::{
    fs,
    path::Path,
    sync::PoisonError,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Service, Steady};

use crate::HOST;

/// Opens by somebody whom nobody expects, at any moment of the flood.
const STRANGERS: usize = 1_000;

/// `DKIMWATCH_FLOOD`: 60 seconds as the long pass has it.
fn seconds() -> u64 {
    std::env::var("DKIMWATCH_FLOOD").ok().and_then(|seconds| seconds.parse().ok()).unwrap_or(5)
}

fn thief() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_thief"))
}

#[test]
fn in_a_flood_of_signatures_each_stranger_is_recorded_and_the_sums_are_exact() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let length = Duration::from_secs(seconds());
    let unwatched = {
        // The same without a watch, for comparison.
        let folder = tempfile::tempdir()?;
        let key = folder.path().join("key");
        fs::write(&key, "a key\n")?;
        Steady::start(thief())?.ask(&format!("flood {} 2 1000", key.display()))?
    };
    let service = Service::start(thief(), &["key"], "")?;
    let (key, mut signer) = (service.key("key"), service.signer()?);
    let mut opened = service.until_counted(&mut signer, "key")?;
    let before = Usage::of(service.watch().pid())?;
    let order = format!("flood {} 2 {}", key.display(), length.as_millis());
    let flooded = thread::scope(|threads| {
        let strangers = threads.spawn(|| strewn(&key, length));
        let flooded = signer.ask(&order);
        strangers.join().map_err(|_| anyhow::anyhow!("the strangers"))??;
        flooded
    })?;
    opened += flooded;
    let after = Usage::of(service.watch().pid())?;
    let pid = signer.pid();
    drop(signer);
    let journal = service.journal();
    ensure!(!service.events()?.is_empty(), "a journal");
    let bytes: u64 = fs::read_dir(&journal)?.flatten().filter_map(|file| Some(file.metadata().ok()?.len())).sum();
    let (watched, events) = service.stop()?;

    let lost = watched
        .events
        .only(|event| event.action() == "events-lost" && event.text("dkimwatch.lost.why") != Some("passed-by"));
    ensure!(lost.is_empty(), "{lost}");
    let own = std::process::id();
    let is_theirs = |event: &&Event| event.is_alert() && event.is_about(&key) && event.pid() == Some(own);
    let strangers = events.iter().filter(is_theirs).count();
    let full = events.iter().filter(|event| event.action() == "key-opened" && event.pid() == Some(pid)).count() as u64;
    let sums = events.iter().filter(|event| event.action() == "key-opens-summarised");
    let counted: u64 = sums.clone().filter_map(|event| event.number("dkimwatch.summarised.count")).sum();
    let rate = |opens: u64, seconds: u64| opens / seconds.max(1);
    println!(
        "{} s: {flooded} opens by the signer, {} a second (without a watch: {unwatched}); {strangers} of {STRANGERS} strangers recorded; \
         {opened} opened = {full} events + {counted} counted, in {} sums; the watch took {:.2} s of CPU, {} KiB at most; journal {bytes} bytes",
        length.as_secs(),
        rate(flooded, length.as_secs()),
        sums.count(),
        (after.cpu - before.cpu).as_secs_f64(),
        after.peak_kib,
    );
    ensure!(strangers == STRANGERS, "{strangers} of {STRANGERS} strangers");
    ensure!(full + counted == opened, "{opened} opens, {full} events, {counted} counted");
    Ok(())
}

#[test]
fn over_a_reload_opens_are_counted_or_told_and_a_sum_is_told_by_one_watch() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let service = Service::start(thief(), &["key"], "")?;
    let (key, mut signer) = (service.key("key"), service.signer()?);
    let mut opened = service.until_counted(&mut signer, "key")?;
    let over = std::sync::atomic::AtomicBool::new(false);
    // Not as fast as it can: each open is told in full while one watch takes over from the other.
    opened += thread::scope(|threads| -> Result<u64> {
        let opens = threads.spawn(|| -> Result<u64> {
            let mut opened = 0;
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                opened += signer.ask(&format!("open {} 1", key.display()))?;
                thread::park_timeout(Duration::from_millis(2));
            }
            Ok(opened)
        });
        let reloaded = (|| {
            for count in 2..=3 {
                service.watch().signal(rustix::process::Signal::HUP)?;
                let started = |event: &Event| event.action() == "watch-started";
                service.watch().wait_for_count("another start", count, crate::PATIENCE, started)?;
                thread::park_timeout(Duration::from_secs(1));
            }
            anyhow::Ok(())
        })();
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let opened = opens.join().map_err(|_| anyhow::anyhow!("the signer"))?;
        reloaded.and(opened)
    })?;
    drop(signer);
    let (_, events) = service.stop()?;
    let full = events.iter().filter(|event| event.action() == "key-opened" && event.is_about(&key)).count() as u64;
    let sums = events.iter().filter(|event| event.action() == "key-opens-summarised");
    let counted: u64 = sums.clone().filter_map(|event| event.number("dkimwatch.summarised.count")).sum();
    println!("{opened} opened over two reloads: {full} events, {counted} counted in {} sums", sums.count());
    // What happens in the very moment in which one takes over from the other, both may tell.
    ensure!((opened..=opened + 4).contains(&(full + counted)), "{opened} opens, {full} events, {counted} counted");
    ensure!(counted > 0, "nothing was counted");
    Ok(())
}

#[test]
fn where_all_are_asked_for_each_is_an_entry() -> Result<()> {
    let _alone = HOST.lock().unwrap_or_else(PoisonError::into_inner);
    let service = Service::start(thief(), &["key"], "record = \"all\"")?;
    let mut signer = service.signer()?;
    for _ in 0..50 {
        signer.ask(&format!("open {} 1", service.key("key").display()))?;
    }
    let key = service.key("key");
    let (_, events) = service.stop()?;
    let full = events.iter().filter(|event| event.action() == "key-opened" && event.is_about(&key)).count();
    ensure!(full == 50, "{full} of 50");
    ensure!(events.iter().all(|event| event.action() != "key-opens-summarised"), "nothing is told in sum");
    Ok(())
}

/// Opens it at moments that nobody knows before.
fn strewn(key: &Path, length: Duration) -> Result<()> {
    let mut seed = u64::from(std::process::id());
    let span = u64::try_from(length.as_micros())?.max(1);
    let mut moments: Vec<u64> = (0..STRANGERS)
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 16) % span
        })
        .collect();
    moments.sort_unstable();
    let began = Instant::now();
    for moment in moments {
        thread::park_timeout(Duration::from_micros(moment).saturating_sub(began.elapsed()));
        fs::File::open(key)?;
    }
    Ok(())
}

/// What a process has used.
struct Usage {
    cpu: Duration,
    peak_kib: u64,
}

impl Usage {
    fn of(pid: u32) -> Result<Self> {
        /// `USER_HZ` (time(7)).
        const TICKS: u64 = 100;
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // `utime` and `stime` (proc(5)): the 12th and 13th behind the name.
        let behind: Vec<&str> = stat.rsplit_once(')').context("stat")?.1.split_whitespace().collect();
        let ticks: u64 = behind.iter().skip(11).take(2).filter_map(|word| word.parse::<u64>().ok()).sum();
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
        let peak_kib = peak.split_whitespace().next().context("a number")?.parse()?;
        Ok(Self { cpu: Duration::from_millis(ticks * 1_000 / TICKS), peak_kib })
    }
}
