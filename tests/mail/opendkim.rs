//! A mail host whose mail OpenDKIM signs, for Postfix.

use std::time::Duration;

use anyhow::Result;

use crate::{
    lab::{DOMAIN, Lab},
    postfix,
    root::{Account, MailRoot, Stack},
};

/// Where its keys are, in the mail root.
pub(crate) const KEYS: &str = "/etc/dkimkeys";

/// The daemon, in the mail root.
pub(crate) const PROGRAM: &str = "/usr/sbin/opendkim";

const PATIENCE: Duration = Duration::from_secs(30);

/// How it is told its keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Told<'a> {
    /// `KeyTable`: these selectors sign each message; the key is opened for each signature.
    ByTable(&'a [&'a str]),
    /// `KeyFile`: this selector; the key is opened once at the start, as root.
    ByFile(&'a str),
}

/// Makes the keys, and starts everything but the signer.
pub(crate) fn boot(told: Told<'_>) -> Result<Lab> {
    let root = MailRoot::of(Stack::OpenDkim)?;
    let signer = root.account("opendkim")?;
    root.empty_folder(KEYS, Account { uid: 0, ..signer }, 0o750)?;
    configure(&root, told)?;
    let lab = Lab::of(root, signer, PROGRAM, KEYS)?;
    match told {
        Told::ByTable(selectors) => selectors.iter().try_for_each(|selector| make_key(&lab, KEYS, selector))?,
        Told::ByFile(selector) => make_key(&lab, KEYS, selector)?,
    }
    Ok(lab)
}

/// Makes a 2048-bit key `SELECTOR.private` by OpenDKIM's own tool, readable by the signer's group.
pub(crate) fn make_key(lab: &Lab, folder: &str, selector: &str) -> Result<()> {
    lab.host.run("opendkim-genkey", &["-D", folder, "-d", DOMAIN, "-s", selector, "-b", "2048"])?;
    lab.host.root().give(&format!("{folder}/{selector}.private"), Account { uid: 0, gid: lab.group }, 0o640)
}

/// Writes its configuration.
pub(crate) fn configure(root: &MailRoot, told: Told<'_>) -> Result<()> {
    let keys = match told {
        Told::ByFile(selector) => format!("Domain {DOMAIN}\nSelector {selector}\nKeyFile {KEYS}/{selector}.private\n"),
        Told::ByTable(selectors) => {
            let rows =
                |row: &dyn Fn(&str) -> String| selectors.iter().map(|selector| row(selector)).collect::<String>();
            root.write(
                "/etc/opendkim/key.table",
                &rows(&|selector| format!("{selector} {DOMAIN}:{selector}:{KEYS}/{selector}.private\n")),
            )?;
            root.write("/etc/opendkim/signing.table", &rows(&|selector| format!("*@{DOMAIN} {selector}\n")))?;
            "MultipleSignatures yes\nKeyTable /etc/opendkim/key.table\nSigningTable refile:/etc/opendkim/signing.table\n"
                .to_owned()
        }
    };
    root.write(
        "/etc/opendkim.conf",
        &format!(
            "Syslog yes\nSyslogSuccess yes\nLogWhy yes\nMode s\nCanonicalization relaxed/simple\nUserID opendkim\n\
             Socket inet:8891@127.0.0.1\nPidFile /run/opendkim.pid\nNameservers 127.0.0.1\n{keys}"
        ),
    )
}

/// Starts the signer, then Postfix. Returns when both take mail.
pub(crate) fn start(lab: &Lab) -> Result<()> {
    start_signer(lab)?;
    postfix::start(&lab.host, "inet:127.0.0.1:8891")
}

/// Starts the signer alone.
pub(crate) fn start_signer(lab: &Lab) -> Result<()> {
    let seen = lab.host.syslog.len();
    lab.host.run(PROGRAM, &["-x", "/etc/opendkim.conf"])?;
    // It says so after it has bound its socket.
    lab.host.syslog.wait_for("OpenDKIM Filter v", seen, PATIENCE).map(drop)
}

/// Ends it.
pub(crate) fn stop(lab: &Lab) -> Result<()> {
    lab.host.end("/run/opendkim.pid")
}

/// Makes it read its configuration again: it does so when the next message comes, if its thread for signals has noted the signal by then,
/// which this waits for: that it was taken, and that nobody runs any more.
pub(crate) fn reload(lab: &Lab) -> Result<()> {
    const RELOAD: &str = r"pid=$(cat /run/opendkim.pid) && kill -USR1 $pid || exit
while grep -q '^ShdPnd:.*[2367abef]..$' /proc/$pid/status || grep -q ') [RD] ' /proc/$pid/task/*/stat; do sleep 0.02; done";
    lab.host.run("sh", &["-c", RELOAD]).map(drop)
}
