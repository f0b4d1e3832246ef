//! The table of checks, and how each kind of them is run.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write as _},
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Mutex, OnceLock, PoisonError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};

use super::{
    Verdict,
    artifacts::Artifacts,
    counts::{self, Counts},
    sees::Sees,
};
use crate::{
    command::{self, Reaped, is_root, quote},
    kernels,
    setup::{self, Need},
    tidy,
    vm::{Boot, FileSystem, TOO_LONG},
    workspace,
};

/// A check.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// As `--only` takes it, and as its log is called.
    pub(super) name: String,
    how: How,
}

#[derive(Clone, Debug)]
enum How {
    /// A cargo command; whether its output holds the numbers of tests.
    Cargo { arguments: &'static [&'static str], counted: bool },
    /// The linter over the kernel side, which compiles for another target.
    ClippyKernelSide,
    /// The rules of this house.
    Tidy,
    /// Building what the checks below run.
    Build,
    /// A test program on this machine, as root.
    Here { target: &'static str, backend: &'static str, needs: &'static [Need] },
    /// A test program in a guest.
    Guest { target: &'static str, series: &'static str, backend: &'static str },
}

/// The test program of the kernel sentences.
const KERNEL: &str = "kernel";

/// The kernels and the ways into them that are tested in guests.
const GUEST_KERNELS: [&str; 2] = ["6.1", "newest"];
const BACKENDS: [&str; 3] = ["lsm", "fentry", "tracepoint"];

/// How long one program may take here, and in a guest.
const LIMIT_HERE: Duration = Duration::from_secs(900);
const LIMIT_GUEST: Duration = Duration::from_secs(600);

/// Every check, cheapest first.
pub(super) fn all() -> Vec<Check> {
    let check = |name: &str, how| Check { name: name.to_owned(), how };
    let cargo = |arguments, counted| How::Cargo { arguments, counted };
    let mut checks = vec![
        check("fmt", cargo(&["fmt", "--all", "--check"], false)),
        check("tidy", How::Tidy),
        check("clippy", cargo(&["clippy", "--all-targets", "--all-features", "--", "-D", "warnings"], false)),
        check("clippy-kernel-side", How::ClippyKernelSide),
        check("unit", cargo(&["test", "--no-fail-fast"], true)),
        check("build", How::Build),
        check(
            "kernel-here-tracepoint",
            How::Here { target: KERNEL, backend: "tracepoint", needs: &[Need::FileSystems] },
        ),
        check("mail", How::Here { target: "mail", backend: "auto", needs: &[Need::Mail] }),
    ];
    for series in GUEST_KERNELS {
        for backend in BACKENDS {
            let how = How::Guest { target: KERNEL, series, backend };
            checks.push(Check { name: format!("kernel-{series}-{backend}"), how });
        }
    }
    checks
}

/// What several checks stand on, made by the first that asks.
#[derive(Default)]
pub(super) struct Ground {
    artifacts: OnceLock<Result<Artifacts, String>>,
    /// What the kernel sentences found, by the names of their checks.
    sees: Mutex<BTreeMap<String, Sees>>,
}

impl Ground {
    /// What the kernel sentences found, by the names of their checks.
    pub(super) fn into_sees(self) -> BTreeMap<String, Sees> {
        self.sees.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    fn artifacts(&self, log: &fs::File) -> Result<&Artifacts, String> {
        self.artifacts
            .get_or_init(|| Artifacts::build(log).map_err(|error| format!("{error:#}")))
            .as_ref()
            .map_err(Clone::clone)
    }
}

impl Check {
    /// Whether it runs in a guest, beside others.
    pub(super) fn is_guest(&self) -> bool {
        matches!(self.how, How::Guest { .. })
    }

    /// Whether it tries the kernel sentences.
    pub(super) fn is_of_kernel(&self) -> bool {
        matches!(self.how, How::Here { target: KERNEL, .. } | How::Guest { target: KERNEL, .. })
    }

    /// Runs it; everything it prints goes to `log`.
    pub(super) fn run(&self, ground: &Ground, log: fs::File) -> Verdict {
        let verdict = self.verdict(ground, &log);
        if self.is_of_kernel()
            && let Some(sees) = since(&log, 0).ok().as_deref().and_then(Sees::read)
        {
            ground.sees.lock().unwrap_or_else(PoisonError::into_inner).insert(self.name.clone(), sees);
        }
        verdict
    }

    fn verdict(&self, ground: &Ground, log: &fs::File) -> Verdict {
        match &self.how {
            How::Cargo { arguments, counted } => {
                let counted = if *counted { Numbers::InOutput } else { Numbers::One };
                program(command::cargo(*arguments), log, counted)
            }
            How::ClippyKernelSide => program(clippy_kernel_side(), log, Numbers::One),
            How::Tidy => tidy_check(log),
            How::Build => match ground.artifacts(log) {
                Ok(_) => Verdict::Passed(Counts::ONE),
                Err(why) => Verdict::Failed(Counts::default(), why),
            },
            How::Here { target, backend, needs } => here(ground, log, target, backend, needs),
            How::Guest { target, series, backend } => guest(ground, log, target, series, backend),
        }
    }
}

/// How a program's output is to be read.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Numbers {
    /// The status is all.
    One,
    /// The test harness prints them.
    InOutput,
}

fn program(mut command: Command, log: &fs::File, numbers: Numbers) -> Verdict {
    let outcome = (|| {
        let before = log.metadata()?.len();
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?).spawn();
        let mut child = Reaped(child.with_context(|| format!("cannot start `{}`", command::line(&command)))?);
        let status = command::wait_until(&mut child.0, Instant::now() + LIMIT_HERE)?;
        anyhow::Ok((status, since(log, before)?))
    })();
    match outcome {
        Err(error) => Verdict::CouldNotRun(format!("{error:#}")),
        Ok((None, _)) => Verdict::Failed(Counts::default(), format!("not done after {}", command::seconds(LIMIT_HERE))),
        Ok((Some(status), _)) if numbers == Numbers::One => {
            if status.success() {
                Verdict::Passed(Counts::ONE)
            } else {
                Verdict::Failed(Counts::default(), status.to_string())
            }
        }
        Ok((Some(status), output)) => judge(status.success(), &status.to_string(), &output),
    }
}

/// A test program's end and its output make a verdict: a good status is not enough.
fn judge(good: bool, status: &str, output: &str) -> Verdict {
    let counts = Counts::read(output);
    match counts {
        None => Verdict::Failed(Counts::default(), format!("no result of any test; {status}")),
        Some(counts) if !good || counts.failed > 0 => {
            Verdict::Failed(counts, format!("{} of {} tests; {status}", counts.failed, counts.passed + counts.failed))
        }
        Some(Counts { passed: 0, .. }) => Verdict::Failed(Counts::default(), "it ran no test at all".to_owned()),
        Some(counts) => match counts::unable(output).as_slice() {
            [] => Verdict::Passed(counts),
            reasons => Verdict::CouldNotRun(reasons.join(", ")),
        },
    }
}

fn here(ground: &Ground, log: &fs::File, target: &str, backend: &str, needs: &[Need]) -> Verdict {
    if !is_root() {
        return Verdict::CouldNotRun("needs root".to_owned());
    }
    if let Err(error) = setup::require(needs) {
        return Verdict::CouldNotRun(format!("{error:#}"));
    }
    let (artifacts, program_path) = match test_program(ground, log, target) {
        Ok(found) => found,
        Err(why) => return Verdict::CouldNotRun(why),
    };
    let disk = workspace::target().join("test-disk");
    if let Err(error) = command::folder(&disk) {
        return Verdict::CouldNotRun(format!("{error:#}"));
    }
    let mut command = Command::new(program_path);
    command.arg("--show-output").envs(environment(&artifacts.product, backend, &disk)).current_dir(tests_folder());
    program(command, log, Numbers::InOutput)
}

fn guest(ground: &Ground, log: &fs::File, target: &str, series: &str, backend: &str) -> Verdict {
    if !is_root() {
        return Verdict::CouldNotRun("needs root, as guests share this machine's own root".to_owned());
    }
    let prepared = test_program(ground, log, target).and_then(|found| {
        let kernel = kernels::obtain(series).map_err(|error| format!("{error:#}"))?;
        Ok((found, kernel))
    });
    let ((artifacts, program_path), kernel) = match prepared {
        Ok(prepared) => prepared,
        Err(why) => return Verdict::CouldNotRun(why),
    };
    let words = environment(&artifacts.product, backend, Path::new("/mnt/disk"));
    let words = words.iter().map(|(name, value)| format!("{name}={}", quote(value))).collect::<Vec<_>>().join(" ");
    let boot = Boot {
        script: format!("{words} exec {} --show-output", quote(&program_path.to_string_lossy())),
        folder: tests_folder(),
        disk: Some(FileSystem::Ext4),
        timeout: LIMIT_GUEST,
        ..Boot::new(kernel)
    };
    let mut output = Tee { log, text: Vec::new() };
    match boot.run(&mut output) {
        Ok(finished) => {
            let text = String::from_utf8_lossy(&output.text).into_owned();
            let _ = writeln!(
                &mut &*log,
                "Linux {}, {}\n{}",
                boot.kernel.release,
                command::seconds(finished.wall),
                finished.console
            );
            let end = match finished.status {
                TOO_LONG => format!("not done after {}", command::seconds(LIMIT_GUEST)),
                status => format!("exit status: {status}"),
            };
            judge(finished.status == 0, &end, &text)
        }
        Err(error) => {
            let _ = writeln!(&mut &*log, "{error:#}");
            Verdict::Failed(Counts::default(), error.to_string().lines().next().unwrap_or_default().to_owned())
        }
    }
}

/// What a privileged test program is told.
fn environment(product: &Path, backend: &str, disk: &Path) -> [(&'static str, String); 4] {
    [
        ("DKIMWATCH_BIN", product.to_string_lossy().into_owned()),
        ("DKIMWATCH_BACKEND", backend.to_owned()),
        ("DKIMWATCH_DISK", disk.to_string_lossy().into_owned()),
        // Each test watches the whole machine: two at once would see each other's readers.
        ("RUST_TEST_THREADS", "1".to_owned()),
    ]
}

fn test_program<'a>(ground: &'a Ground, log: &fs::File, target: &str) -> Result<(&'a Artifacts, &'a Path), String> {
    let artifacts = ground.artifacts(log).map_err(|_| "it could not be built".to_owned())?;
    let path = artifacts.tests.get(target).ok_or_else(|| format!("the crate `tests` has no test target `{target}`"))?;
    Ok((artifacts, path))
}

/// Where cargo would run them.
fn tests_folder() -> PathBuf {
    workspace::root().join("tests")
}

fn clippy_kernel_side() -> Command {
    let mut cargo = command::cargo(["clippy", "-p", "dkimwatch-ebpf", "--target", "bpfel-unknown-none", "--release"]);
    // As `dkimwatch/build.rs` compiles it: `build-std` is refused by a stable cargo unless told so.
    cargo.args(["-Z", "build-std=core", "--target-dir"]).arg(workspace::target().join("clippy-kernel-side"));
    cargo.args(["--", "-D", "warnings"]).env("RUSTC_BOOTSTRAP", "1");
    let architecture = std::env::consts::ARCH;
    cargo.env("RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{architecture}\""));
    cargo
}

fn tidy_check(log: &fs::File) -> Verdict {
    let findings = match tidy::findings() {
        Ok(findings) => findings,
        Err(error) => return Verdict::CouldNotRun(format!("{error:#}")),
    };
    for finding in &findings {
        let _ = writeln!(&mut &*log, "{finding}");
    }
    match findings.len() {
        0 => Verdict::Passed(Counts::ONE),
        count => Verdict::Failed(Counts::default(), format!("{count} rules broken")),
    }
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

/// What was written to the log since it was `before` bytes long.
fn since(log: &fs::File, before: u64) -> Result<String> {
    let length = log.metadata()?.len().saturating_sub(before);
    let mut bytes = vec![0; usize::try_from(length)?];
    log.read_exact_at(&mut bytes, before).context("cannot read the log again")?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique() {
        let mut names: Vec<_> = all().into_iter().map(|check| check.name).collect();
        let count = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn a_program_that_ran_no_test_has_failed() {
        let empty = "test result: ok. 0 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert!(matches!(judge(true, "exit status: 0", empty), Verdict::Failed(..)));
        assert!(matches!(judge(true, "exit status: 0", ""), Verdict::Failed(..)));
    }

    #[test]
    fn a_bad_status_fails_whatever_was_printed() {
        let good = "test result: ok. 3 passed; 0 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n";
        assert!(matches!(judge(true, "exit status: 0", good), Verdict::Passed(Counts { passed: 3, .. })));
        assert!(matches!(judge(false, "exit status: 101", good), Verdict::Failed(..)));
    }

    #[test]
    fn a_program_is_judged_by_what_it_printed() {
        let log = tempfile::NamedTempFile::new().expect("a temporary file");
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo 'test result: ok. 2 passed; 0 failed; 0 ignored'"]);
        assert_eq!(
            program(shell, log.as_file(), Numbers::InOutput),
            Verdict::Passed(Counts { passed: 2, failed: 0, ignored: 0 })
        );
    }
}
