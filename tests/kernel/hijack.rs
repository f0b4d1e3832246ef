//! A signer that is not itself: ways to have a signer's identity and other code, or its code and another's will. Each gets
//! the key's bytes, and is an alert that says which.

use std::{
    fs::{self, File},
    os::{
        fd::{AsRawFd as _, OwnedFd},
        unix::{fs::PermissionsExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::Event;
use rustix::fs::MemfdFlags;

use crate::{
    Sentence,
    loot::{Loot, names, stolen},
    scene::{PATIENCE, SIGNER_UID, Scene, alarms, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_signer_started_with_somebodys_library_preloaded", preloaded),
    ("a_signer_started_with_somebodys_audit_library", audited),
    ("a_signer_led_to_somebodys_copy_of_a_library", library_path),
    ("a_signer_that_loads_somebodys_library_as_it_runs", loaded),
    (AS_DATA, as_data),
    ("a_signer_that_loads_a_library_without_a_name", nameless_library),
    ("a_signer_that_sees_another_library_at_the_systems_path", covered_library),
    ("a_signer_that_another_process_traces", traced),
    ("a_signer_run_by_the_dynamic_linker", dynamic_linker),
    (REPLACED, replaced),
    (OVERWRITTEN, overwritten),
    (DELETED, deleted),
    ("a_signer_executed_from_memory", memory),
    (WRITABLE, writable),
    (LINKED, linked),
    ("a_signer_run_by_a_bind_mount_elsewhere", bound),
    ("a_program_at_the_signers_path_in_a_root_of_its_own", changed_root),
    ("a_signer_in_a_container_that_was_given_its_file", container),
    ("another_script_of_the_script_signers_interpreter", other_script),
    ("a_script_signer_with_somebodys_modules", script_modules),
    ("another_script_mounted_over_the_script_signers", script_covered),
];

const REPLACED: &str = "a_signer_whose_program_was_replaced";
const OVERWRITTEN: &str = "a_signer_whose_program_was_overwritten";
const DELETED: &str = "a_signer_executed_from_a_deleted_file";
const WRITABLE: &str = "a_signer_whose_program_its_group_may_write";
const LINKED: &str = "a_signer_run_by_a_hard_link_elsewhere";

/// Sentences that spoil a signer, and so have one of their own: the program `bin/signer` in their folder.
pub(crate) const OWN: &[&str] = &[REPLACED, OVERWRITTEN, DELETED, WRITABLE, LINKED];

/// The signer of such a sentence.
pub(crate) fn own_signer(folder: &Path) -> PathBuf {
    folder.join("bin/signer")
}

/// A program as the signer's user.
fn by_its_user(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(program);
    command.uid(SIGNER_UID).gid(SIGNER_UID);
    command
}

/// A shell that begins as root; `"$@"` is the signer's user's.
fn shell(script: &str) -> Command {
    let mut command = Command::new("unshare");
    let user = SIGNER_UID.to_string();
    let script = format!("become() {{ exec setpriv --reuid {user} --regid {user} --clear-groups \"$@\"; }}\n{script}");
    command.args(["--mount", "sh", "-ec", &script, "sh"]);
    command
}

/// The one event about the sentence's key: an alert about this reader, by one of these rules, whose reason says this.
fn caught(scene: &Scene, name: &str, loot: &Loot, rules: &[&str], says: &str) -> Result<Event> {
    let key = scene.key(name).display().to_string();
    // What is told once a program has been looked at may be told after the sentinels.
    scene.watch.wait_for("the signer that is none", PATIENCE, |event| {
        event.pid() == Some(loot.pid) && event.text("dkimwatch.key.path") == Some(key.as_str())
    })?;
    let event = scene.one(name)?;
    names(&event, loot)?;
    alarms(&event)?;
    let (rule, reason) = (event.text("rule.id").unwrap_or_default(), event.text("event.reason").unwrap_or_default());
    ensure!(rules.contains(&rule), "rule.id is {rule}\n{event}");
    ensure!(reason.contains(says), "the reason does not say {says:?}: {reason}");
    Ok(event)
}

/// The signer of these sentences, which was asked for the key, with somebody's code in it.
fn with_library(scene: &Scene, name: &'static str, command: &mut Command, says: &str) -> Result<()> {
    let loot = stolen(command)?;
    let event = caught(scene, name, &loot, &["signer-mismatch/library"], says)?;
    let reason = event.text("event.reason").unwrap_or_default();
    ensure!(reason.contains("it runs code of"), "{reason}");
    Ok(())
}

/// As [`with_library`], where the library itself reads the key before the program's first instruction.
fn hijacked(scene: &Scene, name: &'static str, variable: &str) -> Result<()> {
    let mut command = by_its_user(scene.victim());
    command.arg("none").env("HIJACKER_KEY", scene.key(name)).env(variable, scene.hijacker());
    with_library(
        scene,
        name,
        &mut command,
        &format!("hijacker.so (in no folder of libraries), started with {variable}"),
    )
}

fn preloaded(scene: &Scene) -> Result<()> {
    hijacked(scene, "a_signer_started_with_somebodys_library_preloaded", "LD_PRELOAD")
}

fn audited(scene: &Scene) -> Result<()> {
    hijacked(scene, "a_signer_started_with_somebodys_audit_library", "LD_AUDIT")
}

/// Where the system has a library that the signer is linked with.
fn libgcc(scene: &Scene) -> Result<PathBuf> {
    let output = Command::new("ldd").arg(scene.victim()).output().context("ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.contains("libgcc_s.so.1")).context("not linked with libgcc")?;
    Ok(PathBuf::from(line.split_whitespace().nth(2).context("ldd's output")?))
}

fn library_path(scene: &Scene) -> Result<()> {
    let name = "a_signer_led_to_somebodys_copy_of_a_library";
    let copy = scene.folder(name).join("libgcc_s.so.1");
    fs::copy(libgcc(scene)?, &copy)?;
    let mut command = by_its_user(scene.victim());
    command.arg("openat").arg(scene.key(name)).env("LD_LIBRARY_PATH", scene.folder(name));
    with_library(scene, name, &mut command, "started with LD_LIBRARY_PATH")
}

fn loaded(scene: &Scene) -> Result<()> {
    let name = "a_signer_that_loads_somebodys_library_as_it_runs";
    let mut command = by_its_user(scene.victim());
    command.arg("load").arg(scene.hijacker()).env("HIJACKER_KEY", scene.key(name));
    with_library(scene, name, &mut command, "hijacker.so (in no folder of libraries)")
}

const AS_DATA: &str = "a_signer_that_makes_code_of_a_library_that_it_mapped_as_data";

fn as_data(scene: &Scene) -> Result<()> {
    let mut command = by_its_user(scene.victim());
    command.arg("load-as-data").arg(scene.hijacker()).arg("openat").arg(scene.key(AS_DATA));
    if scene.backend() == "tracepoint" {
        let loot = stolen(&mut command)?;
        let event = scene.one(AS_DATA)?;
        names(&event, &loot)?;
        ensure!(event.text("rule.id") == Some("signer/victim") && scene.unseen("code-as-data"), "{event}");
        scene.limited(AS_DATA, "code-as-data");
        return Ok(());
    }
    with_library(scene, AS_DATA, &mut command, "hijacker.so (in no folder of libraries)")
}

/// A file in memory with these bytes, open for reading alone: one that somebody can write to cannot be executed.
fn in_memory(from: &Path) -> Result<OwnedFd> {
    let memory = rustix::fs::memfd_create("memory", MemfdFlags::CLOEXEC)?;
    std::io::copy(&mut File::open(from)?, &mut File::from(memory.try_clone()?))?;
    Ok(File::open(format!("/proc/self/fd/{}", memory.as_raw_fd()))?.into())
}

fn nameless_library(scene: &Scene) -> Result<()> {
    let name = "a_signer_that_loads_a_library_without_a_name";
    let memory = in_memory(&scene.hijacker())?;
    rustix::io::fcntl_setfd(&memory, rustix::io::FdFlags::empty())?;
    let mut command = by_its_user(scene.victim());
    command.arg("load").arg(format!("/proc/self/fd/{}", memory.as_raw_fd())).env("HIJACKER_KEY", scene.key(name));
    with_library(scene, name, &mut command, "which has no name: in memory only, or deleted")
}

fn covered_library(scene: &Scene) -> Result<()> {
    let name = "a_signer_that_sees_another_library_at_the_systems_path";
    let (library, copy) = (libgcc(scene)?, scene.folder(name).join("other.so"));
    fs::copy(&library, &copy)?;
    let script = "mount --bind \"$1\" \"$2\"; shift 2; become \"$@\"";
    let mut command = shell(script);
    command.args([&copy, &library, &scene.victim(), &PathBuf::from("openat"), &scene.key(name)]);
    with_library(scene, name, &mut command, "another file than the host has there")
}

fn traced(scene: &Scene) -> Result<()> {
    let name = "a_signer_that_another_process_traces";
    let loot = stolen(by_its_user(scene.thief()).arg("trace").arg(scene.victim()).arg("openat").arg(scene.key(name)))?;
    caught(scene, name, &loot, &["signer-mismatch/traced"], "traces it and can do as it likes with it").map(drop)
}

/// The program that the kernel runs for a dynamically linked one (`PT_INTERP`).
fn linker(scene: &Scene) -> Result<PathBuf> {
    let output = Command::new("ldd").arg(scene.victim()).output().context("ldd")?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().find(|line| line.trim_start().starts_with('/')).context("ldd names no linker")?;
    Ok(PathBuf::from(line.split_whitespace().next().context("ldd's output")?))
}

fn dynamic_linker(scene: &Scene) -> Result<()> {
    let name = "a_signer_run_by_the_dynamic_linker";
    let loot = stolen(by_its_user(linker(scene)?).arg(scene.victim()).arg("openat").arg(scene.key(name)))?;
    caught(scene, name, &loot, &["stranger/signer-user"], "but is not its program").map(drop)
}

/// The signer's program with something behind its end: another file that does the same.
fn another(from: &Path, to: &Path) -> Result<()> {
    // By another process, as this one's descriptors are inherited by what other sentences start.
    run(Command::new("sh").args(["-ec", "cat \"$0\" > \"$1\"; echo more >> \"$1\"; chmod 755 \"$1\""]).args([from, to]))
        .map(drop)
}

fn replaced(scene: &Scene) -> Result<()> {
    let signer = own_signer(&scene.folder(REPLACED));
    let other = scene.folder(REPLACED).join("other");
    another(&signer, &other)?;
    fs::rename(&other, &signer)?;
    let loot = stolen(by_its_user(&signer).arg("openat").arg(scene.key(REPLACED)))?;
    let rules = ["signer-mismatch/executable-replaced"];
    caught(scene, REPLACED, &loot, &rules, "that file was put there while dkimwatch was running").map(drop)
}

fn overwritten(scene: &Scene) -> Result<()> {
    let signer = own_signer(&scene.folder(OVERWRITTEN));
    run(Command::new("sh").args(["-c", "echo more >> \"$0\""]).arg(&signer))?;
    let loot = stolen(by_its_user(&signer).arg("openat").arg(scene.key(OVERWRITTEN)))?;
    // Whether the change was noticed before the access or after it.
    let rules = ["signer-mismatch/executable-changed", "signer-mismatch/executable-replaced"];
    caught(scene, OVERWRITTEN, &loot, &rules, "that file was ").map(drop)
}

fn deleted(scene: &Scene) -> Result<()> {
    let signer = own_signer(&scene.folder(DELETED));
    let held = File::open(&signer)?;
    fs::remove_file(&signer)?;
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    let loot = stolen(by_its_user(path).arg0("signer").arg("openat").arg(scene.key(DELETED)))?;
    // Its last name went, which changes it.
    let rules = ["signer-mismatch/executable-deleted", "signer-mismatch/executable-changed"];
    caught(scene, DELETED, &loot, &rules, "that file had been deleted when it was executed").map(drop)
}

fn memory(scene: &Scene) -> Result<()> {
    let name = "a_signer_executed_from_memory";
    let memory = in_memory(&scene.victim())?;
    let path = format!("/proc/self/fd/{}", memory.as_raw_fd());
    let loot = stolen(by_its_user(path).arg0("memory").arg("openat").arg(scene.key(name)))?;
    caught(scene, name, &loot, &["stranger/hidden-executable"], "in memory only").map(drop)
}

fn writable(scene: &Scene) -> Result<()> {
    let signer = own_signer(&scene.folder(WRITABLE));
    fs::set_permissions(&signer, fs::Permissions::from_mode(0o775))?;
    let loot = stolen(by_its_user(&signer).arg("openat").arg(scene.key(WRITABLE)))?;
    let rules = ["signer-mismatch/executable-writable"];
    caught(scene, WRITABLE, &loot, &rules, "others than its owner may write to that file").map(drop)
}

fn linked(scene: &Scene) -> Result<()> {
    let link = scene.folder(LINKED).join("link");
    fs::hard_link(own_signer(&scene.folder(LINKED)), &link)?;
    let loot = stolen(by_its_user(&link).arg("openat").arg(scene.key(LINKED)))?;
    // The new name changes the file, too: whether that was noticed before the access or after it.
    let rules = ["signer-mismatch/executable-elsewhere", "signer-mismatch/executable-changed"];
    caught(scene, LINKED, &loot, &rules, "a hard link or a bind mount").map(drop)
}

/// Unmounts it.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        // Lazily: a process that still runs from it has failed its sentence already.
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

fn bound(scene: &Scene) -> Result<()> {
    let name = "a_signer_run_by_a_bind_mount_elsewhere";
    let at = scene.folder(name).join("bound");
    fs::write(&at, "")?;
    run(Command::new("mount").arg("--bind").args([&scene.victim(), &at]))?;
    let _mounted = Mounted(at.clone());
    let loot = stolen(by_its_user(&at).arg("openat").arg(scene.key(name)))?;
    let rules = ["signer-mismatch/executable-elsewhere"];
    caught(scene, name, &loot, &rules, "a hard link or a bind mount").map(drop)
}

fn changed_root(scene: &Scene) -> Result<()> {
    let name = "a_program_at_the_signers_path_in_a_root_of_its_own";
    let other = scene.folder(name).join("other");
    another(&scene.victim(), &other)?;
    let root = scene.folder(name).join("root");
    fs::create_dir_all(&root)?;
    // The host's root, but for one file.
    let script = "mount --rbind / \"$1\"; mount --bind \"$2\" \"$1$3\"; root=$1; shift 2\n\
                  exec chroot --userspec=1:1 \"$root\" \"$@\"";
    let mut command = shell(script);
    command.args([&root, &other, &scene.victim(), &PathBuf::from("openat"), &scene.key(name)]);
    let loot = stolen(&mut command)?;
    caught(scene, name, &loot, &["stranger/disguise"], "but is not its program").map(drop)
}

fn container(scene: &Scene) -> Result<()> {
    let name = "a_signer_in_a_container_that_was_given_its_file";
    let words = [scene.victim(), PathBuf::from("openat"), scene.key(name)];
    let loot = stolen_in_cgroup(&format!("docker/{:064x}", std::process::id()), &words)?;
    scene.contained(&scene.key(name), 1);
    caught(scene, name, &loot, &["signer-mismatch/container"], "in docker container").map(drop)
}

/// As [`stolen`], by a program of the signer's user in a cgroup of this name and in a mount namespace of its own.
pub(crate) fn stolen_in_cgroup(cgroup: &str, words: &[PathBuf]) -> Result<Loot> {
    // Where it lies there already, it is not to be had a second time.
    const MOUNT: &str =
        "cd /sys/fs/cgroup; [ -e cgroup.procs ] || { mount -t cgroup2 none .; cd /sys/fs/cgroup; }; at=$1; shift";
    let mut inside = shell(&format!("{MOUNT}; mkdir -p \"$at\"; echo $$ > \"$at/cgroup.procs\"; cd /; become \"$@\""));
    let loot = stolen(inside.arg(cgroup).args(words));
    // What others have below the same folders stays.
    run(shell(&format!("{MOUNT}; rmdir -p --ignore-fail-on-non-empty \"$at\"")).arg(cgroup))?;
    loot
}

fn other_script(scene: &Scene) -> Result<()> {
    let name = "another_script_of_the_script_signers_interpreter";
    let other = scene.folder(name).join("script");
    run(Command::new("cp").args([&scene.script(), &other]))?;
    let loot = stolen(by_its_user(&other).arg(scene.key(name)))?;
    caught(scene, name, &loot, &["stranger/disguise", "stranger/signer-user"], "but is not its program").map(drop)
}

fn script_modules(scene: &Scene) -> Result<()> {
    let name = "a_script_signer_with_somebodys_modules";
    // It reads the key before the script's own second line.
    let module = scene.folder(name).join("strict.pm");
    fs::write(&module, format!("package strict;\n{}exit 0;\n1;\n", crate::scene::SCRIPT))?;
    let loot = stolen(by_its_user(scene.script()).arg(scene.key(name)).env("PERL5LIB", scene.folder(name)))?;
    caught(scene, name, &loot, &["signer-mismatch/environment"], "started with PERL5LIB").map(drop)
}

fn script_covered(scene: &Scene) -> Result<()> {
    let name = "another_script_mounted_over_the_script_signers";
    let other = scene.folder(name).join("other");
    run(Command::new("cp").args([&scene.script(), &other]))?;
    let mut command = shell("mount --bind \"$1\" \"$2\"; shift; become \"$@\"");
    command.args([&other, &scene.script(), &scene.key(name)]);
    let loot = stolen(&mut command)?;
    caught(scene, name, &loot, &["signer-mismatch/script"], "of another mount namespace").map(drop)
}
