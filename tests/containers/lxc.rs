//! LXC, run for real: its containers are known by their configuration alone.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, WatchCommand};

use super::{BAKED_KEY, Lab, PATIENCE, alone};

#[test]
fn a_strangers_cat_in_a_container_of_lxc_is_one_alert_for_each_key() -> Result<()> {
    let _alone = alone();
    let lab = Lab::new()?;
    lab.bake()?;
    // Where the container has these mounted.
    for folder in ["proc", "dev", "sys", "tmp"] {
        fs::create_dir_all(lab.root.join(folder))?;
    }
    let (root, keys) = (lab.root.display(), lab.folder_of_keys()?);
    let store = lab.folder.path().join("lxc");
    fs::create_dir_all(store.join("mail"))?;
    let config = format!(
        "lxc.rootfs.path = dir:{root}\nlxc.net.0.type = none\nlxc.apparmor.profile = unconfined\n\
         lxc.mount.entry = {keys} keys none bind,ro,create=dir 0 0\n"
    );
    fs::write(store.join("mail/config"), config)?;
    let store = store.to_str().context("a path in UTF-8")?;
    // The key in the container's root is found; the other one lies where nobody would look for it.
    let key = lab.key.display().to_string();
    let watch = WatchCommand::new()
        .config(format!("[keys]\npaths = [{key:?}]\n[containers]\nstores = [{store:?}]\n"))
        .start()?;
    let read = format!("cat /keys/host.private {BAKED_KEY}");
    let mut lxc = Command::new("lxc-execute");
    lxc.args(["--lxcpath", store, "--name", "mail", "--logfile", &format!("{store}/log"), "--logpriority", "INFO"]);
    let ran = lxc.args(["--", "/bin/sh", "-c", &read]).output().context("lxc-execute, of the package lxc")?;
    let log = fs::read_to_string(Path::new(store).join("log")).unwrap_or_default();
    ensure!(ran.status.success(), "{}\n{log}", String::from_utf8_lossy(&ran.stderr));
    let of_it = |event: &Event| event.is_access() && event.text("container.id") == Some("mail");
    watch.wait_for_count("both keys", 2, PATIENCE, of_it)?;
    let watched = watch.stop()?;
    let baked = format!("{root}{BAKED_KEY}");
    for (inner, from, on_host) in [("/keys/host.private", "mount", &key), (BAKED_KEY, "root", &baked)] {
        let read = watched.events.only(|event| of_it(event) && event.text("file.path") == Some(inner));
        let event = read.one(inner)?;
        for (field, expected) in [
            ("event.kind", "alert"),
            ("container.runtime", "lxc"),
            ("container.name", "mail"),
            ("dkimwatch.enrichment.state", "done"),
            ("dkimwatch.inner.user.name", "root"),
            ("dkimwatch.container.key.path", inner),
            ("dkimwatch.container.key.from", from),
            ("dkimwatch.container.key.host_path", on_host),
        ] {
            ensure!(event.text(field) == Some(expected), "{field} is not {expected:?}:\n{event}");
        }
    }
    watched.events.alerts().exactly(2, "one alert each")
}
