//! The innocent twins of a hijacked signer: it looks like one, and is the signer at work.

use std::{
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Watch, WatchCommand, program};

use crate::{
    Sentence,
    hijack::stolen_in_cgroup,
    loot::{Loot, names, stolen},
    scene::{SIGNER_UID, Scene, as_user, is, run, stranger},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_signer_as_declared", as_declared),
    ("a_script_signer_as_declared", script),
    ("a_signer_with_a_library_of_the_systems_preloaded", system_library),
    ("a_signer_that_compiles_as_it_runs", compiling),
    ("a_signer_in_a_mount_namespace_of_its_own", own_mounts),
    ("a_signer_whose_file_is_upgraded_as_dpkg_does_it", upgraded),
    ("a_signer_in_its_unit_and_nowhere_else", unit),
];

/// The one event about the sentence's key: this reader, as the expected signer.
fn expected(scene: &Scene, name: &str, loot: &Loot, rule: &str) -> Result<()> {
    let event = scene.one(name)?;
    names(&event, loot)?;
    is(&event, "dkimwatch.verdict", "expected")?;
    is(&event, "event.kind", "event")?;
    is(&event, "rule.id", rule)
}

fn by_its_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.uid(SIGNER_UID).gid(SIGNER_UID);
    command
}

fn as_declared(scene: &Scene) -> Result<()> {
    let name = "a_signer_as_declared";
    let loot = stolen(by_its_user(scene.victim()).arg("openat").arg(scene.key(name)))?;
    expected(scene, name, &loot, "signer/victim")
}

fn script(scene: &Scene) -> Result<()> {
    let name = "a_script_signer_as_declared";
    let loot = stolen(by_its_user(scene.script()).arg(scene.key(name)))?;
    expected(scene, name, &loot, "signer/script")
}

fn system_library(scene: &Scene) -> Result<()> {
    let name = "a_signer_with_a_library_of_the_systems_preloaded";
    // Found by the dynamic linker in the system's folders.
    let mut command = by_its_user(scene.victim());
    command.arg("openat").arg(scene.key(name)).env("LD_PRELOAD", "libm.so.6");
    let loot = stolen(&mut command)?;
    expected(scene, name, &loot, "signer/victim")
}

/// As Rspamd with LuaJIT: code in memory that is no file's.
fn compiling(scene: &Scene) -> Result<()> {
    let name = "a_signer_that_compiles_as_it_runs";
    let loot = stolen(by_its_user(scene.victim()).args(["compile", "openat"]).arg(scene.key(name)))?;
    expected(scene, name, &loot, "signer/victim")
}

fn own_mounts(scene: &Scene) -> Result<()> {
    let name = "a_signer_in_a_mount_namespace_of_its_own";
    let user = SIGNER_UID.to_string();
    let mut command = Command::new("unshare");
    command.args(["--mount", "setpriv", "--reuid", &user, "--regid", &user, "--clear-groups"]);
    let loot = stolen(command.arg(scene.victim()).arg("openat").arg(scene.key(name)))?;
    expected(scene, name, &loot, "signer/victim")
}

/// A watch of a sentence's own, on a host that is made to look like another: `looks` is what is mounted for it alone.
struct OtherHost {
    folder: tempfile::TempDir,
    watch: Watch,
}

impl OtherHost {
    /// `signer` is the rest of the entry of `bin/signer` there; `looks` finds its folder in `$HERE`.
    fn set(folder: tempfile::TempDir, signer: &str, looks: &str) -> Result<Self> {
        let at = |name: &str| folder.path().join(name).display().to_string();
        let (wrapper, program) = (folder.path().join("dkimwatch"), program()?);
        let text = format!(
            "#!/bin/sh\nHERE={here}; export HERE\nexec unshare --mount sh -ec '{looks}\nexec \"$@\"' sh {program} \"$@\"\n",
            here = folder.path().display(),
            program = program.display(),
        );
        // By another process: a file that this one has open for writing could not be executed.
        let mut install = Command::new("install");
        let mut install = install.args(["-m", "755", "/dev/stdin"]).arg(&wrapper).stdin(Stdio::piped()).spawn()?;
        install.stdin.take().context("its input")?.write_all(text.as_bytes())?;
        ensure!(install.wait()?.success(), "install");
        let mut command = WatchCommand::new().program(wrapper).config(format!(
            "[keys]\ndiscover = false\npaths = [{:?}]\n[[signer]]\nname = \"own\"\nexecutable = {:?}\nusers = [\"{SIGNER_UID}\"]\n{signer}",
            at("key.private"),
            at("bin/signer"),
        ));
        if let Ok(backend) = std::env::var("DKIMWATCH_BACKEND") {
            command = command.backend(&backend);
        }
        let watch = command.start()?;
        Ok(Self { folder, watch })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A folder with a key and a signer, which is this program.
fn folder(from: &Path) -> Result<tempfile::TempDir> {
    let disk = std::env::var_os("DKIMWATCH_DISK").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::Builder::new().prefix("dkimwatch-host-").tempdir_in(disk)?;
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    fs::create_dir_all(folder.path().join("bin"))?;
    fs::write(folder.path().join("key.private"), crate::scene::BYTES)?;
    run(Command::new("cp").arg(from).arg(folder.path().join("bin/signer")))?;
    Ok(folder)
}

/// A signer at work: it reads what is named on its standard input.
struct Daemon(Child);

impl Daemon {
    fn start(program: &Path) -> Result<Self> {
        let mut command = by_its_user(program);
        command.arg("--each").stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self(command.spawn().with_context(|| format!("{command:?}"))?))
    }

    /// Has it read a key, and waits for what is said of that. It ends where it could not.
    fn sign(&mut self, watch: &Watch, key: &Path, round: usize) -> Result<Event> {
        let pid = self.0.id();
        writeln!(self.0.stdin.as_mut().context("its input")?, "{}", key.display())?;
        let said = watch.wait_for_count("the signer", round, crate::scene::PATIENCE, |event| {
            event.is_access() && event.pid() == Some(pid)
        })?;
        said.last().cloned().context("an event")
    }

    fn stop(mut self) -> Result<()> {
        drop(self.0.stdin.take());
        ensure!(self.0.wait()?.success(), "it could not read the key");
        Ok(())
    }
}

/// The sum of a file as a package's list has it.
fn sum(file: &Path, named: &Path) -> Result<String> {
    let output = Command::new("md5sum").arg(file).output().context("md5sum")?;
    let text = String::from_utf8(output.stdout)?;
    let hex = text.split_whitespace().next().context("md5sum's output")?;
    Ok(format!("{hex}  {}\n", named.strip_prefix("/")?.display()))
}

fn upgraded(_: &Scene) -> Result<()> {
    let folder = folder(&stranger()?)?;
    let (signer, info) = (folder.path().join("bin/signer"), folder.path().join("dpkg/info"));
    fs::create_dir_all(&info)?;
    fs::write(info.join("own.md5sums"), sum(&signer, &signer)?)?;
    // Versions that differ in a few bytes behind the end of the program.
    for version in ["second", "third"] {
        let script = "cp \"$0\" \"$1\"; echo \"$1\" >> \"$1\"";
        run(Command::new("sh").args(["-ec", script]).args([&signer, &folder.path().join("bin").join(version)]))?;
    }
    let host = OtherHost::set(folder, "", "mount --bind \"$HERE/dpkg\" /var/lib/dpkg")?;
    let key = host.at("key.private");
    let mut old = Daemon::start(&signer)?;
    is(&old.sign(&host.watch, &key, 1)?, "rule.id", "signer/own")?;

    // As dpkg does it: the new list lies in `tmp.ci` while the files are put in place, and then among the others.
    let unpacking = host.at("dpkg/tmp.ci");
    fs::create_dir_all(&unpacking)?;
    fs::write(unpacking.join("control"), "Package: own\nVersion: 2\n")?;
    fs::write(unpacking.join("md5sums"), sum(&host.at("bin/second"), &signer)?)?;
    fs::rename(host.at("bin/second"), &signer)?;
    // Started anew in the midst of it, and the one that was there before.
    let mut new = Daemon::start(&signer)?;
    is(&new.sign(&host.watch, &key, 1)?, "rule.id", "signer/own")?;
    is(&old.sign(&host.watch, &key, 2)?, "rule.id", "signer/own")?;
    fs::rename(unpacking.join("md5sums"), info.join("own.md5sums"))?;
    fs::remove_dir_all(&unpacking)?;
    is(&new.sign(&host.watch, &key, 2)?, "rule.id", "signer/own")?;
    is(&old.sign(&host.watch, &key, 3)?, "rule.id", "signer/own")?;
    let mut newer = Daemon::start(&signer)?;
    is(&newer.sign(&host.watch, &key, 1)?, "rule.id", "signer/own")?;
    let alerts = host.watch.events_where(|event| event.is_alert() && !crate::scene::passed_by(event));
    ensure!(alerts.is_empty(), "{alerts}");

    // What no package brought is no upgrade.
    fs::rename(host.at("bin/third"), &signer)?;
    let mut other = Daemon::start(&signer)?;
    let event = other.sign(&host.watch, &key, 1)?;
    is(&event, "rule.id", "signer-mismatch/executable-replaced")?;
    let reason = event.text("event.reason").unwrap_or_default();
    ensure!(reason.contains("that file is not the one of the package own"), "{reason}");
    for daemon in [old, new, newer, other] {
        daemon.stop()?;
    }
    let watched = host.watch.stop()?;
    ensure!(watched.events.accesses().len() == 7, "{}", watched.events.accesses());
    Ok(())
}

fn unit(scene: &Scene) -> Result<()> {
    const SYSTEMD: &str = "mkdir -p /run/systemd; mount -t tmpfs none /run/systemd; mkdir /run/systemd/system\n\
                           mount --bind \"$HERE/cgroup\" /proc/1/cgroup";
    let folder = folder(&scene.victim())?;
    fs::write(folder.path().join("cgroup"), "0::/init.scope\n")?;
    let host = OtherHost::set(folder, "units = [\"own.service\"]\n", SYSTEMD)?;
    let (key, signer) = (host.at("key.private"), host.at("bin/signer"));
    let words = |program: &Path| vec![program.to_owned(), PathBuf::from("openat"), key.clone()];

    let at_work = stolen_in_cgroup("system.slice/own.service", &words(&signer))?;
    // From a shell, from cron, and somebody else in the signer's unit.
    let by_hand = stolen(by_its_user(&signer).arg("openat").arg(&key))?;
    let from_cron = stolen_in_cgroup("system.slice/cron.service", &words(&signer))?;
    let in_its_unit = stolen_in_cgroup("system.slice/own.service", &words(&scene.thief()))?;
    let user = as_user(SIGNER_UID, "cat", &[key.as_os_str()])?;

    let watched = host.watch.stop()?;
    let accesses = watched.events.accesses();
    let told = |loot: &Loot, rule: &str, says: &str| -> Result<()> {
        let all = accesses.by(loot.pid);
        let event = all.one("by the reader")?;
        names(event, loot)?;
        is(event, "rule.id", rule)?;
        let reason = event.text("event.reason").unwrap_or_default();
        ensure!(reason.contains(says), "the reason does not say {says:?}: {reason}");
        Ok(())
    };
    told(&at_work, "signer/own", "in own.service, as the expected signer own")?;
    told(&by_hand, "signer-mismatch/unit", "; expected own.service")?;
    told(&from_cron, "signer-mismatch/unit", "in cron.service; expected own.service")?;
    told(&in_its_unit, "stranger/signer-user", "but is not its program")?;
    accesses.by(user).one("by another program")?;
    ensure!(accesses.len() == 5, "{accesses}");
    Ok(())
}
