//! Checks in guests: stock kernels, and a test program in each.

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use super::{Verdict, checks::judge, counts::Counts};
use crate::{
    command::{self, is_root, quote},
    kernels,
    vm::{Boot, FileSystem, TOO_LONG},
};

/// A stock kernel as it is booted.
#[derive(Debug)]
pub(super) struct Stock {
    /// In the names of checks.
    pub(super) name: &'static str,
    /// In the heads of `docs/coverage.md`.
    pub(super) title: &'static str,
    /// As `cargo xtask kernels` knows it.
    series: &'static str,
    /// Words for its command line.
    pub(super) append: &'static [&'static str],
    /// The ways into it that are tested: those that work. Of the others, the sentences themselves say that they are
    /// refused, and why.
    pub(super) backends: &'static [&'static str],
}

const ALL: &[&str] = &["lsm", "fentry", "tracepoint"];

/// The kernels of mail hosts.
pub(super) const STOCK: &[Stock] = &[
    // It attaches an LSM program and never calls it.
    Stock { name: "5.10", title: "5.10", series: "5.10", append: &[], backends: &["fentry", "tracepoint"] },
    // What an administrator gets who follows `doctor`'s advice: its own list (`CONFIG_LSM`), and `bpf`. The other ways in
    // are what they are without it.
    Stock {
        name: "5.10-bpf",
        title: "5.10 `lsm=…,bpf`",
        series: "5.10",
        append: &["lsm=lockdown,yama,loadpin,safesetid,integrity,apparmor,selinux,smack,tomoyo,bpf"],
        backends: &["lsm"],
    },
    Stock { name: "6.1", title: "6.1", series: "6.1", append: &[], backends: ALL },
    Stock { name: "6.12", title: "6.12", series: "6.12", append: &[], backends: ALL },
    Stock { name: "6.18", title: "6.18", series: "6.18", append: &[], backends: ALL },
    Stock { name: "newest", title: "newest", series: "newest", append: &[], backends: ALL },
];

/// Where the sentences about a service are tried, each backend once: an emulated machine takes minutes for them. Those of
/// tracepoint's are tried on this machine.
const SERVICES: &[(&str, &str)] = &[("6.1", "fentry"), ("6.12", "lsm")];

/// Where those are tried that are the same whatever the backend: each kernel once, and each backend on some kernel.
const ONCE: &[(&str, &str)] = &[
    ("5.10", "fentry"),
    ("5.10-bpf", "lsm"),
    ("6.1", "tracepoint"),
    ("6.12", "fentry"),
    ("6.18", "lsm"),
    ("newest", "lsm"),
];

/// Where it is tried what the commands say: on the kernels that refuse a backend, and on the newest. On the others each backend
/// has a column, which shows that it works; `doctor` takes a minute and a half in an emulated machine.
const COMMANDS: &[(&str, &str)] = &[("5.10", "fentry"), ("5.10-bpf", "lsm"), ("newest", "lsm")];

/// What says which sentences are tried in a column. What is in our own environment is said of all columns.
pub(super) fn tried(stock: &Stock, backend: &str) -> [(&'static str, String); 3] {
    let tables = [("DKIMWATCH_SERVICE", SERVICES), ("DKIMWATCH_ONCE", ONCE), ("DKIMWATCH_COMMANDS", COMMANDS)];
    tables.map(|(name, columns)| {
        let here = columns.contains(&(stock.name, backend));
        let usual = if here { "here" } else { "elsewhere" };
        (name, std::env::var(name).unwrap_or_else(|_| usual.to_owned()))
    })
}

/// Where a guest's disk is.
pub(super) const DISK: &str = "/mnt/disk";

/// No detours around a processor's speculation, which an emulated one does not have: they take a fifth of a guest's time.
const QUICKER: &[&str] = &["mitigations=off"];

/// How long a test program may take in a guest.
const LIMIT: Duration = Duration::from_secs(1_500);

/// Boots the kernel, runs a test program there, and judges it by what it printed.
pub(super) fn run(
    stock: &Stock,
    program: &Path,
    arguments: &[&str],
    variables: &[(&str, String)],
    folder: PathBuf,
    log: &fs::File,
) -> Verdict {
    if !is_root() {
        return Verdict::CouldNotRun("needs root, as guests share this machine's own root".to_owned());
    }
    let kernel = match kernels::obtain(stock.series) {
        Ok(kernel) => kernel,
        Err(error) => return Verdict::CouldNotRun(format!("{error:#}")),
    };
    let mut script: String = variables.iter().map(|(name, value)| format!("{name}={} ", quote(value))).collect();
    script += &format!("exec {}", quote(&program.to_string_lossy()));
    for argument in arguments {
        script += &format!(" {}", quote(argument));
    }
    let boot = Boot {
        script,
        folder,
        append: QUICKER.iter().chain(stock.append).map(|word| (*word).to_owned()).collect(),
        disk: Some(FileSystem::Ext4),
        timeout: LIMIT,
        ..Boot::new(kernel)
    };
    let mut output = Tee { log, text: Vec::new() };
    match boot.run(&mut output) {
        Ok(finished) => {
            let text = String::from_utf8_lossy(&output.text).into_owned();
            let wall = command::seconds(finished.wall);
            let _ = writeln!(&mut &*log, "Linux {}, {wall}\n{}", boot.kernel.release, finished.console);
            let end = match finished.status {
                TOO_LONG => format!("not done after {}", command::seconds(LIMIT)),
                status => format!("exit status: {status}"),
            };
            match (judge(finished.status == 0, &end, &text), complaint(&finished.console)) {
                (Verdict::Passed(counts), Some(complaint)) => {
                    Verdict::Failed(Counts { failed: 1, ..counts }, format!("the kernel complained: {complaint}"))
                }
                (verdict, _) => verdict,
            }
        }
        Err(error) => {
            let _ = writeln!(&mut &*log, "{error:#}");
            Verdict::Failed(Counts::default(), error.to_string().lines().next().unwrap_or_default().to_owned())
        }
    }
}

/// What a kernel says of itself that is not well, whatever the tests found: a program of ours may have led it there.
fn complaint(console: &str) -> Option<&str> {
    const SIGNS: [&str; 6] = ["BUG: ", "WARNING: ", "Oops: ", "general protection fault", "INFO: task ", "RCU: "];
    console.lines().find(|line| SIGNS.iter().any(|sign| line.contains(sign)))
}

/// A guest's output, for the log and for reading.
struct Tee<'a> {
    log: &'a fs::File,
    text: Vec<u8>,
}

impl io::Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        self.log.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_tried_once_a_kernel_is_tried_on_each() {
        for stock in STOCK {
            let columns: Vec<_> = ONCE.iter().filter(|(name, _)| *name == stock.name).collect();
            assert!(matches!(columns[..], [(_, backend)] if stock.backends.contains(backend)), "{columns:?}");
        }
    }

    #[test]
    fn a_kernel_that_complains_is_heard() {
        let usual = "[  252.6] device-mapper: table: 253:0: linear: Device lookup failed (-EBUSY)\n[  488.9] reboot: Power down";
        assert_eq!(complaint(usual), None);
        let oops = format!("{usual}\n[   70.5] BUG: kernel NULL pointer dereference, address: 000000000000000c\n");
        assert_eq!(complaint(&oops), Some("[   70.5] BUG: kernel NULL pointer dereference, address: 000000000000000c"));
    }
}
