//! `test`: every check there is, and one summary that cannot look complete when it is not.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command,
    setup::{self, Need},
    workspace,
};

mod artifacts;
mod checks;
mod counts;
mod coverage;
mod failures;
mod guest;

use checks::{Check, Ground};
use counts::Counts;

/// What `test` is asked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Only checks of this name, or whose names begin with it and a hyphen (`kernel`, `kernel-6.1`); may be repeated
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// The longer passes as well, which are otherwise run by name only
    #[arg(long)]
    long: bool,
    /// Print the names of the checks, and run none
    #[arg(long)]
    list: bool,
}

/// What became of a check.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Every test in it passed; the check itself counts as one where its output holds no numbers.
    Passed(Counts),
    /// Something in it failed; how.
    Failed(Counts, String),
    /// It was not tried, or could not be finished here; why.
    CouldNotRun(String),
}

/// Guests at a time. Each emulates one processor.
const GUESTS_AT_ONCE: usize = 2;

/// Lines of a failed check's log that are repeated on the terminal.
const SHOWN: usize = 200;

/// Runs the checks.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let all = checks::all();
    let total = all.len();
    // The guests' columns first: theirs are the kernels that people run.
    let (in_guests, here): (Vec<_>, Vec<_>) =
        all.iter().filter(|check| check.column.is_some()).partition(|check| check.is_guest());
    let columns: Vec<_> = in_guests
        .into_iter()
        .chain(here)
        .filter_map(|check| Some((check.name.clone(), check.column.clone()?)))
        .collect();
    for name in &arguments.only {
        if !all.iter().any(|check| selects(name, &check.name)) {
            bail!("no check is called `{name}`; `cargo xtask test --list` names them");
        }
    }
    let wanted = |check: &Check| match arguments.only.as_slice() {
        [] => arguments.long || !check.is_long(),
        only => only.iter().any(|name| selects(name, &check.name)),
    };
    let left_out: Vec<_> = all
        .iter()
        .filter(|check| arguments.only.is_empty() && !wanted(check))
        .map(|check| check.name.clone())
        .collect();
    let selected: Vec<_> = all.into_iter().filter(wanted).collect();
    if arguments.list {
        for check in &selected {
            println!("{}", check.name);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let start = Instant::now();
    // Without these nothing compiles; without the others only their own checks cannot run.
    setup::require(&[Need::Build, Need::Lint])?;
    command::folder(&logs())?;
    let ground = Ground::default();
    let results = run_all(&selected, &ground);
    println!();
    if selected.iter().any(|check| check.column.is_some()) {
        let mut sees = ground.into_sees();
        for (name, _) in &columns {
            if !sees.contains_key(name)
                && let Some(earlier) = earlier(name)
            {
                sees.insert(name.clone(), earlier);
            }
        }
        println!("{}", coverage::write(&columns, &sees)?);
    }
    println!("in {}, logs in {}", command::seconds(start.elapsed()), logs().display());
    if !left_out.is_empty() {
        println!("left out, as they take long (cargo xtask test --long): {}", left_out.join(", "));
    } else if selected.len() < total {
        println!("{} of {total} checks were asked for", selected.len());
    }
    // Last but the sums, as the end of a long output is what is kept of it.
    for (name, _) in results.iter().filter(|(_, verdict)| matches!(verdict, Verdict::Failed(..))) {
        for failure in failures::read(&log_of(name)) {
            println!("FAILED in {name}: {failure}");
        }
    }
    let summary = summary(&results);
    print!("{}", summary.text);
    Ok(if summary.whole { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// What an earlier run of a check saw, of the same programs: its log is younger than what was built.
fn earlier(name: &str) -> Option<coverage::Sees> {
    let when = |path: PathBuf| fs::metadata(path).ok()?.modified().ok();
    if when(log_path(name))? <= when(workspace::target().join("debug/dkimwatch"))? {
        return None;
    }
    coverage::Sees::read(&log_of(name))
}

fn selects(name: &str, check: &str) -> bool {
    check.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// What a check has printed.
fn log_of(name: &str) -> String {
    String::from_utf8_lossy(&fs::read(log_path(name)).unwrap_or_default()).into_owned()
}

fn log_path(name: &str) -> PathBuf {
    logs().join(format!("{name}.log"))
}

fn logs() -> PathBuf {
    workspace::target().join("test-logs")
}

/// One after the other on this machine; then the guests, some at a time, and beside them what mostly waits.
fn run_all(selected: &[Check], ground: &Ground) -> Vec<(String, Verdict)> {
    let (beside, here): (Vec<_>, Vec<_>) = selected.iter().partition(|check| check.is_guest() || check.mostly_waits());
    let (guests, waiting): (Vec<_>, Vec<_>) = beside.into_iter().partition(|check| check.is_guest());
    // The newest kernels take the longest: begun last, one of them would be run alone at the end.
    let (columns, first): (Vec<_>, Vec<_>) = guests.into_iter().partition(|check| check.column.is_some());
    let guests: Vec<_> = first.into_iter().chain(columns.into_iter().rev()).collect();
    let done: Mutex<Vec<_>> =
        Mutex::new(here.into_iter().map(|check| (check.name.clone(), run_one(check, ground))).collect());
    let (guests, waiting) = (Mutex::new(guests.iter()), Mutex::new(waiting.iter()));
    let work_off = |queue: &Mutex<std::slice::Iter<&Check>>| {
        loop {
            let next = queue.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(check) = next else { return };
            let verdict = run_one(check, ground);
            done.lock().unwrap_or_else(PoisonError::into_inner).push((check.name.clone(), verdict));
        }
    };
    thread::scope(|scope| {
        scope.spawn(|| work_off(&waiting));
        for _ in 0..GUESTS_AT_ONCE {
            scope.spawn(|| work_off(&guests));
        }
    });
    let mut results = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    results.sort_by_key(|(name, _)| selected.iter().position(|check| check.name == *name));
    results
}

fn run_one(check: &Check, ground: &Ground) -> Verdict {
    let start = Instant::now();
    let path = log_path(&check.name);
    let log = fs::File::options().read(true).write(true).create(true).truncate(true).open(&path);
    let verdict = match log.with_context(|| format!("cannot write {}", path.display())) {
        Ok(log) => check.run(ground, log),
        Err(error) => Verdict::CouldNotRun(format!("{error:#}")),
    };
    let mut out = io::stdout().lock();
    // Nothing can be done about a terminal that has gone; the summary's status still tells.
    let _ = writeln!(out, "{:28} {} ({})", check.name, describe(&verdict), command::seconds(start.elapsed()));
    if let Verdict::Failed(..) = verdict {
        let text = log_of(&check.name);
        let lines: Vec<_> = text.lines().collect();
        let skipped = lines.len().saturating_sub(SHOWN);
        let _ = writeln!(out, "---- {} ({skipped} earlier lines in {})", check.name, path.display());
        for line in lines.get(skipped..).unwrap_or_default() {
            let _ = writeln!(out, "     {line}");
        }
        let _ = writeln!(out, "----");
    }
    verdict
}

fn describe(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Passed(counts) if counts.ignored > 0 => {
            format!("passed  {} tests, {} ignored", counts.passed, counts.ignored)
        }
        Verdict::Passed(Counts { passed: 1, .. }) => "passed".to_owned(),
        Verdict::Passed(counts) => format!("passed  {} tests", counts.passed),
        Verdict::Failed(_, why) => format!("FAILED  {why}"),
        Verdict::CouldNotRun(why) => format!("COULD NOT RUN: {}", why.lines().next().unwrap_or_default()),
    }
}

struct Summary {
    text: String,
    /// Everything ran and passed.
    whole: bool,
}

/// The last lines: one a check, the sums, and what is missing.
fn summary(results: &[(String, Verdict)]) -> Summary {
    let mut text = String::new();
    let (mut passed, mut failed, mut missing) = (0, 0, Vec::new());
    for (name, verdict) in results {
        text += &format!("{name:28} {}\n", describe(verdict));
        match verdict {
            Verdict::Passed(counts) => passed += counts.passed,
            Verdict::Failed(counts, _) => {
                passed += counts.passed;
                failed += counts.failed.max(1);
            }
            Verdict::CouldNotRun(why) => missing.push(format!("{name} ({})", why.lines().next().unwrap_or_default())),
        }
    }
    text += &format!("{passed} passed, {failed} failed\n");
    if !missing.is_empty() {
        text += &format!("INCOMPLETE: {}\n", missing.join("; "));
    }
    Summary { text, whole: failed == 0 && missing.is_empty() && !results.is_empty() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passed(passed: u64) -> Verdict {
        Verdict::Passed(Counts { passed, failed: 0, ignored: 0 })
    }

    #[test]
    fn a_run_is_whole_when_everything_passed() {
        let summary = summary(&[("fmt".to_owned(), passed(1)), ("unit".to_owned(), passed(41))]);
        assert!(summary.whole);
        assert!(summary.text.ends_with("42 passed, 0 failed\n"), "{}", summary.text);
    }

    #[test]
    fn a_check_that_could_not_run_is_named_last() {
        let summary = summary(&[
            ("fmt".to_owned(), passed(1)),
            ("mail".to_owned(), Verdict::CouldNotRun("needs root\nmore".to_owned())),
        ]);
        assert!(!summary.whole);
        assert!(summary.text.contains("mail                         COULD NOT RUN: needs root\n"), "{}", summary.text);
        assert!(summary.text.ends_with("1 passed, 0 failed\nINCOMPLETE: mail (needs root)\n"), "{}", summary.text);
    }

    #[test]
    fn a_failure_without_numbers_counts_as_one() {
        let failed = Verdict::Failed(Counts::default(), "exit status: 1".to_owned());
        let summary = summary(&[("clippy".to_owned(), failed)]);
        assert!(!summary.whole);
        assert!(summary.text.ends_with("0 passed, 1 failed\n"), "{}", summary.text);
    }

    #[test]
    fn nothing_run_is_not_whole() {
        assert!(!summary(&[]).whole);
    }

    #[test]
    fn names_select_by_their_beginning() {
        assert!(selects("kernel", "kernel-6.1-lsm") && selects("kernel-6.1-lsm", "kernel-6.1-lsm"));
        assert!(!selects("kern", "kernel-6.1-lsm") && !selects("kernel-6.1", "kernel-6.12-lsm"));
    }
}
