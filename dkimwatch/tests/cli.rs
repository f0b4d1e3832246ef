//! The command line, as a person sees it: `cli/*.txt` are sessions with the program, `cli/help/*.txt` its help.
//!
//! After a change that is meant, `SNAPSHOTS=overwrite cargo test -p dkimwatch --test cli` writes them anew; read the
//! difference before it is committed.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test's helpers fail as the test does")]

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use clap::CommandFactory as _;
use snapbox::{Assert, Data, Redactions};

const PROGRAM: &str = env!("CARGO_BIN_EXE_dkimwatch");

fn snapshots() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cli")
}

/// Compares with `cli/NAME.txt`; `root` stands there as `[ROOT]`.
fn compare(name: &str, text: String, root: Option<&Path>) {
    let mut redactions = Redactions::new();
    if let Some(root) = root {
        redactions.insert("[ROOT]", root.to_path_buf()).unwrap();
    }
    let file = snapshots().join(format!("{name}.txt"));
    // Not a path with the wrong slashes: an escape.
    let assert = Assert::new().action_env("SNAPSHOTS").normalize_paths(false).redact_with(redactions);
    assert.eq(text, Data::read_from(&file, None));
}

/// A folder with a configuration, and nothing of this machine's environment.
struct Desk(tempfile::TempDir);

impl Desk {
    fn new() -> Self {
        // Its name's length is the width of a column.
        Self(tempfile::tempdir_in("/tmp").unwrap())
    }

    fn with(config: &str) -> Self {
        let desk = Self::new();
        desk.write("dkimwatch.toml", 0o600, &config.replace("[ROOT]", desk.root().to_str().unwrap()));
        desk
    }

    fn root(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, mode: u32, text: &str) {
        let file = self.root().join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Runs the program with these words and compares the session with `cli/NAME.txt`.
    fn session(&self, name: &str, words: &str) {
        self.compare(name, words, Command::new(PROGRAM));
    }

    /// As a process without any capability, whoever runs the test.
    fn session_without_rights(&self, name: &str, words: &str) {
        let mut command = Command::new("setpriv");
        if rustix::process::geteuid().is_root() {
            command.args(["--bounding-set=-all", "--inh-caps=-all"]);
        }
        command.arg(PROGRAM);
        self.compare(name, words, command);
    }

    fn compare(&self, name: &str, words: &str, mut command: Command) {
        command.args(words.split(' ').filter(|word| !word.is_empty())).current_dir(self.root());
        let output = run(command);
        let status = output.status.code().unwrap_or_else(|| panic!("{name}: {}", output.status));
        let mut text = format!("{}\n", format!("$ dkimwatch {words}").trim_end());
        for (stream, bytes) in [("out", output.stdout), ("err", output.stderr)] {
            for line in String::from_utf8(bytes).unwrap().lines() {
                text += format!("{stream}: {line}").trim_end();
                text.push('\n');
            }
        }
        text += &format!("exit: {status}\n");
        compare(name, text, Some(self.root()));
    }
}

fn run(mut command: Command) -> Output {
    let path = std::env::var_os("PATH").unwrap_or_default();
    command.env_clear().env("PATH", path).env("NO_COLOR", "1");
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[test]
fn every_command_explains_itself() {
    fn visit(command: &clap::Command, words: &[&str], seen: &mut BTreeSet<String>) {
        let mut process = Command::new(PROGRAM);
        process.args(words).arg("--help");
        let output = run(process);
        assert!(output.status.success() && output.stderr.is_empty(), "{words:?}: {output:?}");
        let name = [&["dkimwatch"], words].concat().join("-");
        compare(&format!("help/{name}"), String::from_utf8(output.stdout).unwrap(), None);
        seen.insert(format!("{name}.txt"));
        for inner in command.get_subcommands() {
            visit(inner, &[words, &[inner.get_name()]].concat(), seen);
        }
    }
    let mut seen = BTreeSet::new();
    visit(&dkimwatch::cli::Cli::command(), &[], &mut seen);
    let kept = fs::read_dir(snapshots().join("help")).unwrap();
    let kept: BTreeSet<String> = kept.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(kept, seen, "left: the snapshots, right: the commands");
    assert!(seen.len() >= 8, "{seen:?}");
}

#[test]
fn wrong_words_are_a_usage_error() {
    let desk = Desk::new();
    desk.session("no-command", "");
    desk.session("unknown-command", "watchh");
    desk.session("unknown-backend", "watch --backend kprobe");
    desk.session("unknown-duration", "watch --for soon");
    desk.session("replay-of-nothing", "replay nothing");
}

#[test]
fn a_wrong_configuration_is_named_by_file_key_value_and_remedy() {
    let check = "config check --config dkimwatch.toml";
    Desk::new().session("config-missing", check);
    Desk::with("[keys]\npath = [\"/srv\"]\n").session("config-misspelt-key", check);
    Desk::with("[keys]\nzzz = 1\n").session("config-unknown-key", check);
    Desk::with("[signers]\n").session("config-unknown-table", check);
    Desk::with("[keys]\ndiscover = \"yes\"\n").session("config-wrong-type", check);
    Desk::with("[keys\n").session("config-not-toml", check);
    Desk::with("[keys]\npaths = [\"[ROOT]/none/mail.private\"]\n").session("config-missing-key-path", check);
    Desk::with("[keys]\npaths = [\"keys\"]\n").session("config-relative-key-path", check);
    Desk::with("[keys]\npublic = [\"[a\"]\n").session("config-bad-pattern", check);
    let signer = "[[signer]]\nname = \"mine\"\nexecutable = \"/usr/sbin/mine\"\n";
    Desk::with(&format!("{signer}users = [\"no-such-user-here\"]\n")).session("config-unknown-user", check);
    Desk::with(&format!("{signer}units = [\"mine\"]\n")).session("config-bad-unit", check);
    Desk::with(&format!("{signer}{signer}")).session("config-duplicate-signer", check);

    let desk = Desk::new();
    desk.write("dkimwatch.toml", 0o666, "");
    desk.session("config-world-writable", check);
    desk.write("dkimwatch.toml", 0o620, "");
    desk.session("config-group-writable", check);
}

#[test]
fn keys_are_listed_and_their_absence_is_said() {
    let only = "[keys]\ndiscover = false\npaths = [\"[ROOT]\"]\n";
    Desk::with("[keys]\ndiscover = false\n").session("keys-none", "keys --config dkimwatch.toml");
    Desk::with("[keys]\ndiscover = false\n").session("keys-none-json", "keys --json --config dkimwatch.toml");
    Desk::with(only).session("keys-folder", "keys --config dkimwatch.toml");
    let desk = Desk::with("[keys]\ndiscover = false\n");
    desk.write("sel1.private", 0o600, "");
    desk.session("keys-one", "keys --config dkimwatch.toml --key sel1.private");
    desk.session("keys-one-json", "keys --json --config dkimwatch.toml --key sel1.private");
    Desk::with("[keys]\nzzz = 1\n").session("keys-bad-config", "keys --config dkimwatch.toml");
}

#[test]
fn watch_says_why_it_cannot() {
    let desk = Desk::with("[keys]\ndiscover = false\n");
    desk.session("watch-missing-key", "watch --config dkimwatch.toml --key none/mail.private");
    desk.session("watch-missing-config", "watch --config none.toml");
    desk.write("sel1.private", 0o600, "");
    desk.session_without_rights("watch-without-rights", "watch --config dkimwatch.toml --key sel1.private --for 1s");
    desk.session_without_rights("doctor-without-rights", "doctor");
}

#[test]
fn images_that_cannot_be_searched_are_exit_code_3() {
    let desk = Desk::new();
    desk.write("note.txt", 0o600, "no image\n");
    desk.session("audit-no-archive", "audit images note.txt none.tar");
    desk.session("audit-no-store", "audit images --store .");
    desk.session("audit-json", "audit images --json none.tar");
    desk.session("audit-bad-limit", "audit images --layer-limit 0");
}
