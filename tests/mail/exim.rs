//! A mail host whose Exim signs what it delivers.

use std::time::Duration;

use anyhow::Result;

use crate::{
    lab::{DOMAIN, Lab},
    root::{Account, MailRoot, Stack},
    smtp::{SINK_DOMAIN, SINK_PORT},
};

/// Where its keys are, in the mail root.
pub(crate) const KEYS: &str = "/etc/exim4/dkim";

/// The daemon, in the mail root.
pub(crate) const PROGRAM: &str = "/usr/sbin/exim4";

/// The selector that signs.
pub(crate) const SELECTOR: &str = "esel";

/// The key's name in the folder.
pub(crate) const KEY: &str = "example.org.esel.key";

const PATIENCE: Duration = Duration::from_secs(30);

/// Makes the key, and starts everything but the daemon.
pub(crate) fn boot() -> Result<Lab> {
    let root = MailRoot::of(Stack::Exim)?;
    let signer = root.account("Debian-exim")?;
    root.empty_folder(KEYS, Account { uid: 0, ..signer }, 0o750)?;
    root.write(
        "/etc/exim4/update-exim4.conf.conf",
        "dc_eximconfig_configtype='internet'\ndc_other_hostnames=''\ndc_local_interfaces='127.0.0.1'\ndc_readhost=''\n\
         dc_relay_domains=''\ndc_minimaldns='true'\ndc_relay_nets='127.0.0.0/8'\ndc_smarthost=''\nCFILEMODE='644'\n\
         dc_use_split_config='true'\ndc_hide_mailname=''\ndc_mailname_in_oh='true'\ndc_localdelivery='mail_spool'\n",
    )?;
    // Debian's macros for the transport remote_smtp. Fixed paths: Exim refuses to expand what the message says (taint).
    root.write(
        "/etc/exim4/conf.d/main/00_lab",
        &format!(
            "DKIM_DOMAIN = {DOMAIN}\nDKIM_SELECTOR = {SELECTOR}\nDKIM_PRIVATE_KEY = {KEYS}/{KEY}\nDKIM_STRICT = true\n\
             DKIM_CANON = relaxed\nDISABLE_DKIM_VERIFY = true\n\
             smtp_accept_queue_per_connection = 0\nlog_file_path = syslog\nsyslog_timestamp = false\n"
        ),
    )?;
    // The sink is on this very host, which Exim takes for a loop unless told that it is not (`self`).
    root.write(
        "/etc/exim4/conf.d/router/149_lab",
        &format!(
            "to_the_sink:\n  driver = manualroute\n  domains = {SINK_DOMAIN}\n  route_list = * 127.0.0.1::{SINK_PORT}\n  \
             self = send\n  transport = remote_smtp\n"
        ),
    )?;
    // Nothing of an interrupted run.
    for left in ["input", "msglog", "db"] {
        root.empty_folder(&format!("/var/spool/exim4/{left}"), signer, 0o750)?;
    }
    let lab = Lab::of(root, signer, PROGRAM, KEYS)?;
    make_key(&lab, &lab.key(KEY))?;
    Ok(lab)
}

/// Makes a 2048-bit key, readable by the signer's group.
pub(crate) fn make_key(lab: &Lab, path: &str) -> Result<()> {
    lab.host.run("openssl", &["genrsa", "-out", path, "2048"])?;
    lab.host.root().give(path, Account { uid: 0, gid: lab.group }, 0o640)
}

/// Starts it. Returns when it takes mail.
pub(crate) fn start(lab: &Lab) -> Result<()> {
    lab.host.run("update-exim4.conf", &[])?;
    lab.host.run("install", &["-d", "-o", "Debian-exim", "-g", "Debian-exim", "/run/exim4"])?;
    let seen = lab.host.syslog.len();
    lab.host.run(PROGRAM, &["-bd", "-q30m"])?;
    lab.host.syslog.wait_for("daemon started", seen, PATIENCE).map(drop)
}

/// Ends it.
pub(crate) fn stop(lab: &Lab) -> Result<()> {
    lab.host.end("/run/exim4/exim.pid")
}

/// Makes it execute itself anew, which is how it reads its configuration again.
pub(crate) fn reload(lab: &Lab) -> Result<()> {
    let seen = lab.host.syslog.len();
    lab.host.run("sh", &["-c", "kill -HUP $(cat /run/exim4/exim.pid)"])?;
    lab.host.syslog.wait_for("daemon started", seen, PATIENCE).map(drop)
}

/// Submits a message by Exim's own command line, as a user that has nothing to do with mail.
pub(crate) fn submit_as_nobody(lab: &Lab, number: usize) -> Result<()> {
    let message = format!("From: alice@{DOMAIN}\nTo: bob@{SINK_DOMAIN}\nSubject: message {number}\n\nBy hand.\n");
    lab.root().write("/tmp/message", &message)?;
    let script = format!(
        "exec setpriv --reuid 65534 --regid 65534 --clear-groups {PROGRAM} -i bob@{SINK_DOMAIN} < /tmp/message"
    );
    lab.host.run("sh", &["-c", &script]).map(drop)
}
