//! The programs that cargo built, by the messages it prints.

use std::{collections::BTreeMap, fs, io::Write as _, path::PathBuf, process::Stdio};

use anyhow::{Context as _, Result, bail};
use serde::Deserialize;

use crate::command;

/// The product and the test programs that need more than a user's rights.
#[derive(Clone, Debug, Default)]
pub(super) struct Artifacts {
    /// The built `dkimwatch`.
    pub(super) product: PathBuf,
    /// Test programs by the names of their targets.
    pub(super) tests: BTreeMap<String, PathBuf>,
    /// The unit tests of libraries, by the names of the libraries.
    pub(super) units: BTreeMap<String, PathBuf>,
}

/// One of cargo's messages (The Cargo Book, "External tools", `compiler-artifact`); of the others only the reason is read.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    profile: Option<Profile>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

#[derive(Deserialize)]
struct Profile {
    /// Whether it is a test program.
    test: bool,
}

impl Artifacts {
    /// Builds them.
    pub(super) fn build(log: &fs::File) -> Result<Self> {
        // The product as well, for its own tests run it: built by itself it would have other features, and with it everything
        // that it stands on.
        let built = messages(log, &["test", "--features", "dkimwatch-tests/privileged", "--no-run"])?;
        let product = executables(&built, "bin", false);
        let product = product.get("dkimwatch").cloned().context("cargo built no program called dkimwatch")?;
        Ok(Self { product, tests: executables(&built, "test", true), units: executables(&built, "lib", true) })
    }
}

/// What cargo says of everything that it built.
fn messages(log: &fs::File, arguments: &[&str]) -> Result<String> {
    let mut cargo = command::cargo(arguments);
    cargo.arg("--message-format=json-render-diagnostics").stdin(Stdio::null()).stderr(log.try_clone()?);
    let output = cargo.output().context("cannot start cargo")?;
    writeln!(&mut &*log, "`{}`: {}", command::line(&cargo), output.status)?;
    if !output.status.success() {
        bail!("`{}` failed: {}", command::line(&cargo), output.status);
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The executables of targets of one kind, or the tests of those, by the targets' names.
fn executables(messages: &str, kind: &str, tests: bool) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| {
            let message: Message = serde_json::from_str(line).ok()?;
            let target = message.target?;
            let ours = message.reason == "compiler-artifact"
                && target.kind.iter().any(|name| name == kind)
                && message.profile.is_some_and(|profile| profile.test == tests);
            Some((target.name, message.executable.filter(|_| ours)?))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_found_by_kind_and_name() {
        let messages = r#"
{"reason":"compiler-artifact","target":{"name":"dkimwatch","kind":["bin"]},"profile":{"test":false},"executable":"/t/dkimwatch"}
{"reason":"compiler-artifact","target":{"name":"dkimwatch","kind":["bin"]},"profile":{"test":true},"executable":"/t/deps/dkimwatch-1"}
{"reason":"compiler-artifact","target":{"name":"kernel","kind":["test"]},"profile":{"test":true},"executable":"/t/kernel-1"}
{"reason":"compiler-artifact","target":{"name":"dkimwatch","kind":["lib"]},"profile":{"test":false},"executable":null}
{"reason":"compiler-artifact","target":{"name":"dkimwatch","kind":["lib"]},"profile":{"test":true},"executable":"/t/deps/dkimwatch-2"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            executables(messages, "bin", false).into_iter().collect::<Vec<_>>(),
            [("dkimwatch".into(), "/t/dkimwatch".into())]
        );
        assert_eq!(
            executables(messages, "test", true).into_iter().collect::<Vec<_>>(),
            [("kernel".into(), "/t/kernel-1".into())]
        );
        assert_eq!(
            executables(messages, "lib", true).into_iter().collect::<Vec<_>>(),
            [("dkimwatch".into(), "/t/deps/dkimwatch-2".into())]
        );
    }
}
