//! Readers that are not the signer: plain, fleeting, elsewhere, and disguised.

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Events};

use crate::{lab::Lab, root::Account};

/// Runs as told by its arguments; see `bin/stranger.rs`.
const STRANGER: &str = env!("CARGO_BIN_EXE_stranger");

/// A user that no package made: `nobody`, in a group that may read the key. (Without the group it would be refused.)
const NOBODY: u32 = 65534;

/// A process that has read a key, and what must be said of it.
#[derive(Clone, Debug)]
pub(crate) struct Stranger {
    /// For messages.
    what: &'static str,
    pub(crate) pid: u32,
    uid: u32,
    /// End of its executable's path, long enough to tell the mail root from the host.
    executable: String,
    /// From before it was started until it had been waited for: it lived at most so long.
    pub(crate) lived: Duration,
}

/// `cat` by a user that has no business with mail.
pub(crate) fn cat_by_another_user(lab: &Lab, key: &str) -> Result<Stranger> {
    let user = Account { uid: NOBODY, gid: lab.group };
    read("cat by another user", in_root(lab, user, "/usr/bin/cat", key), user.uid, inside(lab, "/usr/bin/cat"))
}

/// `cat` by root, whom no mode keeps out.
pub(crate) fn cat_by_root(lab: &Lab, key: &str) -> Result<Stranger> {
    read("cat by root", in_root(lab, Account::ROOT, "/usr/bin/cat", key), 0, inside(lab, "/usr/bin/cat"))
}

/// `cat` by another user, where the key lies at another path of another mount namespace.
pub(crate) fn cat_in_another_mount_namespace(lab: &Lab, key_name: &str) -> Result<Stranger> {
    let user = Account { uid: NOBODY, gid: lab.group };
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c"])
        .arg(r#"mount --bind "$1$2" "$1/mnt" && exec chroot --userspec="$3" "$1" /usr/bin/cat "/mnt/$4""#)
        .arg("sh")
        .arg(lab.root().path())
        .args([lab.keys, &user.spec(), key_name]);
    read("cat in another mount namespace", command, user.uid, inside(lab, "/usr/bin/cat"))
}

/// A reader that lives under a millisecond, or, on a machine that cannot run anything so fast just now, at most twice as
/// long as a process that does nothing.
///
/// Every attempt is one more stranger: a busy machine may hold one up, and none of them may be missed.
pub(crate) fn fleeting(lab: &Lab, key_name: &str) -> Result<Vec<Stranger>> {
    const ATTEMPTS: usize = 100;
    let fast = Duration::from_millis(1).max(2 * nothing()?);
    let mut strangers = Vec::new();
    while strangers.len() < ATTEMPTS {
        let mut command = Command::new(STRANGER);
        command.arg(lab.key_on_host(key_name));
        let stranger = read("a fleeting reader", command, 0, end_of(STRANGER))?;
        let done = stranger.lived < fast;
        strangers.push(stranger);
        if done {
            return Ok(strangers);
        }
    }
    let shortest = strangers.iter().map(|stranger| stranger.lived).min();
    anyhow::bail!("none of {ATTEMPTS} readers lived under {fast:?}; the shortest {shortest:?}")
}

/// How long a process lives here that does nothing: the shortest of several, started as the readers are.
fn nothing() -> Result<Duration> {
    const ATTEMPTS: usize = 10;
    let mut shortest = Duration::MAX;
    for _ in 0..ATTEMPTS {
        let begun = Instant::now();
        let status = Command::new("true").status().context("starting true")?;
        anyhow::ensure!(status.success(), "true: {status}");
        shortest = shortest.min(begun.elapsed());
    }
    Ok(shortest)
}

/// A copy of `cat` that bears the signer's file name, run by the signer's own user.
pub(crate) fn cat_named_as_the_signer(lab: &Lab, key: &str) -> Result<Stranger> {
    let name = file_name(lab.program);
    let copy = format!("/usr/local/bin/{name}");
    lab.root().give("/usr/local/bin", Account::ROOT, 0o755)?;
    fs::copy(lab.root().at("/usr/bin/cat"), lab.root().at(&copy)).context("copying cat")?;
    let command = in_root(lab, lab.signer, &copy, key);
    let stranger = read("a copy of cat named as the signer", command, lab.signer.uid, inside(lab, &copy));
    fs::remove_file(lab.root().at(&copy)).context("removing the copy of cat")?;
    stranger
}

/// A process of the signer's user that has given itself the signer's name (`PR_SET_NAME`).
pub(crate) fn renamed_as_the_signer(lab: &Lab, key: &str) -> Result<Stranger> {
    disguised("a process renamed as the signer", lab, &["--name", file_name(lab.program)], key)
}

/// A process that was root's and became the signer's user.
pub(crate) fn turned_into_the_signers_user(lab: &Lab, key: &str) -> Result<Stranger> {
    disguised("a process that called setuid to the signer's user", lab, &[], key)
}

/// An administrator's tool that ships with the signer, run by root.
pub(crate) fn tool_by_root(lab: &Lab, program: &str, arguments: &[&str]) -> Result<Stranger> {
    let mut command = Command::new("chroot");
    command.arg(lab.root().path()).arg(program).args(arguments);
    // What the tool says of the key is not asked here: it finds no DNS.
    finish("the signer's tool by root", command, 0, inside(lab, program)).map(|(stranger, _)| stranger)
}

fn disguised(what: &'static str, lab: &Lab, disguise: &[&str], key: &str) -> Result<Stranger> {
    let mut command = Command::new(STRANGER);
    command
        .arg("--root")
        .arg(lab.root().path())
        .args(disguise)
        .args(["--gid", &lab.signer.gid.to_string(), "--uid", &lab.signer.uid.to_string()])
        .arg(key);
    read(what, command, lab.signer.uid, end_of(STRANGER))
}

/// chroot(1) becomes the user and then the program: the pid stays, and the checkout's own folders need not let the user in.
fn in_root(lab: &Lab, user: Account, program: &str, key: &str) -> Command {
    let mut command = Command::new("chroot");
    command.arg(format!("--userspec={}", user.spec())).arg(lab.root().path()).args([program, key]);
    command
}

/// The kernel's path starts at the mount, which need not be the host's root folder: the folder and the name must do.
fn end_of(path: &str) -> String {
    path.rmatch_indices('/').nth(1).map_or(path, |(at, _)| path.split_at(at).1).to_owned()
}

/// The same for a program in the mail root.
fn inside(lab: &Lab, program: &str) -> String {
    let root = lab.root().path().file_name().and_then(OsStr::to_str).unwrap_or_default();
    format!("/mail-roots/{root}{program}")
}

fn file_name(path: &str) -> &str {
    Path::new(path).file_name().and_then(OsStr::to_str).unwrap_or(path)
}

fn read(what: &'static str, command: Command, uid: u32, executable: String) -> Result<Stranger> {
    let (stranger, succeeded) = finish(what, command, uid, executable)?;
    ensure!(succeeded, "{what}: could not read the key");
    Ok(stranger)
}

fn finish(what: &'static str, mut command: Command, uid: u32, executable: String) -> Result<(Stranger, bool)> {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let before = Instant::now();
    let mut child = command.spawn().with_context(|| format!("starting {what}"))?;
    let status = child.wait()?;
    let stranger = Stranger { what, pid: child.id(), uid, executable, lived: before.elapsed() };
    Ok((stranger, status.success()))
}

impl Stranger {
    /// Fails unless there is exactly one event about this process: an alert, with the right process, user, executable and parent.
    pub(crate) fn ensure_one_alert(&self, events: &Events) -> Result<()> {
        let all = events.by(self.pid);
        let event = all.one(self.what)?;
        let uid = Some(u64::from(self.uid));
        let executable = event.text("process.executable").unwrap_or_default();
        ensure!(event.is_alert(), "{}: not an alert\n  {event}", self.what);
        ensure!(event.action() == "key-opened", "{}: {}\n  {event}", self.what, event.action());
        ensure!(event.verdict() == "unexpected", "{}: {}\n  {event}", self.what, event.verdict());
        ensure!(event.number("user.id") == uid, "{}: not by user {}\n  {event}", self.what, self.uid);
        ensure!(event.number("process.real_user.id") == uid, "{}: real user not {}\n  {event}", self.what, self.uid);
        ensure!(executable.ends_with(&self.executable), "{}: not {}\n  {event}", self.what, self.executable);
        let parent = event.number("process.parent.pid");
        ensure!(parent == Some(u64::from(std::process::id())), "{}: not this test's child\n  {event}", self.what);
        Ok(())
    }
}

/// Fails unless every stranger is one alert, and there is no other alert.
pub(crate) fn ensure_one_alert_each<'a>(
    events: &Events,
    strangers: impl IntoIterator<Item = &'a Stranger>,
) -> Result<()> {
    let mut count = 0;
    for stranger in strangers {
        stranger.ensure_one_alert(events)?;
        count += 1;
    }
    let alerts = events.alerts();
    ensure!(alerts.len() == count, "{} alerts instead of {count}:\n{alerts}", alerts.len());
    Ok(())
}

/// Opens by a signer, judged as such: the right user and executable.
pub(crate) fn is_expected_open(lab: &Lab, uid: u32, key_name: &str) -> impl Fn(&Event) -> bool {
    let (program, key) = (inside(lab, lab.program), lab.key_on_host(key_name));
    move |event| {
        event.action() == "key-opened"
            && event.verdict() == "expected"
            && event.text("event.kind") == Some("event")
            && event.text("dkimwatch.key.path") == key.to_str()
            && event.number("user.id") == Some(uid.into())
            && event.number("process.real_user.id") == Some(uid.into())
            && event.text("process.executable").is_some_and(|executable| executable.ends_with(&program))
    }
}
