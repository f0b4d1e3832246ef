//! A mail host whose mail dkimpy-milter signs, for Postfix. It is a script: its executable is Python.

use std::{fs, os::unix::fs::symlink, path::Path, time::Duration};

use anyhow::{Context as _, Result};

use crate::{
    host::{MailHost, Mounts},
    lab::{DOMAIN, Lab},
    postfix,
    root::{Account, MailRoot, Stack},
    smtp::Sink,
};

/// Where its keys are, in the mail root.
pub(crate) const KEYS: &str = "/etc/dkimpy-milter/keys";

/// What it is executed as, in the mail root.
const SCRIPT: &str = "/usr/bin/dkimpy-milter";

/// The selector that signs.
pub(crate) const SELECTOR: &str = "psel";

/// The key's name in the folder.
pub(crate) const KEY: &str = "psel.private";

const PID_FILE: &str = "/run/dkimpy-milter/dkimpy-milter.pid";
const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the key, and starts everything but the signer.
pub(crate) fn boot() -> Result<Lab> {
    let root = MailRoot::of(Stack::Dkimpy)?;
    let signer = root.account("dkimpy-milter")?;
    root.empty_folder(KEYS, Account { uid: 0, ..signer }, 0o750)?;
    root.empty_folder("/run/dkimpy-milter", signer, 0o755)?;
    root.write(
        "/etc/dkimpy-milter/dkimpy-milter.conf",
        &format!(
            "Syslog yes\nUMask 007\nMode s\nDomain {DOMAIN}\nSelector {SELECTOR}\nKeyFile {KEYS}/{KEY}\n\
             Canonicalization relaxed/simple\nSocket inet:8892@127.0.0.1\nPidFile {PID_FILE}\nUserID dkimpy-milter\n"
        ),
    )?;
    let script = root.at(SCRIPT);
    also_by_the_machines_path(&root)?;
    let program = interpreter(&root)?;
    let host = MailHost::boot(root, Mounts::Machine)?;
    let sink = Sink::in_host(&host)?;
    let lab = Lab { sink, host, signer, program, script: Some(script), keys: KEYS, group: signer.gid };
    make_key(&lab, &lab.key(KEY))?;
    Ok(lab)
}

/// Lets the machine's path of the root mean the root from inside as well, so that the script is executed by the path by which
/// the watch knows it.
fn also_by_the_machines_path(root: &MailRoot) -> Result<()> {
    let link = root.path().join(root.path().strip_prefix("/").context("the root's path")?);
    if link.symlink_metadata().is_ok() {
        return Ok(());
    }
    let folder = link.parent().context("a folder above the root")?;
    fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
    symlink("/", &link).with_context(|| format!("linking {}", link.display()))
}

/// What the script's first line leads to, in the root. One of the names that Debian's Python has had.
fn interpreter(root: &MailRoot) -> Result<&'static str> {
    const NAMES: [&str; 4] =
        ["/usr/bin/python3.11", "/usr/bin/python3.12", "/usr/bin/python3.13", "/usr/bin/python3.14"];
    let named = fs::read_link(root.at("/usr/bin/python3")).context("the root's python3")?;
    let named = Path::new("/usr/bin").join(named);
    NAMES.into_iter().find(|name| Path::new(name) == named).with_context(|| format!("{} is new", named.display()))
}

/// Makes a 2048-bit key, readable by the signer's group.
pub(crate) fn make_key(lab: &Lab, path: &str) -> Result<()> {
    lab.host.run("openssl", &["genrsa", "-traditional", "-out", path, "2048"])?;
    lab.host.root().give(path, Account { uid: 0, gid: lab.group }, 0o640)
}

/// Starts the signer, then Postfix. Returns when both take mail.
pub(crate) fn start(lab: &Lab) -> Result<()> {
    start_signer(lab)?;
    postfix::start(&lab.host, "inet:127.0.0.1:8892")
}

/// Starts the signer alone.
pub(crate) fn start_signer(lab: &Lab) -> Result<()> {
    let script = lab.script.as_ref().and_then(|script| script.to_str()).context("the script's path")?;
    let start = format!("exec setsid {script} /etc/dkimpy-milter/dkimpy-milter.conf > /dev/null 2>&1 < /dev/null &");
    lab.host.run("sh", &["-c", &start])?;
    lab.host.wait_for_port(8892, PATIENCE)
}

/// Ends it.
pub(crate) fn stop(lab: &Lab) -> Result<()> {
    lab.host.end(PID_FILE)?;
    // It leaves its pid behind, and refuses to start over one.
    lab.host.run("rm", &["-f", PID_FILE]).map(drop)
}
