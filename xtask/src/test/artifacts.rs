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
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Artifacts {
    /// Builds them.
    pub(super) fn build(log: &fs::File) -> Result<Self> {
        // All of the workspace, and not one package: cargo would choose other features and compile everything again.
        let product = executables(&messages(log, &["build"])?, "bin");
        let product = product.get("dkimwatch").cloned().context("cargo built no program called dkimwatch")?;
        let built = messages(log, &["test", "--features", "dkimwatch-tests/privileged", "--no-run"])?;
        Ok(Self { product, tests: executables(&built, "test"), units: executables(&built, "lib") })
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

/// The executables of targets of one kind, by the targets' names.
fn executables(messages: &str, kind: &str) -> BTreeMap<String, PathBuf> {
    messages
        .lines()
        .filter_map(|line| {
            let message: Message = serde_json::from_str(line).ok()?;
            let target = message.target?;
            let ours = message.reason == "compiler-artifact" && target.kind.iter().any(|name| name == kind);
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
{"reason":"compiler-artifact","target":{"name":"dkimwatch","kind":["bin"]},"executable":"/t/dkimwatch"}
{"reason":"compiler-artifact","target":{"name":"kernel","kind":["test"]},"executable":"/t/kernel-1"}
{"reason":"compiler-artifact","target":{"name":"dkimwatch","kind":["lib"]},"executable":null}
{"reason":"compiler-artifact","target":{"name":"dkimwatch","kind":["lib"]},"executable":"/t/deps/dkimwatch-2"}
{"reason":"build-finished","success":true}
"#;
        assert_eq!(
            executables(messages, "bin").into_iter().collect::<Vec<_>>(),
            [("dkimwatch".into(), "/t/dkimwatch".into())]
        );
        assert_eq!(
            executables(messages, "test").into_iter().collect::<Vec<_>>(),
            [("kernel".into(), "/t/kernel-1".into())]
        );
        assert_eq!(
            executables(messages, "lib").into_iter().collect::<Vec<_>>(),
            [("dkimwatch".into(), "/t/deps/dkimwatch-2".into())]
        );
    }
}
