//! `bench`: what watching costs everybody else, how fast a stranger can be, and what memory the watch takes.
//!
//! **Instructions**: one open and close of a file that nobody watches, in a guest whose every nanosecond is one
//! instruction (QEMU, `-icount shift=0`), so that the figures repeat: with nothing, with an empty program at the hook,
//! with each backend, and with auditd and a watch rule, all in the same run of the same guest. **The flood**: opens of a
//! watched key by a stranger, faster and faster, on this machine's own kernel; and one burst for each backend in guests.

use std::{
    collections::BTreeMap,
    env, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    command::{self, quote},
    kernels::{self, Kernel},
    setup::{self, Need},
    vm::{Boot, FileSystem},
    workspace,
};

mod figures;
pub(crate) mod flood;
pub(crate) mod guest;
pub(crate) mod open_loop;
mod page;
pub(crate) mod stranger;

use figures::Figures;
use flood::Flood;

/// What `bench` is asked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Kernels to measure on [default: 6.1 and the newest]
    #[arg(long, value_delimiter = ',')]
    kernels: Vec<String>,
    /// Only this part
    #[arg(long)]
    only: Option<Part>,
}

/// A part of the measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// What an unrelated open pays.
    Instructions,
    /// A stranger's flood, and the watch's memory.
    Flood,
}

/// The kernels that are measured unless others are named.
const KERNELS: [&str; 2] = ["6.1", "newest"];

/// Opens of the burst on this machine, and in a guest, which is some twenty times slower. Both overflow the ring.
const BURST_HERE: u64 = 200_000;
const BURST_GUEST: u64 = 10_000;

/// All that was measured.
#[derive(Debug, Default, Serialize)]
struct Report {
    /// The processor, as it calls itself.
    processor: String,
    /// How many of them.
    processors: usize,
    /// One for each kernel.
    instructions: Vec<Figures>,
    /// On this machine's own kernel.
    flood: Option<Flood>,
    /// In guests, one for each kernel and backend.
    bursts: Vec<Flood>,
}

/// Measures, prints the tables, and fails where a promise does not hold.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::require(&[Need::Build, Need::Guests])?;
    if !command::is_root() {
        bail!("watching and guests need root: run `cargo xtask bench` as root");
    }
    command::run(&mut command::cargo(["build", "--release", "-p", "dkimwatch"]))?;
    let folder = workspace::target().join("bench");
    command::folder(&folder)?;
    let product = workspace::target().join("release/dkimwatch");
    let series: Vec<_> =
        if arguments.kernels.is_empty() { KERNELS.map(str::to_owned).to_vec() } else { arguments.kernels.clone() };
    let asked = |part| arguments.only.is_none_or(|only| only == part);
    let (processor, processors) = processors()?;
    let mut report = Report { processor, processors, ..Report::default() };
    for series in &series {
        let kernel = kernels::obtain(series)?;
        if asked(Part::Instructions) {
            report.instructions.push(instructions(series, kernel.clone(), &folder, &product)?);
        }
        if asked(Part::Flood) {
            report.bursts.append(&mut bursts(series, kernel, &folder, &product)?);
        }
    }
    if asked(Part::Flood) {
        report.flood = Some(flood::climb(&product, "tracepoint", BURST_HERE)?);
    }
    let tables = page::tables(&report);
    fs::write(folder.join("report.md"), &tables).context("cannot write the tables")?;
    fs::write(folder.join("report.json"), serde_json::to_vec_pretty(&report)?).context("cannot write the figures")?;
    println!("\n{tables}\n(the same, and the figures as JSON, in {})", folder.display());
    if arguments.kernels.is_empty() && arguments.only.is_none() {
        let document = workspace::root().join("docs/bench.md");
        let context = || format!("cannot bring {} up to date", document.display());
        let text = fs::read_to_string(&document).with_context(context)?;
        fs::write(&document, page::put(&text, &tables).with_context(context)?).with_context(context)?;
        println!("(and in docs/bench.md)");
    }
    let broken = report.broken();
    for promise in &broken {
        println!("NOT KEPT: {promise}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Report {
    /// What was promised and does not hold.
    fn broken(&self) -> Vec<String> {
        let instructions = self.instructions.iter().flat_map(Figures::broken);
        let floods = self.flood.iter().chain(&self.bursts).flat_map(Flood::inexact);
        instructions.chain(floods.map(|rung| format!("told and lost are not all: {rung}"))).collect()
    }
}

/// The model of the processor and the number of processors (proc_cpuinfo(5)).
fn processors() -> Result<(String, usize)> {
    let text = fs::read_to_string("/proc/cpuinfo").context("cannot read /proc/cpuinfo")?;
    let fields: BTreeMap<_, _> = text.lines().filter_map(|line| line.split_once(':')).collect();
    let model =
        fields.iter().find(|(name, _)| name.trim() == "model name").map_or("unknown", |(_, model)| model.trim());
    let count = text.lines().filter(|line| line.starts_with("processor")).count();
    Ok((model.to_owned(), count))
}

/// The instructions that one open and close costs on a kernel.
fn instructions(series: &str, kernel: Kernel, folder: &Path, product: &Path) -> Result<Figures> {
    let words = ["--audit".to_owned(), path(&audit()?), "--file".to_owned(), "/mnt/disk/unrelated".to_owned()];
    let boot = Boot { icount: true, timeout: Duration::from_secs(900), ..Boot::new(kernel) };
    half(boot, "guest-bench", &words, product, &folder.join(format!("{series}.json")))
}

/// A burst for each backend on a kernel.
fn bursts(series: &str, kernel: Kernel, folder: &Path, product: &Path) -> Result<Vec<Flood>> {
    let opens = BURST_GUEST.to_string();
    let words = ["--backends", "lsm,fentry,tracepoint", "--opens", &opens, "--folder", "/mnt/disk"].map(str::to_owned);
    // A stranger and a watch, each on a processor of its own.
    let boot = Boot { cpus: 2, timeout: Duration::from_secs(600), ..Boot::new(kernel) };
    half(boot, "guest-flood", &words, product, &folder.join(format!("{series}-flood.json")))
}

/// Runs a guest's half of a measurement; it leaves its figures as JSON.
fn half<T: DeserializeOwned>(boot: Boot, verb: &str, words: &[String], product: &Path, results: &Path) -> Result<T> {
    // Figures of an earlier run must not pass for this one's.
    let _ = fs::remove_file(results);
    let own = env::current_exe().context("this program has no path")?;
    let script =
        format!("exec {} {verb} --dkimwatch {} --out {} {}", path(&own), path(product), path(results), words.join(" "));
    let out = results.parent().map(Path::to_owned);
    let boot = Boot { script, disk: Some(FileSystem::Ext4), out, ..boot };
    let finished = boot.run(&mut io::stdout())?;
    if finished.status != 0 {
        bail!("the guest's half of the measurement failed on Linux {}: exit {}", boot.kernel.release, finished.status);
    }
    let text = fs::read(results).with_context(|| format!("the guest left no figures at {}", results.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("{} does not hold figures", results.display()))
}

/// For the guest's shell.
fn path(path: &Path) -> String {
    quote(&path.to_string_lossy())
}

/// Debian's auditd, unpacked for the guest and not installed: installing would start it here.
fn audit() -> Result<PathBuf> {
    let folder = workspace::target().join("bench-audit");
    if !folder.exists() {
        let unpacking = folder.with_extension("unpacking");
        let _ = fs::remove_dir_all(&unpacking);
        kernels::unpack_from_system("auditd", &unpacking)?;
        fs::rename(&unpacking, &folder).context("cannot move auditd into its place")?;
    }
    Ok(folder)
}
