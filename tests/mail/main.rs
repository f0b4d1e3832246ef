//! Real mail servers sign real messages while dkimwatch watches their keys.
//!
//! Needs root, and the packages that `cargo xtask setup` installs. The first run installs each mail server into a Debian
//! root of its own below `target/mail-roots/` (about a minute for all three); later runs use it again.

mod archive;
mod command;
mod exim;
mod host;
mod lab;
mod opendkim;
mod postfix;
mod root;
mod rspamd;
mod smtp;
mod syslog;

use opendkim::Told;

#[test]
fn try_opendkim() -> anyhow::Result<()> {
    let lab = opendkim::boot(Told::ByTable(&["sel1", "sel2"]))?;
    opendkim::start(&lab)?;
    let t = std::time::Instant::now();
    let m = lab.send(0..10)?;
    println!("{:?} {:?}", t.elapsed(), m[0]);
    lab::ensure_signed(&m, &["sel1", "sel2"])?;
    let t = std::time::Instant::now();
    lab.send(10..1010)?;
    println!("{:?}", t.elapsed());
    Ok(())
}

#[test]
fn try_rspamd() -> anyhow::Result<()> {
    let lab = rspamd::boot()?;
    rspamd::start(&lab)?;
    let m = lab.send(0..10)?;
    lab::ensure_signed(&m, &[rspamd::SELECTOR])
}

#[test]
fn try_exim() -> anyhow::Result<()> {
    let lab = exim::boot()?;
    exim::start(&lab)?;
    let m = lab.send(0..10)?;
    lab::ensure_signed(&m, &[exim::SELECTOR])
}
