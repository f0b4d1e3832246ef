//! `run`: from a fresh clone to a live watch, in one command.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::{
    command::{self, Reaped, capture, is_root, require},
    setup::{self, Need},
    workspace,
};

/// What `run` is asked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The demonstration, also where this host has keys
    #[arg(long)]
    demonstration: bool,
    /// Seconds that the demonstration lasts
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// For `dkimwatch watch`
    #[arg(last = true)]
    arguments: Vec<String>,
}

/// Time between two rounds of the demonstration.
const ROUND: Duration = Duration::from_secs(1);

/// The status with which `watch` says that somebody unexpected read a key.
const FINDINGS: i32 = 1;

/// Sets up, builds, watches.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    setup::require(&[Need::Build])?;
    command::run(&mut command::cargo(["build", "--release", "-p", "dkimwatch"]))?;
    let product = workspace::target().join("release/dkimwatch");
    if !is_root() {
        bail!("watching needs root: sudo {} watch --format pretty", product.display());
    }
    if arguments.demonstration || !has_keys(&product) {
        return demonstrate(&product, arguments);
    }
    let mut watch = Command::new(product);
    watch.args(["watch", "--format", "pretty"]).args(&arguments.arguments);
    let status = watch.status().context("cannot start dkimwatch")?;
    Ok(ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX)))
}

/// Whether `dkimwatch keys` finds any.
fn has_keys(product: &Path) -> bool {
    // Its status tells of findings, so the answer is read whatever it is.
    let output = Command::new(product).args(["keys", "--json"]).stdin(Stdio::null()).output();
    output.is_ok_and(|output| names_keys(&output.stdout))
}

/// `{"keys": [{…}, …], …}`, or an object a line.
fn names_keys(json: &[u8]) -> bool {
    let lists_some = |value: &Value| value.as_array().is_some_and(|list| !list.is_empty());
    serde_json::Deserializer::from_slice(json)
        .into_iter::<Value>()
        .map_while(Result::ok)
        .any(|value| lists_some(&value) || value.get("keys").is_some_and(lists_some) || value.get("path").is_some())
}

/// A key, a signer that is declared, and a stranger: both read it once a second, and the watch shows what it makes of them.
fn demonstrate(product: &Path, arguments: &Arguments) -> Result<ExitCode> {
    setup::require(&[Need::Demonstration])?;
    let stage = Stage::new()?;
    println!(
        "This is a demonstration: {} is a key, {} is its signer, and another program reads it as well.\n",
        stage.key.display(),
        stage.signer.display()
    );
    let mut watch = Command::new(product);
    watch.arg("watch").arg("--config").arg(&stage.config);
    watch.args(["--format", "pretty", "--for", &format!("{}s", arguments.seconds)]).args(&arguments.arguments);
    let mut watch_child = Reaped(watch.stdin(Stdio::null()).spawn().context("cannot start dkimwatch")?);
    let last = Instant::now() + Duration::from_secs(arguments.seconds + 60);
    loop {
        // What the rounds do before the watch has started goes unseen, and the next round comes.
        if let Some(status) = command::wait_until(&mut watch_child.0, Instant::now() + ROUND)? {
            return match status.code() {
                Some(FINDINGS) => Ok(ExitCode::SUCCESS),
                Some(0) => bail!("`{}` ended without having seen the stranger", command::line(&watch)),
                _ => bail!("`{}` failed: {status}", command::line(&watch)),
            };
        }
        if Instant::now() > last {
            bail!("`{}` has not ended a minute after its time", command::line(&watch));
        }
        capture(Command::new(&stage.signer).arg(&stage.key))?;
        capture(Command::new(require("head")?).args(["-c", "1"]).arg(&stage.key))?;
    }
}

/// The demonstration's files; they go when it does.
struct Stage {
    _folder: tempfile::TempDir,
    key: PathBuf,
    signer: PathBuf,
    config: PathBuf,
}

impl Stage {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("dkimwatch-demonstration.").tempdir()?;
        let place = |name: &str| folder.path().join(name);
        let (keys, signer, config) = (place("keys"), place("signer"), place("dkimwatch.toml"));
        command::folder(&keys)?;
        let key = keys.join("demo.private");
        let mut openssl = Command::new(require("openssl")?);
        capture(openssl.args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"]).arg(&key))?;
        // A signer is known by its executable's inode, so a copy of `cat` is a program of its own.
        fs::copy(require("cat")?, &signer).context("cannot copy `cat`")?;
        fs::write(&config, configuration(&keys, &signer)).context("cannot write the demonstration's configuration")?;
        Ok(Self { _folder: folder, key, signer, config })
    }
}

fn configuration(keys: &Path, signer: &Path) -> String {
    format!(
        "[keys]\ndiscover = false\npaths = [{keys:?}]\n\n\
         [[signer]]\nname = \"demonstration\"\nexecutable = {signer:?}\nusers = [\"root\"]\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_recognised_in_the_answer() {
        assert!(names_keys(br#"{"keys":[{"path":"/a"}],"folders":[]}"#));
        assert!(names_keys(b"{\"path\":\"/a\"}\n{\"path\":\"/b\"}\n"));
        assert!(!names_keys(br#"{"keys":[],"folders":[],"notes":[]}"#));
        assert!(!names_keys(b"[]") && !names_keys(b"") && !names_keys(b"error: no"));
    }

    #[test]
    fn a_demonstration_in_which_nobody_was_seen_has_failed() {
        let arguments = Arguments { demonstration: true, seconds: 1, arguments: Vec::new() };
        // `true` ends as a watch without findings does, `false` as one with.
        let blind = demonstrate(Path::new("true"), &arguments).expect_err("the stranger was not seen");
        assert!(blind.to_string().contains("without having seen the stranger"), "{blind:#}");
        demonstrate(Path::new("false"), &arguments).expect("the stranger was seen");
    }

    #[test]
    fn the_demonstration_declares_its_signer() {
        let text = configuration(Path::new("/t/keys"), Path::new("/t/signer"));
        let table: toml::Table = text.parse().expect("it is TOML");
        assert_eq!(table["keys"]["paths"][0].as_str(), Some("/t/keys"));
        assert_eq!(table["signer"][0]["executable"].as_str(), Some("/t/signer"));
    }
}
