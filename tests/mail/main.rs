//! Real mail servers sign real messages while dkimwatch watches their keys.
//!
//! Needs root, and the packages that `cargo xtask setup` installs. The first run installs each mail server into a Debian
//! root of its own below `target/mail-roots/` (about a minute for all three); later runs use it again.

mod archive;
mod command;
mod contained;
mod dkimpy;
mod exim;
mod host;
mod lab;
mod life;
mod opendkim;
mod postfix;
mod root;
mod rspamd;
mod smtp;
mod strangers;
mod syslog;
mod witness;

use std::{os::unix::fs::MetadataExt as _, time::Duration};

use anyhow::{Context as _, Result, anyhow, ensure};
use dkimwatch_tests::support::{Event, Watched};

use lab::ensure_signed;
use opendkim::Told;
use strangers::{Stranger, ensure_one_alert_each, is_expected_open};

/// How long an event may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_thousand_signatures_are_expected_while_each_stranger_gives_one_alert() -> Result<()> {
    const MESSAGES: usize = 1000;
    let lab = opendkim::boot(Told::ByTable(&["sel1"]))?;
    opendkim::start(&lab)?;
    let watch = lab.watch()?;
    let signed = is_expected_open(&lab, lab.signer.uid, "sel1.private");

    let (messages, strangers) = std::thread::scope(|scope| -> Result<_> {
        let mail = scope.spawn(|| lab.send(0..MESSAGES));
        // In the midst of it.
        watch.wait_for_count("a tenth of the signatures", MESSAGES / 10, PATIENCE, &signed)?;
        let key = lab.key("sel1.private");
        let mut strangers = strangers::fleeting(&lab, "sel1.private")?;
        strangers.push(strangers::cat_by_another_user(&lab, &key)?);
        strangers.push(strangers::cat_in_another_mount_namespace(&lab, "sel1.private")?);
        ensure!(!mail.is_finished(), "the mail was done before the strangers were");
        Ok((mail.join().map_err(|_| anyhow!("the sender panicked"))??, strangers))
    })?;

    ensure_signed(&messages, &["sel1"])?;
    let watched = watch.stop()?;
    ensure_count(&watched, "signatures", MESSAGES, signed)?;
    ensure_nothing_lost(&watched)?;
    ensure_one_alert_each(&watched.events, &strangers)
}

#[test]
fn a_key_table_is_one_expected_open_for_each_signature_of_each_message() -> Result<()> {
    let lab = opendkim::boot(Told::ByTable(&["sel1", "sel2"]))?;
    opendkim::start(&lab)?;
    let watch = lab.watch()?;
    ensure_signed(&lab.send(0..20)?, &["sel1", "sel2"])?;
    let watched = watch.stop()?;
    for key in ["sel1.private", "sel2.private"] {
        ensure_count(&watched, key, 20, is_expected_open(&lab, lab.signer.uid, key))?;
    }
    ensure_only(&watched, 40, &[])
}

#[test]
fn a_key_file_is_opened_by_root_at_the_start_and_by_the_signers_user_after_a_reload() -> Result<()> {
    let lab = opendkim::boot(Told::ByFile("sel1"))?;
    let watch = lab.watch()?;
    opendkim::start(&lab)?;
    ensure_signed(&lab.send(0..3)?, &["sel1"])?;
    opendkim::reload(&lab)?;
    ensure_signed(&lab.send(3..4)?, &["sel1"])?;
    let watched = watch.stop()?;
    ensure_count(&watched, "opens by root", 1, is_expected_open(&lab, 0, "sel1.private"))?;
    ensure_count(&watched, "opens after the reload", 1, is_expected_open(&lab, lab.signer.uid, "sel1.private"))?;
    ensure_only(&watched, 2, &[])
}

#[test]
fn a_rotated_key_and_a_new_selector_are_seen_and_expected_from_the_signers_first_open() -> Result<()> {
    let lab = opendkim::boot(Told::ByTable(&["sel1"]))?;
    opendkim::start(&lab)?;
    let elsewhere = "/root";
    opendkim::make_key(&lab, elsewhere, "sel1")?;
    opendkim::make_key(&lab, elsewhere, "sel2")?;
    let watch = lab.watch()?;
    let by_signer = |key| is_expected_open(&lab, lab.signer.uid, key);
    ensure_signed(&lab.send(0..1)?, &["sel1"])?;

    // The same name, another inode.
    let old = std::fs::metadata(lab.key_on_host("sel1.private"))?.ino();
    lab.rotate("/root/sel1.private", "sel1.private")?;
    let new = std::fs::metadata(lab.key_on_host("sel1.private"))?.ino();
    ensure!(old != new, "the rename brought no new inode");
    ensure_signed(&lab.send(1..2)?, &["sel1"])?;

    // A name that was not there when the watch began.
    lab.rotate("/root/sel2.private", "sel2.private")?;
    opendkim::configure(lab.root(), Told::ByTable(&["sel1", "sel2"]))?;
    opendkim::reload(&lab)?;
    ensure_signed(&lab.send(2..3)?, &["sel1", "sel2"])?;

    let stranger = strangers::cat_by_another_user(&lab, &lab.key("sel2.private"))?;
    let watched = watch.stop()?;
    ensure_nothing_lost(&watched)?;
    let of_inode = |inode, event: &Event| event.number("file.inode") == Some(inode);
    ensure_count(&watched, "opens of the old key", 1, |event| {
        of_inode(old, event) && by_signer("sel1.private")(event)
    })?;
    ensure_count(&watched, "opens of the new key", 2, |event| {
        of_inode(new, event) && by_signer("sel1.private")(event)
    })?;
    ensure_count(&watched, "opens of the new selector", 1, by_signer("sel2.private"))?;
    stranger.ensure_one_alert(&watched.events)?;
    ensure_count(&watched, "opens", 5, |event| event.action() == "key-opened")
}

#[test]
fn a_disguise_does_not_make_a_signer() -> Result<()> {
    let lab = opendkim::boot(Told::ByTable(&["sel1"]))?;
    opendkim::start(&lab)?;
    let watch = lab.watch()?;
    let key = lab.key("sel1.private");
    let strangers = [
        strangers::cat_named_as_the_signer(&lab, &key)?,
        strangers::renamed_as_the_signer(&lab, &key)?,
        strangers::turned_into_the_signers_user(&lab, &key)?,
    ];
    ensure_signed(&lab.send(0..1)?, &["sel1"])?;
    ensure_only(&watch.stop()?, 1, &strangers)
}

#[test]
fn opendkim_testkey_run_by_root_is_not_the_signer() -> Result<()> {
    let lab = opendkim::boot(Told::ByTable(&["sel1"]))?;
    let watch = lab.watch()?;
    let key = lab.key("sel1.private");
    let arguments = ["-x", "/etc/opendkim.conf", "-d", lab::DOMAIN, "-s", "sel1", "-k", &key];
    let tool = strangers::tool_by_root(&lab, "/usr/sbin/opendkim-testkey", &arguments)?;
    ensure_only(&watch.stop()?, 0, &[tool])
}

#[test]
fn rspamd_maps_its_key_once_and_again_after_a_rotation() -> Result<()> {
    let lab = rspamd::boot()?;
    rspamd::start(&lab)?;
    rspamd::make_key(&lab, "/root/next.key")?;
    let watch = lab.watch()?;
    let by_signer = is_expected_open(&lab, lab.signer.uid, rspamd::KEY);
    ensure_signed(&lab.send(0..20)?, &[rspamd::SELECTOR])?;
    watch.wait_for("the first open", PATIENCE, &by_signer)?;
    lab.rotate("/root/next.key", rspamd::KEY)?;
    ensure_signed(&lab.send(20..40)?, &[rspamd::SELECTOR])?;
    let stranger = strangers::cat_by_another_user(&lab, &lab.key(rspamd::KEY))?;
    let watched = watch.stop()?;
    ensure_nothing_lost(&watched)?;
    ensure_count(&watched, "opens by Rspamd", 2, by_signer)?;
    stranger.ensure_one_alert(&watched.events)?;
    ensure_count(&watched, "opens", 3, |event| event.action() == "key-opened")
}

#[test]
fn exim_opens_its_key_for_each_delivery_whoever_submitted_the_message() -> Result<()> {
    let lab = exim::boot()?;
    exim::start(&lab)?;
    let watch = lab.watch()?;
    ensure_signed(&lab.send(0..20)?, &[exim::SELECTOR])?;
    // The delivering process descends from the submitter's, not from the daemon.
    exim::submit_as_nobody(&lab, 20)?;
    ensure_signed(&lab.sink.wait_for(&lab.host, 21)?, &[exim::SELECTOR])?;
    let stranger = strangers::cat_by_another_user(&lab, &lab.key(exim::KEY))?;
    let watched = watch.stop()?;
    ensure_count(&watched, "opens by Exim", 21, is_expected_open(&lab, lab.signer.uid, exim::KEY))?;
    ensure_only(&watched, 21, &[stranger])
}

/// Fails unless exactly so many events are what was asked for.
fn ensure_count(watched: &Watched, what: &str, count: usize, wanted: impl Fn(&Event) -> bool) -> Result<()> {
    let found = watched.events.only(wanted).len();
    ensure!(found == count, "{what}: {found} instead of {count}; all accesses:\n{}", watched.events.accesses());
    Ok(())
}

/// Fails unless there are exactly so many accesses by the signer, and one alert by each stranger, and nothing was lost.
fn ensure_only(watched: &Watched, expected: usize, strangers: &[Stranger]) -> Result<()> {
    ensure_nothing_lost(watched)?;
    ensure_one_alert_each(&watched.events, strangers)?;
    ensure_count(watched, "expected accesses", expected, |event| event.is_access() && event.verdict() == "expected")?;
    ensure_count(watched, "accesses", expected + strangers.len(), Event::is_access)
}

fn ensure_nothing_lost(watched: &Watched) -> Result<()> {
    ensure_count(watched, "losses", 0, |event| event.action() == "events-lost").with_context(|| watched.log.clone())
}
