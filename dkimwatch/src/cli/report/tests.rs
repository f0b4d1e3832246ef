//! The command from its arguments to its exit code.

use clap::Parser as _;

use super::*;
use crate::{
    cli::{Cli, Command},
    report::made::{HOUR, MONDAY, Made, night, state, story},
};

/// Runs it as it is typed, on Sunday.
fn typed(line: &[&str]) -> (Outcome, String, String) {
    let cli = Cli::try_parse_from(["dkimwatch", "report"].iter().chain(line)).expect("flags");
    let Command::Report(args) = cli.command else { panic!("another command") };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let outcome = run_at(&args, MONDAY + 6 * 24 * HOUR, &mut out, &mut err).expect("written");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (outcome, text(out), text(err))
}

#[test]
fn the_exit_code_says_whether_somebody_must_look() {
    let (night, mut calm) = (night(), Made::new());
    calm.put(MONDAY, &state("watch-started", &[]));
    calm.put(MONDAY + HOUR, &story("opendkim-keyfile-as-root-before-setuid")[0]);
    let path = |made: &Made| made.path().to_str().expect("UTF-8").to_owned();
    let (night, calm) = (path(&night), path(&calm));
    let (outcome, out, err) = typed(&["--journal", &calm]);
    assert_eq!((outcome, err.as_str()), (Outcome::Quiet, ""));
    assert!(out.contains("NOT EXPOSED: 1 ACCESS TO 1 KEY, ALL EXPECTED"), "{out}");
    assert_eq!(typed(&["--journal", &night]).0, Outcome::Findings);
    assert_eq!(typed(&["--journal", &calm, "--journal", &night]).0, Outcome::Findings);
    let (outcome, out, _) =
        typed(&["--journal", &night, "--since", "2026-11-23", "--until", "2026-11-25", "--verdict", "expected"]);
    assert_eq!(outcome, Outcome::Quiet, "{out}");
    assert!(
        out.starts_with("DKIM key report, 2026-11-23 00:00:00 UTC to 2026-11-26 00:00:00 UTC\nonly verdict expected\n"),
        "{out}"
    );
    assert_eq!(
        typed(&["--journal", &calm, "--since", "2h"]).0,
        Outcome::Findings,
        "nothing is known of the last two hours"
    );
}

#[test]
fn what_is_wrong_is_said_with_what_to_do() {
    let made = night();
    let journal = made.path().to_str().expect("UTF-8");
    let empty = tempfile::tempdir().unwrap();
    let empty = empty.path().to_str().expect("UTF-8");
    for (line, says) in [
        (vec!["--journal", empty], "holds no journal: name the folder"),
        (vec!["--journal", "/nowhere/at/all"], "/nowhere/at/all cannot be listed"),
        (vec!["--journal", journal, "--since", "tuesday"], "--since \"tuesday\" is no time: write 2026-11-28"),
        (vec!["--journal", journal, "--since", "1h", "--until", "2h"], "no time lies between"),
        (vec!["--journal", journal, "--key", "/k/["], "is not a glob"),
        (
            vec!["--journal", journal, "--verification-key-file", "/nowhere"],
            "--verification-key-file /nowhere cannot be read",
        ),
        (vec!["--journal", journal, "--verification-key-file", "/etc/passwd"], "this is no verification key"),
        (vec!["--journal", journal, "--output", "/dev/null"], "is no regular file"),
    ] {
        let (outcome, out, err) = typed(&line);
        assert_eq!((outcome, out.as_str()), (Outcome::Usage, ""), "{line:?}");
        assert!(err.starts_with("dkimwatch: ") && err.contains(says), "{line:?}: {err}");
    }
    assert!(Cli::try_parse_from(["dkimwatch", "report"]).is_err(), "a journal must be named");
}

#[test]
fn a_page_goes_into_a_file() {
    let made = night();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("report.html");
    let words = ["--journal", made.path().to_str().unwrap(), "--format", "html", "--output", file.to_str().unwrap()];
    let (outcome, out, err) = typed(&words);
    assert_eq!((outcome, out.as_str(), err.as_str()), (Outcome::Findings, "", ""));
    assert!(std::fs::read_to_string(&file).unwrap().starts_with("<!DOCTYPE html>"));
}
