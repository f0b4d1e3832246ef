//! Readers that are hard to name are named.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    Sentence,
    loot::{blamed, names, one_by, shown, stolen, thief},
    scene::{NOBODY, Scene, alarms, counts, is, is_open, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    #[cfg(target_arch = "x86_64")]
    ("readers_that_live_for_microseconds_are_each_blamed", tiny),
    ("a_vforked_child_that_reads_before_it_executes_is_blamed", vforked),
    ("an_orphan_is_blamed_with_who_adopted_it", orphan),
    ("a_child_given_to_another_parent_is_blamed", sibling),
    ("data_through_a_shared_table_of_descriptors_is_its_readers", shared_table),
    ("a_process_whose_first_thread_has_ended_is_blamed", leaderless),
    ("a_thread_that_reads_and_replaces_its_process_is_blamed_as_what_it_was", thread_replaced),
    ("a_program_that_a_thread_executed_is_blamed", thread_executes),
    ("a_thread_that_became_another_user_is_that_user", thread_of_another_user),
    ("a_reader_with_another_effective_user_has_both", effective_user),
    ("who_opened_is_the_user_that_it_was_then", setuid_between),
    ("a_reader_three_pid_namespaces_down_has_the_hosts_pid", nested),
    ("a_reader_in_a_container_is_told_with_it", contained),
    ("who_entered_a_container_is_told_from_its_own_processes", entered),
    ("a_reader_in_a_container_of_version_1_control_groups_is_told_with_it", contained_in_version_1),
    #[cfg(target_arch = "x86_64")]
    ("a_reused_pid_is_another_process", reused_pid),
    ("a_reader_that_rewrote_its_command_line_is_a_stranger", other_arguments),
    ("a_reader_that_lies_about_its_executable_is_found_out", other_executable),
];

/// A statically linked program of some two hundred bytes: opens its argument, reads it, writes it out, ends.
#[cfg(target_arch = "x86_64")]
fn tiny_program(scene: &Scene, name: &str) -> Result<PathBuf> {
    const CODE: &[u8] = &[
        0x48, 0x8b, 0x7c, 0x24, 0x10, // mov rdi, [rsp+16]: argv[1]
        0x31, 0xf6, // xor esi, esi: O_RDONLY
        0xb8, 2, 0, 0, 0, 0x0f, 0x05, // open
        0x89, 0xc7, // mov edi, eax
        0x48, 0x8d, 0xb4, 0x24, 0, 0xff, 0xff, 0xff, // lea rsi, [rsp-256]
        0xba, 0, 1, 0, 0, // mov edx, 256
        0x31, 0xc0, 0x0f, 0x05, // read
        0x89, 0xc2, // mov edx, eax
        0xbf, 1, 0, 0, 0, // mov edi, 1
        0xb8, 1, 0, 0, 0, 0x0f, 0x05, // write
        0x31, 0xff, // xor edi, edi
        0xb8, 60, 0, 0, 0, 0x0f, 0x05, // exit
    ];
    const BASE: u64 = 0x40_0000;
    /// `struct elf64_hdr` and one `struct elf64_phdr`.
    const HEADERS: u64 = 64 + 56;
    let length = HEADERS + u64::try_from(CODE.len())?;
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    file.extend([2, 0, 62, 0, 1, 0, 0, 0]);
    for word in [BASE + HEADERS, 64, 0] {
        file.extend(word.to_le_bytes());
    }
    file.extend([0, 0, 0, 0, 64, 0, 56, 0, 1, 0, 0, 0, 0, 0, 0, 0]);
    // PT_LOAD, readable and executable.
    file.extend([1, 0, 0, 0, 5, 0, 0, 0]);
    for word in [0, BASE, BASE, length, length, 0x1000] {
        file.extend(word.to_le_bytes());
    }
    file.extend(CODE);
    let program = scene.folder(name).join("tiny");
    // Made by another process: a descriptor that this one writes by could be inherited by a sentence that forks meanwhile,
    // and a file that is being written cannot be executed.
    let source = scene.folder(name).join("tiny.bytes");
    fs::write(&source, file)?;
    crate::scene::run(Command::new("cp").args([&source, &program]))?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755))?;
    Ok(program)
}

#[cfg(target_arch = "x86_64")]
fn tiny(scene: &Scene) -> Result<()> {
    const READERS: usize = 60;
    let name = "readers_that_live_for_microseconds_are_each_blamed";
    let key = scene.key(name);
    let program = tiny_program(scene, name)?;
    let mut pids = Vec::new();
    for _ in 0..READERS {
        let child = Command::new(&program).arg(&key).stdout(std::process::Stdio::piped()).spawn()?;
        let pid = child.id();
        let output = child.wait_with_output()?;
        ensure!(output.stdout == crate::scene::BYTES.as_bytes(), "it did not get the key: {output:?}");
        pids.push(pid);
    }
    let events = scene.settled(&key)?;
    events.exactly(READERS, "each reader")?;
    for (event, pid) in events.iter().zip(pids) {
        counts(event, "process.pid", pid)?;
        counts(event, "process.parent.pid", std::process::id())?;
        is(event, "process.executable", &program.display().to_string())?;
        alarms(event)?;
    }
    Ok(())
}

fn vforked(scene: &Scene) -> Result<()> {
    const READERS: usize = 30;
    let name = "a_vforked_child_that_reads_before_it_executes_is_blamed";
    let loot = shown(thief(scene).arg("vfork").arg(scene.key(name)).arg(READERS.to_string()))?;
    let events = scene.settled(&scene.key(name))?;
    ensure!(loot.len() == READERS && events.len() == READERS, "{} readers, {} events", loot.len(), events.len());
    for (event, reader) in events.iter().zip(&loot) {
        names(event, reader)?;
        // What its parent executed, and not what it executed a moment later.
        is(event, "process.executable", &scene.thief().display().to_string())?;
    }
    Ok(())
}

/// One reader, and one event about it.
fn one_reader(scene: &Scene, name: &str, road: &str, more: &[&str]) -> Result<dkimwatch_tests::support::Event> {
    let loot = stolen(thief(scene).arg(road).arg(scene.key(name)).args(more))?;
    blamed(scene, name, &loot)
}

fn orphan(scene: &Scene) -> Result<()> {
    // That the parent is the one that adopted it is what `blamed` compares.
    let event = one_reader(scene, "an_orphan_is_blamed_with_who_adopted_it", "orphan", &[])?;
    ensure!(event.number("process.parent.pid") != Some(u64::from(std::process::id())), "not adopted:\n{event}");
    Ok(())
}

fn sibling(scene: &Scene) -> Result<()> {
    let event = one_reader(scene, "a_child_given_to_another_parent_is_blamed", "sibling", &[])?;
    counts(&event, "process.parent.pid", std::process::id())
}

fn shared_table(scene: &Scene) -> Result<()> {
    let name = "data_through_a_shared_table_of_descriptors_is_its_readers";
    let key = scene.key(name);
    let loot = shown(thief(scene).arg("shared-table").arg(&key))?;
    let [opener, reader] = loot.as_slice() else { anyhow::bail!("two processes: {loot:?}") };
    let events = scene.settled(&key)?;
    is_open(&one_by(&events, opener)?)?;
    let limit = ["inherited-descriptor", "data-without-open"].into_iter().find(|id| scene.unseen(id));
    match limit {
        Some(limit) if events.by(reader.pid).is_empty() => scene.limited(name, limit),
        _ => is(&one_by(&events, reader)?, "event.action", "key-read")?,
    }
    events.exactly(1 + events.by(reader.pid).len(), "the opener, the reader, and nobody else")?;
    Ok(())
}

fn leaderless(scene: &Scene) -> Result<()> {
    let event = one_reader(scene, "a_process_whose_first_thread_has_ended_is_blamed", "leaderless", &[])?;
    let (pid, tid) = (event.number("process.pid"), event.number("process.thread.id"));
    ensure!(pid != tid, "the first thread read:\n{event}");
    Ok(())
}

fn thread_replaced(scene: &Scene) -> Result<()> {
    let name = "a_thread_that_reads_and_replaces_its_process_is_blamed_as_what_it_was";
    one_reader(scene, name, "thread-replaced", &[]).map(drop)
}

fn thread_executes(scene: &Scene) -> Result<()> {
    let event = one_reader(scene, "a_program_that_a_thread_executed_is_blamed", "thread-executes", &[])?;
    let (pid, tid) = (event.number("process.pid"), event.number("process.thread.id"));
    ensure!(pid == tid, "it took over the first thread's number:\n{event}");
    Ok(())
}

fn thread_of_another_user(scene: &Scene) -> Result<()> {
    let name = "a_thread_that_became_another_user_is_that_user";
    let event = one_reader(scene, name, "thread-of-another-user", &[&NOBODY.to_string()])?;
    counts(&event, "user.id", NOBODY)?;
    counts(&event, "process.real_user.id", NOBODY)
}

fn effective_user(scene: &Scene) -> Result<()> {
    let name = "a_reader_with_another_effective_user_has_both";
    let event = one_reader(scene, name, "effective-user", &[&NOBODY.to_string()])?;
    counts(&event, "user.id", 0)?;
    counts(&event, "user.effective.id", NOBODY)
}

fn setuid_between(scene: &Scene) -> Result<()> {
    let name = "who_opened_is_the_user_that_it_was_then";
    let event = one_reader(scene, name, "setuid-between", &[&NOBODY.to_string()])?;
    counts(&event, "user.id", 0)
}

fn nested(scene: &Scene) -> Result<()> {
    let event = one_reader(scene, "a_reader_three_pid_namespaces_down_has_the_hosts_pid", "nested", &["3"])?;
    let inner = event.number("process.vpid");
    ensure!(inner == Some(1), "its own number there is {inner:?}\n{event}");
    Ok(())
}

/// A container's id, and the folders that Docker makes for it.
const CONTAINER: &str = "3f5a0c1b2d4e6f708192a3b4c5d6e7f8091a2b3c4d5e6f708192a3b4c5d6e7f8";

fn contained(scene: &Scene) -> Result<()> {
    let hierarchy = mounted("cgroup2", |_| true)?.context("the unified hierarchy is mounted nowhere")?;
    in_container(scene, "a_reader_in_a_container_is_told_with_it", &hierarchy)
}

/// The unified hierarchy has such a process at its root.
fn contained_in_version_1(scene: &Scene) -> Result<()> {
    let name = "a_reader_in_a_container_of_version_1_control_groups_is_told_with_it";
    let is_pids = |options: &str| options.split(',').any(|option| option == "pids");
    if let Some(hierarchy) = mounted("cgroup", is_pids)? {
        return in_container(scene, name, &hierarchy);
    }
    let own = scene.folder(name).join("hierarchy");
    fs::create_dir(&own)?;
    let mut mount = Command::new("mount");
    mount.args(["-t", "cgroup", "-o", "pids", "none"]).arg(&own).stderr(Stdio::null());
    if !mount.status()?.success() {
        scene.absent(name, "the controller `pids` can be mounted in no hierarchy of version 1");
        return Ok(());
    }
    let told = in_container(scene, name, &own);
    run(Command::new("umount").arg(&own))?;
    told
}

/// Where a hierarchy is mounted whose options are these (proc(5), `mountinfo`).
fn mounted(kind: &str, options: impl Fn(&str) -> bool) -> Result<Option<PathBuf>> {
    let table = fs::read_to_string("/proc/self/mountinfo")?;
    Ok(table.lines().find_map(|line| {
        let (place, system) = line.split_once(" - ")?;
        let mut words = system.split(' ');
        (words.next() == Some(kind) && options(words.nth(1)?)).then(|| place.split(' ').nth(4).map(PathBuf::from))?
    }))
}

/// A container's control group, until it is dropped.
struct Group {
    folder: PathBuf,
}

impl Group {
    fn within(hierarchy: &Path) -> Result<Self> {
        let folder = hierarchy.join("docker").join(CONTAINER);
        fs::create_dir_all(&folder)?;
        Ok(Self { folder })
    }

    /// What is executed in it is given as arguments. Hosts have managers that take away what is empty for a moment.
    fn run(&self) -> Command {
        let mut joined = Command::new("sh");
        joined.args(["-c", "mkdir -p \"$0\" && echo $$ > \"$0/cgroup.procs\" && exec \"$@\""]).arg(&self.folder);
        joined
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // Docker itself may have others beside it.
        let _ = fs::remove_dir(&self.folder);
        let _ = self.folder.parent().map(fs::remove_dir);
    }
}

fn entered(scene: &Scene) -> Result<()> {
    let name = "who_entered_a_container_is_told_from_its_own_processes";
    let hierarchy = mounted("cgroup2", |_| true)?.context("the unified hierarchy is mounted nowhere")?;
    let (group, key) = (Group::within(&hierarchy)?, scene.key(name));
    let mut first = group.run();
    first.args(["unshare", "--pid", "--fork"]).arg(scene.thief()).arg("openat").arg(&key);
    let own = stolen(&mut first)?;
    // A container that waits, and somebody who is put into it.
    let mut waits = group.run();
    waits.args(["unshare", "--pid", "--fork", "cat"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut container = waits.spawn()?;
    let mut input = container.stdin.take().context("its input")?;
    std::io::Write::write_all(&mut input, b".")?;
    std::io::Read::read_exact(&mut container.stdout.take().context("its output")?, &mut [0])?;
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", container.id()))?;
    let mut second = group.run();
    second.args(["nsenter", "--pid", "--target", children.trim()]).args(["sh", "-c", "\"$@\"; exit $?", "sh"]);
    let put = stolen(second.arg(scene.thief()).arg("openat").arg(&key));
    drop(input);
    container.wait()?;
    drop(group);
    let put = put?;
    scene.contained(&key, 2);
    let events = scene.settled(&key)?;
    for (loot, entered) in [(own, false), (put, true)] {
        let event = one_by(&events, &loot)?;
        is(&event, "container.id", CONTAINER)?;
        let told = event.field("dkimwatch.container.entered").and_then(|entered| entered.as_bool());
        ensure!(told == Some(entered), "entered: {told:?}\n{event}");
    }
    Ok(())
}

fn in_container(scene: &Scene, name: &str, hierarchy: &Path) -> Result<()> {
    let group = Group::within(hierarchy)?;
    let loot = stolen(group.run().arg(scene.thief()).arg("openat").arg(scene.key(name)));
    drop(group);
    scene.contained(&scene.key(name), 1);
    let event = scene.one(name)?;
    names(&event, &loot?)?;
    alarms(&event)?;
    is(&event, "container.runtime", "docker")?;
    is(&event, "container.id", CONTAINER)
}

#[cfg(target_arch = "x86_64")]
fn reused_pid(scene: &Scene) -> Result<()> {
    let name = "a_reused_pid_is_another_process";
    let key = scene.key(name);
    let program = tiny_program(scene, name)?;
    let reader = stolen_twice(scene, &key, &program)?;
    let events = scene.settled(&key)?.by(reader.pid);
    events.exactly(2, "two processes of one pid")?;
    let mut told = events.iter();
    let (first, second) = told.next().zip(told.next()).context("two events")?;
    is(first, "process.executable", &program.display().to_string())?;
    is(second, "process.executable", &scene.thief().display().to_string())?;
    names(second, &reader)?;
    let (before, after) = (first.text("process.entity_id"), second.text("process.entity_id"));
    ensure!(before.is_some() && before != after, "one identity for two processes: {before:?}\n{events}");
    Ok(())
}

#[cfg(target_arch = "x86_64")]
fn stolen_twice(scene: &Scene, key: &std::path::Path, program: &std::path::Path) -> Result<crate::loot::Loot> {
    let loot = shown(thief(scene).arg("reused-pid").arg(key).arg(program))?;
    let [first, second] = loot.as_slice() else { anyhow::bail!("two readers: {loot:?}") };
    ensure!(first.pid == second.pid && first.has_key() && second.has_key(), "{loot:?}");
    Ok(second.clone())
}

fn other_arguments(scene: &Scene) -> Result<()> {
    let name = "a_reader_that_rewrote_its_command_line_is_a_stranger";
    let event = one_reader(scene, name, "other-arguments", &["/usr/sbin/opendkim"])?;
    let args = event.field("process.args").cloned().unwrap_or_default();
    ensure!(args.get(0).is_some_and(|first| first == "/usr/sbin/opendkim"), "what it showed then: {args}");
    Ok(())
}

fn other_executable(scene: &Scene) -> Result<()> {
    let name = "a_reader_that_lies_about_its_executable_is_found_out";
    let mut road = thief(scene);
    road.arg("other-executable").arg(scene.key(name)).arg(scene.signer()).uid(NOBODY).gid(NOBODY);
    let loot = stolen(&mut road)?;
    let event = blamed(scene, name, &loot)?;
    is(&event, "rule.id", "stranger/disguise")?;
    counts(&event, "user.id", NOBODY)
}
