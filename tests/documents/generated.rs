//! Manual pages and shell completions, from the command line's own table.

use std::{collections::BTreeMap, fs};

use anyhow::{Context as _, Result};
use clap::CommandFactory as _;
use clap_complete::{Shell, generate};
use clap_mangen::{
    Man,
    roff::{Roff, bold, roman},
};
use dkimwatch::{cli::Cli, exit::Outcome};

use crate::path;

/// Where manual pages lie.
const MANUAL: &str = "docs/man";
/// Where completions lie.
const COMPLETIONS: &str = "packaging/completions";

/// Every generated file of a folder, by name.
type Files = BTreeMap<String, Vec<u8>>;

#[test]
fn manual_pages_are_current() -> Result<()> {
    let mut command = Cli::command().disable_help_subcommand(true);
    command.build();
    let mut pages = Files::new();
    manual(&command, &mut pages)?;
    assert!(pages.contains_key("dkimwatch-watch.1") && pages.contains_key("dkimwatch-config-check.1"));
    assert!(!pages.contains_key("dkimwatch-bench-attach.1"), "a hidden command has no page");
    current(MANUAL, ".1", &pages)
}

#[test]
fn completions_are_current() -> Result<()> {
    let mut files = Files::new();
    for (shell, name) in [(Shell::Bash, "dkimwatch.bash"), (Shell::Zsh, "_dkimwatch"), (Shell::Fish, "dkimwatch.fish")]
    {
        let mut script = Vec::new();
        generate(shell, &mut visible(Cli::command()), "dkimwatch", &mut script);
        files.insert(name.to_owned(), script);
    }
    current(COMPLETIONS, "", &files)
}

/// Without the commands that are hidden: a completion would show them.
fn visible(command: clap::Command) -> clap::Command {
    let shown: Vec<_> = command.get_subcommands().filter(|inner| !inner.is_hide_set()).cloned().collect();
    let mut bare = clap::Command::new("dkimwatch").version(env!("CARGO_PKG_VERSION"));
    for argument in command.get_arguments() {
        bare = bare.arg(argument.clone());
    }
    bare.subcommands(shown)
}

/// The page of a command, and of those below it.
fn manual(command: &clap::Command, pages: &mut Files) -> Result<()> {
    let below: Vec<_> = command.get_subcommands().filter(|inner| !inner.is_hide_set()).collect();
    for inner in &below {
        manual(inner, pages)?;
    }
    let page =
        Man::new(command.clone()).source(concat!("dkimwatch ", env!("CARGO_PKG_VERSION"))).manual("dkimwatch manual");
    let mut text = Vec::new();
    page.render_title(&mut text)?;
    page.render_name_section(&mut text)?;
    page.render_synopsis_section(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if !below.is_empty() {
        page.render_subcommands_section(&mut text)?;
    }
    let name = page.get_filename();
    common(name.trim_end_matches(".1")).to_writer(&mut text)?;
    pages.insert(name, with_one_preamble(&String::from_utf8(text)?).into_bytes());
    Ok(())
}

/// What every page ends with.
fn common(own: &str) -> Roff {
    let mut roff = Roff::new();
    let codes = [
        (Outcome::Quiet, "Nothing to report."),
        (
            Outcome::Findings,
            "Something a person should look at: a reader that was not expected, a story that differs, a key in an image.",
        ),
        (Outcome::Usage, "The command line or the configuration is wrong."),
        (
            Outcome::Blind,
            "dkimwatch cannot see: a missing right, a kernel that refuses, a hook that does not fire, an image that cannot be read.",
        ),
    ];
    section(&mut roff, "EXIT STATUS", &codes.map(|(code, meaning)| ((code as u8).to_string(), meaning)));
    let variables = [
        (
            "DKIMWATCH_LOG",
            "What is logged on standard error, as tracing-subscriber's EnvFilter reads it; warn if it is not set. With \
             debug, the kernel side logs as well.",
        ),
        ("NO_COLOR", "If it is set and not empty, lines for people have no colour; nor have they when they are piped."),
    ];
    section(&mut roff, "ENVIRONMENT", &variables.map(|(name, meaning)| (name.to_owned(), meaning)));
    let file = "The configuration, see dkimwatch.toml(5). It may be absent.";
    section(&mut roff, "FILES", &[(dkimwatch::config::DEFAULT_PATH.to_owned(), file)]);
    let others = [
        "dkimwatch(1)",
        "dkimwatch-watch(1)",
        "dkimwatch-keys(1)",
        "dkimwatch-doctor(1)",
        "dkimwatch-config-check(1)",
        "dkimwatch-audit-images(1)",
        "dkimwatch-replay(1)",
        "dkimwatch-report(1)",
        "dkimwatch.toml(5)",
        "opendkim(8)",
        "bpf(2)",
    ];
    roff.control("SH", ["SEE ALSO"]);
    let own = format!("{own}(1)");
    roff.text([roman(others.iter().filter(|other| **other != own).copied().collect::<Vec<_>>().join(", "))]);
    roff
}

fn section(roff: &mut Roff, heading: &str, items: &[(String, &str)]) {
    roff.control("SH", [heading]);
    for (tag, meaning) in items {
        roff.control("TP", []);
        roff.text([bold(tag)]);
        roff.text([roman(*meaning)]);
    }
}

/// Every part defines what an apostrophe is; a page needs it once.
fn with_one_preamble(roff: &str) -> String {
    let preamble = |line: &&str| line.starts_with(".ie ") || line.starts_with(".el ");
    let first: Vec<_> = roff.lines().filter(preamble).take(2).collect();
    let rest = roff.lines().filter(|line| !preamble(line));
    first.into_iter().chain(rest).map(|line| format!("{}\n", line.trim_end())).collect()
}

/// The folder's files are the generated ones, byte for byte, and there is none too many.
fn current(folder: &str, suffix: &str, files: &Files) -> Result<()> {
    let place = path(folder);
    if std::env::var_os("BLESS").is_some() {
        fs::create_dir_all(&place)?;
        for (name, content) in files {
            fs::write(place.join(name), content).with_context(|| format!("{folder}/{name}"))?;
        }
    }
    let stale = |name: &str| {
        format!("{folder}/{name} is not current: BLESS=1 cargo test -p dkimwatch-tests --test documents writes it")
    };
    for (name, content) in files {
        let there = fs::read(place.join(name)).unwrap_or_default();
        assert!(there == *content, "{}", stale(name));
    }
    for entry in fs::read_dir(&place).with_context(|| folder.to_owned())? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        assert!(!name.ends_with(suffix) || files.contains_key(&name), "{folder}/{name} is of no command: remove it");
    }
    Ok(())
}
