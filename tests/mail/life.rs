//! The life of a signer under one watch: start, reload, a thousand messages, a key rotation, a log rotation, its package
//! installed again, a restart. Nothing of it is an alert.

use std::fs;

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::Event;

use crate::{
    dkimpy, ensure_count, ensure_nothing_lost, exim,
    lab::{self, Lab, ensure_signed},
    opendkim::{self, Told},
    root::{Account, KEPT},
    rspamd, strangers,
    witness::Witness,
};

/// What all this is about: so many messages are signed.
const MESSAGES: usize = 1000;

/// A tool of the administrator's that puts new keys in place, declared to the watch.
const ROTATION: &str = "/usr/local/sbin/rotate-keys";

/// How a signer is told what its life brings.
struct Signer {
    /// The selector, whose key is rotated.
    selector: &'static str,
    /// The key's name in the folder.
    key: &'static str,
    /// Starts it and its mail server.
    start: fn(&Lab) -> Result<()>,
    /// Starts it alone.
    start_signer: fn(&Lab) -> Result<()>,
    /// Ends it.
    stop: fn(&Lab) -> Result<()>,
    /// Makes it read its configuration again; as a shell command for logrotate(8), too.
    reload: fn(&Lab) -> Result<()>,
    /// What the administrator does when the logs were rotated.
    after_rotation: &'static str,
    /// Makes a key at a path.
    make_key: fn(&Lab, &str) -> Result<()>,
    /// Whether it reads a new key by itself.
    notices_a_new_key: bool,
    /// How many times it has opened its key at least, once its life is over.
    opens: usize,
}

#[test]
fn the_life_of_opendkim_is_no_alert() -> Result<()> {
    let lab = opendkim::boot(Told::ByTable(&["sel1"]))?;
    live_as_opendkim(&lab, true, MESSAGES)
}

#[test]
fn the_life_of_opendkim_with_one_key_file_is_no_alert() -> Result<()> {
    let lab = opendkim::boot(Told::ByFile("sel1"))?;
    // At each start and after each reload.
    live_as_opendkim(&lab, false, 4)
}

fn live_as_opendkim(lab: &Lab, notices_a_new_key: bool, opens: usize) -> Result<()> {
    // Debian's opendkim gives the folder to its user whenever it is installed.
    lab.root().give(opendkim::KEYS, lab.signer, 0o700)?;
    let signer = Signer {
        selector: "sel1",
        key: "sel1.private",
        start: opendkim::start,
        start_signer: opendkim::start_signer,
        stop: opendkim::stop,
        reload: opendkim::reload,
        after_rotation: "kill -USR1 $(cat /run/opendkim.pid)",
        make_key: |lab, path| {
            opendkim::make_key(lab, "/root", "sel1")?;
            lab.host.run("mv", &["/root/sel1.private", path]).map(drop)
        },
        notices_a_new_key,
        opens,
    };
    live(lab, &signer)
}

#[test]
fn the_life_of_rspamd_is_no_alert() -> Result<()> {
    let lab = rspamd::boot()?;
    let signer = Signer {
        selector: rspamd::SELECTOR,
        key: rspamd::KEY,
        start: rspamd::start,
        start_signer: rspamd::start_signer,
        stop: rspamd::stop,
        reload: rspamd::reload,
        after_rotation: "kill -USR1 $(cat /run/rspamd/rspamd.pid)",
        make_key: rspamd::make_key,
        notices_a_new_key: true,
        // The start, the new key, the restart; the workers of a reload may come when there is nothing left to sign. (The
        // witness is more exact.)
        opens: 3,
    };
    live(&lab, &signer)
}

#[test]
fn the_life_of_exim_is_no_alert() -> Result<()> {
    let lab = exim::boot()?;
    let signer = Signer {
        selector: exim::SELECTOR,
        key: exim::KEY,
        start: exim::start,
        start_signer: exim::start,
        stop: exim::stop,
        reload: exim::reload,
        after_rotation: ":",
        make_key: exim::make_key,
        notices_a_new_key: true,
        opens: MESSAGES,
    };
    live(&lab, &signer)
}

#[test]
fn the_life_of_dkimpy_milter_is_no_alert() -> Result<()> {
    let restart = |lab: &Lab| {
        dkimpy::stop(lab)?;
        dkimpy::start_signer(lab)
    };
    let lab = dkimpy::boot()?;
    let signer = Signer {
        selector: dkimpy::SELECTOR,
        key: dkimpy::KEY,
        start: dkimpy::start,
        start_signer: dkimpy::start_signer,
        stop: dkimpy::stop,
        // It knows no reload.
        reload: restart,
        after_rotation: ":",
        make_key: dkimpy::make_key,
        notices_a_new_key: false,
        opens: 4,
    };
    live(&lab, &signer)
}

fn live(lab: &Lab, signer: &Signer) -> Result<()> {
    let rotation = lab.root().at(ROTATION);
    fs::copy(lab.root().at("/usr/bin/mv"), &rotation).context("copying mv")?;
    // Where the watch looks for nothing.
    (signer.make_key)(lab, "/root/next.key")?;
    lab.root().give("/root/next.key", Account { uid: 0, gid: lab.group }, 0o640)?;
    let watch = lab.watch_with(&format!(
        "[[maintenance]]\nname = \"rotation\"\nexecutable = {}\nusers = [\"0\"]\n",
        lab::toml(&rotation)?
    ))?;
    let witness = Witness::of(&lab.root().at(lab.keys))?;
    let by_signer = |messages: &[_]| ensure_signed(messages, &[signer.selector]);

    (signer.start)(lab)?;
    by_signer(&lab.send(0..20)?)?;
    (signer.reload)(lab)?;
    by_signer(&lab.send(20..MESSAGES - 80)?)?;
    lab.host.run(ROTATION, &["/root/next.key", &lab.key(signer.key)])?;
    if !signer.notices_a_new_key {
        (signer.reload)(lab)?;
    }
    by_signer(&lab.send(MESSAGES - 80..MESSAGES - 60)?)?;
    rotate_logs(lab, signer.after_rotation)?;
    by_signer(&lab.send(MESSAGES - 60..MESSAGES - 40)?)?;
    // While it runs, and goes on running what it was.
    lab.host.run("sh", &["-c", "exec dpkg --install \"$0\"/*.deb", KEPT])?;
    by_signer(&lab.send(MESSAGES - 40..MESSAGES - 20)?)?;
    (signer.stop)(lab)?;
    (signer.start_signer)(lab)?;
    by_signer(&lab.send(MESSAGES - 20..MESSAGES)?)?;

    let silent = watch.events_where(Event::is_alert);
    ensure!(silent.is_empty(), "alerts:\n{silent}");
    // It was awake all the while.
    let stranger = strangers::cat_by_root(lab, &lab.key(signer.key))?;
    let opens = witness.end()?;
    let watched = watch.stop()?;
    ensure_nothing_lost(&watched)?;
    let by_stranger = (stranger.pid, signer.key.to_owned());
    ensure!(opens.contains_key(&by_stranger), "the witness has not seen the stranger: {opens:?}");
    Witness::ensure_told(&opens, signer.key, &watched.events)?;
    strangers::ensure_one_alert_each(&watched.events, [&stranger])?;
    let expected = watched.events.only(|event| event.is_access() && event.verdict() == "expected");
    ensure!(expected.len() >= signer.opens, "{} opens by the signer, fewer than {}", expected.len(), signer.opens);
    let others = |event: &Event| {
        event.is_access() && !matches!(event.verdict(), "expected" | "maintenance") && !event.is_alert()
    };
    ensure_count(&watched, "accesses by others that are no alert", 0, others)
}

/// Rotates a log as logrotate(8) does, with the command that the administrator has it run afterwards.
fn rotate_logs(lab: &Lab, after: &str) -> Result<()> {
    for old in fs::read_dir(lab.root().at("/var/log"))?.flatten() {
        if old.file_name().to_string_lossy().starts_with("mail.log") {
            fs::remove_file(old.path()).context("a log of an earlier run")?;
        }
    }
    lab.root().write("/var/log/mail.log", "a line\n")?;
    lab.root().write(
        "/etc/logrotate.d/lab",
        &format!(
            "/var/log/mail.log {{\n  rotate 4\n  create 640 root adm\n  compress\n  postrotate\n    {after}\n  endscript\n}}\n"
        ),
    )?;
    lab.host.run("logrotate", &["--force", "/etc/logrotate.d/lab"])?;
    ensure!(lab.root().at("/var/log/mail.log.1.gz").exists(), "the log was not rotated");
    Ok(())
}
