//! A stranger opens a watched key again and again: how fast until accesses are lost, whether every loss is counted, and
//! what memory the watch takes meanwhile.

use std::{
    collections::BTreeMap,
    env, fs,
    io::{BufRead as _, BufReader, Read},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::command::{self, Reaped, capture};

/// How long a watch may take to begin, and to drain and end. An emulated machine is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// The lowest rate, in opens a second; it is doubled until something is lost.
const LOWEST: u64 = 1_000;

/// How long the stranger goes on at each rate: long enough for the ring to fill where the watch is a tenth too slow.
const RUNG: Duration = Duration::from_secs(3);

/// Halvings of the gap between the last rate without a loss and the first with one.
const HALVINGS: usize = 2;

/// What the host hands over to a guest.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The built `dkimwatch`
    #[arg(long)]
    dkimwatch: PathBuf,
    /// The backends
    #[arg(long, value_delimiter = ',')]
    backends: Vec<String>,
    /// Opens, as fast as they go
    #[arg(long)]
    opens: u64,
    /// A folder for the key
    #[arg(long)]
    folder: PathBuf,
    /// Where the figures go, as JSON
    #[arg(long)]
    out: PathBuf,
}

/// The guest's half: one burst for each backend.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let mut floods = Vec::new();
    for backend in &arguments.backends {
        let stage = Stage::new(&arguments.dkimwatch, backend, &arguments.folder)?;
        let (rung, memory) = stage.rung(None, arguments.opens)?;
        println!("{}", rung.line());
        floods.push(Flood { release: release(), backend: backend.clone(), rungs: vec![rung], memory });
    }
    fs::write(&arguments.out, serde_json::to_vec_pretty(&floods)?).context("cannot write the figures")?;
    Ok(ExitCode::SUCCESS)
}

/// Rising rates on this machine's own kernel, then a burst of `burst` opens as fast as they go.
pub(super) fn climb(product: &Path, backend: &str, burst: u64) -> Result<Flood> {
    let stage = Stage::new(product, backend, &env::temp_dir())?;
    let mut rungs = Vec::new();
    let mut try_rate = |rate: u64| -> Result<Rung> {
        let (rung, _) = stage.rung(Some(rate), rate * RUNG.as_secs())?;
        println!("{}", rung.line());
        rungs.push(rung.clone());
        Ok(rung)
    };
    let (mut kept, mut rate) = (0, LOWEST);
    let lossy = loop {
        let rung = try_rate(rate)?;
        if rung.lost > 0 {
            break Some(rate);
        }
        if !rung.was_reached() {
            // The stranger itself cannot go faster.
            break None;
        }
        (kept, rate) = (rate, rate * 2);
    };
    if let Some(mut lossy) = lossy {
        for _ in 0..HALVINGS {
            let middle = kept.midpoint(lossy);
            if try_rate(middle)?.lost > 0 { lossy = middle } else { kept = middle }
        }
    }
    let (rung, memory) = stage.rung(None, burst)?;
    println!("{}", rung.line());
    rungs.push(rung);
    Ok(Flood { release: release(), backend: backend.to_owned(), rungs, memory })
}

fn release() -> String {
    String::from_utf8_lossy(rustix::system::uname().release().to_bytes()).into_owned()
}

/// A backend's figures on one kernel.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Flood {
    /// The kernel's release.
    pub(super) release: String,
    /// The backend.
    pub(super) backend: String,
    /// One for each rate that was tried; the last as fast as the stranger could.
    pub(super) rungs: Vec<Rung>,
    /// Of the watch that saw the last one.
    pub(super) memory: Memory,
}

impl Flood {
    /// The highest rate at which nothing was lost, in opens a second as they were reached; `None`: at every rate
    /// something was.
    pub(super) fn lossless(&self) -> Option<u64> {
        self.rungs.iter().filter(|rung| rung.lost == 0).map(Rung::rate).max()
    }

    /// Rungs in which an open was neither told nor counted as lost, or counted twice. What passed a program by is counted by
    /// the kernel, whatever it was about: it can be as many opens, or none.
    pub(super) fn inexact(&self) -> Vec<String> {
        let wrong = self.rungs.iter().filter(|rung| {
            let known = rung.seen + rung.lost;
            known > rung.opens || known + rung.passed < rung.opens
        });
        wrong.map(|rung| format!("{} {}: {}", self.release, self.backend, rung.line())).collect()
    }
}

/// Opens at one rate.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Rung {
    /// Opens a second that were asked for; `None`: as fast as they go.
    pub(super) asked: Option<u64>,
    /// Opens.
    pub(super) opens: u64,
    /// What they took, in nanoseconds.
    pub(super) took: u64,
    /// Events `key-opened`.
    pub(super) seen: u64,
    /// The sum of the events `events-lost`, but for what passed a program by.
    pub(super) lost: u64,
    /// The sum of that.
    pub(super) passed: u64,
}

impl Rung {
    /// Opens a second that were reached.
    pub(super) fn rate(&self) -> u64 {
        let rate = u128::from(self.opens) * 1_000_000_000 / u128::from(self.took.max(1));
        u64::try_from(rate).unwrap_or(u64::MAX)
    }

    /// Whether the stranger was as fast as it was asked to be, but for a tenth.
    fn was_reached(&self) -> bool {
        self.asked.is_none_or(|asked| self.rate() >= asked - asked / 10)
    }

    fn line(&self) -> String {
        let Self { opens, seen, lost, passed, .. } = self;
        let passed = if *passed == 0 { String::new() } else { format!(", {passed} calls that passed by") };
        format!("flood: {opens} opens at {} a second: {seen} told, {lost} reported as lost{passed}", self.rate())
    }
}

/// What a watch occupies, in bytes.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Serialize)]
pub(super) struct Memory {
    /// Resident, when the watch had begun (`VmRSS` of proc_pid_status(5)).
    pub(super) idle: u64,
    /// Resident, when the flood was over.
    pub(super) after: u64,
    /// What of that is the program's own, and not a mapped file or ring (`RssAnon`).
    pub(super) own: u64,
    /// The kernel's own for its maps (`memlock` of each map's fdinfo; exact since Linux 6.4).
    pub(super) maps: u64,
}

/// A key, and a watch to be.
struct Stage {
    folder: tempfile::TempDir,
    product: PathBuf,
    backend: String,
}

impl Stage {
    fn new(product: &Path, backend: &str, place: &Path) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dkimwatch-flood.").tempdir_in(place)?;
        let stage = Self { folder, product: product.to_owned(), backend: backend.to_owned() };
        fs::write(stage.key(), "not a key\n").context("cannot write the key")?;
        let configuration = format!("[keys]\ndiscover = false\npaths = [{:?}]\n", stage.key());
        fs::write(stage.configuration(), configuration).context("cannot write the configuration")?;
        Ok(stage)
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.private")
    }

    fn configuration(&self) -> PathBuf {
        self.folder.path().join("dkimwatch.toml")
    }

    /// A watch of its own: its counters begin at nothing.
    fn rung(&self, asked: Option<u64>, opens: u64) -> Result<(Rung, Memory)> {
        let mut watch = Command::new(&self.product);
        watch.args(["watch", "--format", "ecs", "--backend", &self.backend, "--config"]).arg(self.configuration());
        let line = command::line(&watch);
        let child = watch.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn();
        let mut child = Reaped(child.with_context(|| format!("cannot start `{line}`"))?);
        let pipe = child.0.stdout.take().context("its standard output is a pipe")?;
        let (begun, has_begun) = mpsc::channel();
        let reader = thread::spawn(move || Said::read(pipe, &begun));
        has_begun.recv_timeout(PATIENCE).with_context(|| format!("`{line}` did not begin"))?;
        let pid = child.0.id();
        let idle = resident(pid, "VmRSS:")?;
        let took = self.stranger(asked, opens)?;
        let (after, own) = (resident(pid, "VmRSS:")?, resident(pid, "RssAnon:")?);
        let memory = Memory { idle, after, own, maps: maps(pid)? };
        kill_process(Pid::from_child(&child.0), Signal::TERM).context("SIGTERM to the watch")?;
        if command::wait_until(&mut child.0, Instant::now() + PATIENCE)?.is_none() {
            bail!("`{line}` still runs, long after SIGTERM");
        }
        let said = reader.join().map_err(|_| anyhow::anyhow!("reading what the watch said failed"))??;
        let (lost, passed) = (said.lost, said.passed);
        if said.stopped != Some((lost, passed)) {
            bail!("the events tell of {lost} lost and {passed} that passed by, the summary of {:?}", said.stopped);
        }
        Ok((Rung { asked, opens, took, seen: said.opened, lost, passed }, memory))
    }

    /// Nanoseconds that the opens took.
    fn stranger(&self, asked: Option<u64>, opens: u64) -> Result<u64> {
        let own = env::current_exe().context("this program has no path")?;
        let mut stranger = Command::new(own);
        stranger.arg("guest-stranger").arg(self.key()).args(["--count", &opens.to_string()]);
        if let Some(rate) = asked {
            stranger.args(["--rate", &rate.to_string()]);
        }
        let output = capture(&mut stranger)?;
        String::from_utf8_lossy(&output).trim().parse().context("the stranger printed no number")
    }
}

/// What a watch said, counted as it comes: a flood's events would fill the memory.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    opened: u64,
    lost: u64,
    passed: u64,
    /// What the summary says of the losses.
    stopped: Option<(u64, u64)>,
}

impl Said {
    /// Reads to the end, and sends word when the watch has begun.
    fn read(from: impl Read, begun: &mpsc::Sender<()>) -> Result<Self> {
        let mut said = Self::default();
        let mut from = BufReader::with_capacity(1 << 20, from);
        let mut line = String::new();
        while from.read_line(&mut line)? > 0 {
            // The quotes of a value are escaped, so this stands nowhere else.
            let is = |action: &str| line.contains(&format!("\"action\":\"{action}\""));
            let number = |field: &str| -> Result<u64> {
                let value: Value = serde_json::from_str(&line).context("a line of the watch is not JSON")?;
                value.pointer(field).and_then(Value::as_u64).with_context(|| format!("no {field} in {line}"))
            };
            if is("key-opened") {
                said.opened += 1;
            } else if is("events-lost") {
                let why = if line.contains("\"why\":\"passed-by\"") { &mut said.passed } else { &mut said.lost };
                *why += number("/dkimwatch/lost/count")?;
            } else if is("watch-stopped") {
                said.stopped = Some((number("/dkimwatch/summary/lost")?, number("/dkimwatch/summary/passed_by")?));
            } else if is("watch-started") {
                // Nobody listens any more when the measurement has failed.
                let _ = begun.send(());
            }
            line.clear();
        }
        Ok(said)
    }
}

/// A process's resident memory of a kind, in bytes (proc_pid_status(5)).
fn resident(pid: u32, kind: &str) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).context("the watch has ended")?;
    Ok(field(&status, kind).with_context(|| format!("no {kind} in a process's status"))? << 10)
}

/// The memory of the maps that a process holds, in bytes, each map once.
fn maps(pid: u32) -> Result<u64> {
    let mut maps = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).context("the watch has ended")? {
        // A descriptor may be closed meanwhile.
        let text = fs::read_to_string(entry?.path()).unwrap_or_default();
        if let (Some(id), Some(bytes)) = (field(&text, "map_id:"), field(&text, "memlock:")) {
            maps.insert(id, bytes);
        }
    }
    Ok(maps.values().sum())
}

/// The number that follows a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(asked: Option<u64>, seen: u64, lost: u64) -> Rung {
        Rung { asked, opens: 3_000, took: 1_000_000_000, seen, lost, passed: 0 }
    }

    #[test]
    fn an_open_that_is_neither_told_nor_lost_is_named() {
        let memory = Memory { idle: 1, after: 2, own: 1, maps: 3 };
        let mut flood = Flood {
            release: "6.1".to_owned(),
            backend: "lsm".to_owned(),
            rungs: vec![rung(Some(3_000), 3_000, 0), rung(None, 2_000, 1_000)],
            memory,
        };
        assert_eq!((flood.lossless(), flood.inexact()), (Some(3_000), Vec::new()));
        flood.rungs.push(rung(None, 2_000, 999));
        assert_eq!(flood.inexact(), ["6.1 lsm: flood: 3000 opens at 3000 a second: 2000 told, 999 reported as lost"]);
        if let Some(last) = flood.rungs.last_mut() {
            last.passed = 1;
        }
        assert_eq!(flood.inexact(), Vec::<String>::new(), "it may be the one that passed by");
        assert!(rung(Some(3_300), 0, 0).was_reached() && !rung(Some(3_400), 0, 0).was_reached());
    }

    #[test]
    fn lines_are_counted_by_their_action() {
        let lines = "\
{\"event\":{\"action\":\"watch-started\"}}
{\"event\":{\"action\":\"key-opened\"},\"process\":{\"args\":[\"\\\"action\\\":\\\"events-lost\\\"\"]}}
{\"event\":{\"action\":\"events-lost\"},\"dkimwatch\":{\"lost\":{\"count\":7}}}
{\"event\":{\"action\":\"events-lost\"},\"dkimwatch\":{\"lost\":{\"count\":5}}}
{\"event\":{\"action\":\"events-lost\"},\"dkimwatch\":{\"lost\":{\"count\":3,\"why\":\"passed-by\"}}}
{\"event\":{\"action\":\"watch-stopped\"},\"dkimwatch\":{\"summary\":{\"lost\":12,\"passed_by\":3}}}
";
        let (begun, has_begun) = mpsc::channel();
        let said = Said::read(lines.as_bytes(), &begun).expect("it is what a watch says");
        assert_eq!(said, Said { opened: 1, lost: 12, passed: 3, stopped: Some((12, 3)) });
        assert_eq!(has_begun.try_iter().count(), 1);
        let nonsense = "{\"event\":{\"action\":\"events-lost\"}}\n";
        assert!(Said::read(nonsense.as_bytes(), &begun).is_err(), "a loss without its number");
    }

    #[test]
    fn numbers_are_read_from_proc() {
        assert_eq!(field("VmPeak:\t  10 kB\nVmRSS:\t   7 kB\n", "VmRSS:"), Some(7));
        assert_eq!(field("pos:\t0\nmap_id:\t3\n", "memlock:"), None);
        assert!(resident(std::process::id(), "VmRSS:").expect("this process runs") > 1 << 16);
        assert_eq!(maps(std::process::id()).expect("this process runs"), 0);
    }
}
