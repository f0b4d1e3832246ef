//! The innocent twins of a hijacked signer: it looks like one, and is the signer at work.

use std::{
    fmt::Write as _,
    fs,
    io::Write as _,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::MutexGuard,
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Events, Watch, WatchCommand, program};

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
];

/// On another host, whose watch has to start for them.
pub(crate) const ELSEWHERE: &[Sentence] =
    &[("a_signer_whose_file_is_upgraded_as_dpkg_does_it", upgraded), ("a_signer_in_its_unit_and_nowhere_else", unit)];

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

/// A watch on a host that is made to look like another, with systemd and a package of its own. One for all sentences about
/// it: an emulated machine takes ten seconds to start one.
pub(crate) struct OtherHost {
    folder: tempfile::TempDir,
    watch: Watch,
}

/// What is mounted for the watch alone, which finds the host's folder in `$HERE`.
const LOOKS: &str = "mkdir -p /run/systemd; mount -t tmpfs none /run/systemd; mkdir /run/systemd/system\n\
                     mount --bind \"$HERE/cgroup\" /proc/1/cgroup\nmount --bind \"$HERE/dpkg\" /var/lib/dpkg";

/// A signer in its unit, and one of a package; each has a key, which has its name.
const SIGNERS: [(&str, &str); 2] = [("own", "units = [\"own.service\"]"), ("packaged", "")];

/// A key of nobody's.
const LAST: &str = "last";

impl OtherHost {
    fn set(scene: &Scene) -> Result<Self> {
        let disk = std::env::var_os("DKIMWATCH_DISK").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new().prefix("dkimwatch-host-").tempdir_in(disk)?;
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let at = |name: &str| folder.path().join(name).display().to_string();
        for below in ["bin", "keys", "dpkg/info"] {
            fs::create_dir_all(at(below))?;
        }
        fs::write(at("cgroup"), "0::/init.scope\n")?;
        let mut config = String::from("[keys]\ndiscover = false\n");
        fs::write(at(&format!("keys/{LAST}")), crate::scene::BYTES)?;
        writeln!(config, "paths = {:?}", ["own", "packaged", LAST].map(|name| at(&format!("keys/{name}"))))?;
        for ((name, more), from) in SIGNERS.into_iter().zip([scene.victim().to_owned(), stranger()?]) {
            let program = at(&format!("bin/{name}"));
            run(Command::new("cp").args([from.as_os_str(), program.as_ref()]))?;
            fs::write(at(&format!("keys/{name}")), crate::scene::BYTES)?;
            writeln!(
                config,
                "[[signer]]\nname = {name:?}\nexecutable = {program:?}\nusers = [\"{SIGNER_UID}\"]\n{more}"
            )?;
        }
        let packaged = folder.path().join("bin/packaged");
        fs::write(at("dpkg/info/packaged.md5sums"), sum(&packaged, &packaged)?)?;
        let (wrapper, program) = (folder.path().join("dkimwatch"), program()?);
        let text = format!(
            "#!/bin/sh\nHERE={here}; export HERE\nexec unshare --mount sh -ec '{LOOKS}\nexec \"$@\"' sh {program} \"$@\"\n",
            here = folder.path().display(),
            program = program.display(),
        );
        // By another process: a file that this one has open for writing could not be executed.
        let mut install = Command::new("install");
        let mut install = install.args(["-m", "755", "/dev/stdin"]).arg(&wrapper).stdin(Stdio::piped()).spawn()?;
        install.stdin.take().context("its input")?.write_all(text.as_bytes())?;
        ensure!(install.wait()?.success(), "install");
        let mut command = WatchCommand::new().program(wrapper).config(config);
        if let Ok(backend) = std::env::var("DKIMWATCH_BACKEND") {
            command = command.backend(&backend);
        }
        let watch = command.start()?;
        Ok(Self { folder, watch })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// What is said of a key, once everything before this call is: a stranger and a signer, who have a ring each, are told of
    /// last, at a key that is there for this.
    fn events_of(&self, key: &Path) -> Result<Events> {
        let last = self.at("keys").join(LAST);
        let stranger = run(Command::new("cat").arg(&last))?;
        let signer = stolen(by_its_user(self.at("bin/own")).arg("openat").arg(&last))?.pid;
        for pid in [stranger, signer] {
            self.watch.wait_for("the last readers", crate::scene::PATIENCE, |event| event.pid() == Some(pid))?;
        }
        let path = key.display().to_string();
        let of_key = |event: &Event| event.is_access() && event.text("dkimwatch.key.path") == Some(path.as_str());
        Ok(self.watch.events_where(of_key))
    }
}

impl Scene {
    /// The other host, which is made when it is first asked for.
    fn other_host(&self) -> Result<MutexGuard<'_, Option<OtherHost>>> {
        let mut host = self.other.lock().map_err(|_| anyhow::anyhow!("the lock is poisoned"))?;
        if host.is_none() {
            *host = Some(OtherHost::set(self)?);
        }
        Ok(host)
    }
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

fn upgraded(scene: &Scene) -> Result<()> {
    const EXPECTED: &str = "signer/packaged";
    let other = scene.other_host()?;
    let host = other.as_ref().context("another host")?;
    let (signer, list, key) =
        (host.at("bin/packaged"), host.at("dpkg/info/packaged.md5sums"), host.at("keys/packaged"));
    // Versions that differ in a few bytes behind the end of the program.
    for version in ["bin/second", "bin/third"] {
        let script = "cp \"$0\" \"$1\"; echo \"$1\" >> \"$1\"";
        run(Command::new("sh").args(["-ec", script]).args([&signer, &host.at(version)]))?;
    }
    let mut old = Daemon::start(&signer)?;
    is(&old.sign(&host.watch, &key, 1)?, "rule.id", EXPECTED)?;

    // As dpkg does it: the new list lies in `tmp.ci` while the files are put in place, and then among the others.
    let unpacking = host.at("dpkg/tmp.ci");
    fs::create_dir_all(&unpacking)?;
    fs::write(unpacking.join("control"), "Package: packaged\nVersion: 2\n")?;
    fs::write(unpacking.join("md5sums"), sum(&host.at("bin/second"), &signer)?)?;
    fs::rename(host.at("bin/second"), &signer)?;
    // Started anew in the midst of it, and the one that was there before.
    let mut new = Daemon::start(&signer)?;
    is(&new.sign(&host.watch, &key, 1)?, "rule.id", EXPECTED)?;
    is(&old.sign(&host.watch, &key, 2)?, "rule.id", EXPECTED)?;
    fs::rename(unpacking.join("md5sums"), list)?;
    fs::remove_dir_all(&unpacking)?;
    is(&new.sign(&host.watch, &key, 2)?, "rule.id", EXPECTED)?;
    is(&old.sign(&host.watch, &key, 3)?, "rule.id", EXPECTED)?;
    let mut newer = Daemon::start(&signer)?;
    is(&newer.sign(&host.watch, &key, 1)?, "rule.id", EXPECTED)?;
    let alerts = host.events_of(&key)?.only(Event::is_alert);
    ensure!(alerts.is_empty(), "{alerts}");

    // What no package brought is no upgrade.
    fs::rename(host.at("bin/third"), &signer)?;
    let mut other = Daemon::start(&signer)?;
    let event = other.sign(&host.watch, &key, 1)?;
    is(&event, "rule.id", "signer-mismatch/executable-replaced")?;
    let reason = event.text("event.reason").unwrap_or_default();
    ensure!(reason.contains("that file is not the one of the package packaged"), "{reason}");
    for daemon in [old, new, newer, other] {
        daemon.stop()?;
    }
    host.events_of(&key)?.exactly(7, "each of them, each time")?;
    Ok(())
}

fn unit(scene: &Scene) -> Result<()> {
    let other = scene.other_host()?;
    let host = other.as_ref().context("another host")?;
    let (key, signer) = (host.at("keys/own"), host.at("bin/own"));
    let words = |program: &Path| vec![program.to_owned(), PathBuf::from("openat"), key.clone()];

    let at_work = stolen_in_cgroup("system.slice/own.service", &words(&signer))?;
    // From a shell, from cron, and somebody else in the signer's unit.
    let by_hand = stolen(by_its_user(&signer).arg("openat").arg(&key))?;
    let from_cron = stolen_in_cgroup("system.slice/cron.service", &words(&signer))?;
    let in_its_unit = stolen_in_cgroup("system.slice/own.service", &words(&scene.thief()))?;
    let user = as_user(SIGNER_UID, "cat", &[key.as_os_str()])?;

    let accesses = host.events_of(&key)?;
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
    // Where everybody can write, and this may be checked out, a program is hidden, whoever runs it.
    let is_hidden = ["/tmp", "/var/tmp", "/dev/shm"].iter().any(|open| scene.thief().starts_with(open));
    let (rule, says) = if is_hidden {
        ("stranger/hidden-executable", "Its executable is hidden")
    } else {
        ("stranger/signer-user", "but is not its program")
    };
    told(&in_its_unit, rule, says)?;
    accesses.by(user).one("by another program")?;
    accesses.exactly(5, "each of them")?;
    Ok(())
}
