//! A mail host whose mail Rspamd signs, as a milter for Postfix.

use std::time::Duration;

use anyhow::Result;

use crate::{
    lab::{DOMAIN, Lab},
    postfix,
    root::{Account, MailRoot, Stack},
};

/// Where its keys are, in the mail root.
pub(crate) const KEYS: &str = "/var/lib/rspamd/dkim";

/// The daemon, in the mail root.
pub(crate) const PROGRAM: &str = "/usr/bin/rspamd";

/// The selector that signs.
pub(crate) const SELECTOR: &str = "rsel";

/// The key's name in the folder: the shape of Rspamd's own default path, `$domain.$selector.key`.
pub(crate) const KEY: &str = "example.org.rsel.key";

const PATIENCE: Duration = Duration::from_secs(60);

/// Makes the key, and starts everything but the signer.
pub(crate) fn boot() -> Result<Lab> {
    let root = MailRoot::of(Stack::Rspamd)?;
    let signer = root.account("_rspamd")?;
    root.empty_folder(KEYS, Account { uid: 0, ..signer }, 0o750)?;
    root.write(
        "/etc/rspamd/local.d/dkim_signing.conf",
        &format!("path = \"{KEYS}/$domain.$selector.key\";\nselector = \"{SELECTOR}\";\n"),
    )?;
    root.write("/etc/rspamd/local.d/logging.inc", "type = \"syslog\";\nfacility = \"LOG_MAIL\";\n")?;
    // One worker, so that the number of opens is known: each has a cache of its own.
    root.write("/etc/rspamd/local.d/worker-normal.inc", "count = 1;\n")?;
    // Signing is all that is asked of it; the other modules would ask a network that is not there.
    root.write(
        "/etc/rspamd/local.d/options.inc",
        "filters = \"dkim\";\ndns { nameserver = [\"127.0.0.1\"]; timeout = 0.1s; retransmits = 1; }\n",
    )?;
    for module in ["rbl", "spf", "dmarc", "arc", "surbl", "mx_check", "asn", "fuzzy_check", "phishing", "bayes"] {
        root.write(&format!("/etc/rspamd/local.d/{module}.conf"), "enabled = false;\n")?;
    }
    let lab = Lab::of(root, signer, PROGRAM, KEYS)?;
    make_key(&lab, &lab.key(KEY))?;
    Ok(lab)
}

/// Makes a 2048-bit key by Rspamd's own tool, readable by the signer's group.
pub(crate) fn make_key(lab: &Lab, path: &str) -> Result<()> {
    lab.host.run("rspamadm", &["dkim_keygen", "-s", SELECTOR, "-d", DOMAIN, "-b", "2048", "-k", path])?;
    lab.host.root().give(path, Account { uid: 0, gid: lab.group }, 0o640)
}

/// Starts the signer, then Postfix. Returns when both take mail.
pub(crate) fn start(lab: &Lab) -> Result<()> {
    start_signer(lab)?;
    postfix::start(&lab.host, "inet:127.0.0.1:11332")
}

/// Starts the signer alone.
pub(crate) fn start_signer(lab: &Lab) -> Result<()> {
    let seen = lab.host.syslog.len();
    lab.host.run("mkdir", &["-p", "-m", "1777", "/run/rspamd"])?;
    lab.host.run(PROGRAM, &["-u", "_rspamd", "-g", "_rspamd"])?;
    // The proxy speaks the milter protocol; its socket is open before any worker starts.
    lab.host.syslog.wait_for("rspamd_proxy", seen, PATIENCE).map(drop)
}

/// Ends it.
pub(crate) fn stop(lab: &Lab) -> Result<()> {
    lab.host.end("/run/rspamd/rspamd.pid")
}

/// Makes it read its configuration again, by workers of a new generation. Returns when the old one takes no more mail.
pub(crate) fn reload(lab: &Lab) -> Result<()> {
    const RELOAD: &str = r#"
read -r main < /run/rspamd/rspamd.pid
for stat in /proc/[0-9]*/stat; do
    read -r pid name state parent rest < "$stat" && [ "$parent" = "$main" ] && old="$old $pid"
done
kill -HUP "$main"
for pid in $old; do
    while [ -e "/proc/$pid" ]; do sleep 0.1; done
done"#;
    lab.host.run("timeout", &["60", "sh", "-c", RELOAD])?;
    // The proxy is there before the worker that it hands messages on to.
    lab.host.wait_for_port(11332, PATIENCE)?;
    lab.host.wait_for_port(11333, PATIENCE)
}
