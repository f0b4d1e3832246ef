//! The table of checks, and how each kind of them is run.

use std::{
    collections::BTreeMap,
    fs,
    io::Write as _,
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
    coverage::Sees,
    guest::{self, STOCK, Stock},
};
use crate::{
    command::{self, Reaped, is_root},
    setup::{self, Need},
    tidy, workspace,
};

/// A check.
#[derive(Clone, Debug)]
pub(super) struct Check {
    /// As `--only` takes it, and as its log is called.
    pub(super) name: String,
    /// Where it tries the kernel sentences: the head of its column in `docs/coverage.md`.
    pub(super) column: Option<String>,
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
    /// The kernel sentences in a guest.
    Guest { stock: &'static Stock, backend: &'static str },
    /// Podman's containers in a guest, where there are control groups of version 2 alone.
    ContainersInGuest { stock: &'static Stock },
    /// What the kernel side takes for granted, against a guest's own description of its types.
    Contract { stock: &'static Stock },
}

/// The test program of the kernel sentences.
const KERNEL: &str = "kernel";

/// The test program of the mail flows.
const MAIL: &str = "mail";

/// The test program of the service and its journal.
const JOURNAL: &str = "journal";

/// The test program of the containers.
const CONTAINERS: &str = "containers";

/// The test program of the report's page.
const BROWSER: &str = "browser";

/// What needs no rights, with the features of what does: the tests' own crate is then compiled once.
const UNIT: &[&str] = &[
    "test",
    "--features",
    "dkimwatch-tests/privileged",
    "--no-fail-fast",
    "--lib",
    "--bins",
    "--test",
    "cli",
    "--test",
    "documents",
    "--test",
    "images",
    "--test",
    "stories",
];

/// How long one program may take here.
const LIMIT_HERE: Duration = Duration::from_secs(1_500);

/// Every check, cheapest first.
pub(super) fn all() -> Vec<Check> {
    let check = |name: &str, how| Check { name: name.to_owned(), column: None, how };
    let cargo = |arguments, counted| How::Cargo { arguments, counted };
    let mut checks = vec![
        check("fmt", cargo(&["fmt", "--all", "--check"], false)),
        check("tidy", How::Tidy),
        check("clippy", cargo(&["clippy", "--all-targets", "--all-features", "--", "-D", "warnings"], false)),
        check("clippy-kernel-side", How::ClippyKernelSide),
        check("unit", cargo(UNIT, true)),
        check("doc", cargo(&["test", "--features", "dkimwatch-tests/privileged", "--doc"], true)),
        check("build", How::Build),
        check("browser", How::Here { target: BROWSER, backend: "auto", needs: &[Need::Browser] }),
        Check {
            column: Some("here tracepoint".to_owned()),
            ..check(
                "kernel-here-tracepoint",
                How::Here { target: KERNEL, backend: "tracepoint", needs: &[Need::FileSystems] },
            )
        },
        check("containers", How::Here { target: CONTAINERS, backend: "auto", needs: &[Need::Containers] }),
        check("journal", How::Here { target: JOURNAL, backend: "auto", needs: &[] }),
        check("mail", How::Here { target: MAIL, backend: "auto", needs: &[Need::Mail, Need::Containers] }),
    ];
    // A kernel that lacks what was taken for granted is named before its sentences fail.
    checks.extend(
        STOCK
            .iter()
            .filter(|stock| stock.append.is_empty())
            .map(|stock| check(&format!("contract-{}", stock.name), How::Contract { stock })),
    );
    checks.extend(
        STOCK
            .iter()
            .filter(|stock| stock.name == "6.12")
            .map(|stock| check(&format!("{CONTAINERS}-{}", stock.name), How::ContainersInGuest { stock })),
    );
    checks.extend(STOCK.iter().flat_map(|stock| {
        stock.backends.iter().map(move |backend| Check {
            name: format!("kernel-{}-{backend}", stock.name),
            column: Some(format!("{} {backend}", stock.title)),
            how: How::Guest { stock, backend },
        })
    }));
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
        matches!(self.how, How::Guest { .. } | How::Contract { .. } | How::ContainersInGuest { .. })
    }

    /// Whether it is left out unless it is asked for.
    pub(super) const fn is_long(&self) -> bool {
        matches!(self.how, How::ContainersInGuest { .. })
    }

    /// Whether it leaves the processors to others for most of its time: mail is on its way, a minute of a journal is to go by.
    pub(super) fn mostly_waits(&self) -> bool {
        matches!(self.how, How::Here { target: MAIL | JOURNAL | CONTAINERS, .. })
    }

    /// Runs it; everything it prints goes to `log`.
    pub(super) fn run(&self, ground: &Ground, log: fs::File) -> Verdict {
        let verdict = self.verdict(ground, &log);
        if self.column.is_some()
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
            How::Guest { stock, backend } => match test_program(ground, log, KERNEL) {
                Ok((artifacts, program)) => {
                    let mut words = environment(&artifacts.product, backend, Path::new(guest::DISK)).to_vec();
                    words.extend(guest::tried(stock, backend));
                    guest::run(stock, program, &["--show-output"], &words, tests_folder(), log)
                }
                Err(why) => Verdict::CouldNotRun(why),
            },
            How::ContainersInGuest { stock } => {
                if let Err(error) = setup::require(&[Need::Containers]) {
                    return Verdict::CouldNotRun(format!("{error:#}"));
                }
                match test_program(ground, log, CONTAINERS) {
                    Ok((artifacts, program)) => {
                        let mut words = environment(&artifacts.product, "auto", Path::new(guest::DISK)).to_vec();
                        // An overlay takes no folder of another overlay for its upper layer.
                        words.push(("TMPDIR", guest::DISK.to_owned()));
                        guest::run(
                            stock,
                            program,
                            &["--show-output", "podman", "--skip", "sockets::"],
                            &words,
                            tests_folder(),
                            log,
                        )
                    }
                    Err(why) => Verdict::CouldNotRun(why),
                }
            }
            How::Contract { stock } => match unit_program(ground, log) {
                Ok(program) => guest::run(stock, program, &["contract_tests"], &[], tests_folder(), log),
                Err(why) => Verdict::CouldNotRun(why),
            },
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
pub(super) fn judge(good: bool, status: &str, output: &str) -> Verdict {
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

/// What a privileged test program is told.
fn environment(product: &Path, backend: &str, disk: &Path) -> [(&'static str, String); 5] {
    [
        ("DKIMWATCH_BIN", product.to_string_lossy().into_owned()),
        ("DKIMWATCH_BACKEND", backend.to_owned()),
        ("DKIMWATCH_DISK", disk.to_string_lossy().into_owned()),
        // A test in a container or a mail server watches the whole machine: two at once would see each other's readers.
        // (Sentences of `kernel` run two at a time all the same, as libtest-mimic does not ask for it: each watches a key
        // of its own.)
        ("RUST_TEST_THREADS", "1".to_owned()),
        // Below a stack of calls, the sentence that says what was wrong is lost.
        ("RUST_LIB_BACKTRACE", "0".to_owned()),
    ]
}

fn test_program<'a>(ground: &'a Ground, log: &fs::File, target: &str) -> Result<(&'a Artifacts, &'a Path), String> {
    let artifacts = ground.artifacts(log).map_err(|_| "it could not be built".to_owned())?;
    let path = artifacts.tests.get(target).ok_or_else(|| format!("the crate `tests` has no test target `{target}`"))?;
    Ok((artifacts, path))
}

/// The unit tests of the product.
fn unit_program<'a>(ground: &'a Ground, log: &fs::File) -> Result<&'a Path, String> {
    let artifacts = ground.artifacts(log).map_err(|_| "it could not be built".to_owned())?;
    Ok(artifacts.units.get("dkimwatch").ok_or("cargo built no unit tests of the library `dkimwatch`")?)
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
    fn every_test_that_needs_no_rights_is_in_unit() {
        let text = fs::read_to_string(workspace::root().join("tests/Cargo.toml")).expect("the tests' manifest");
        let manifest: toml::Table = text.parse().expect("TOML");
        let tests = manifest["test"].as_array().expect("[[test]]");
        let all: Vec<_> = tests.iter().filter(|test| test.get("required-features").is_none()).collect();
        assert!(all.len() >= 3, "{all:?}");
        for test in all {
            let name = test["name"].as_str().expect("a name");
            assert!(UNIT.windows(2).any(|words| words == ["--test", name]), "{name} is in no check");
        }
        for entry in fs::read_dir(workspace::root().join("dkimwatch/tests")).expect("the product's tests").flatten() {
            let path = entry.path();
            let name = path.file_stem().and_then(|name| name.to_str()).expect("a name");
            let is_test = path.extension().is_some_and(|extension| extension == "rs");
            assert!(!is_test || UNIT.windows(2).any(|words| words == ["--test", name]), "{name} is in no check");
        }
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
