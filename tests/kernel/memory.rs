//! A key in the memory of who holds it.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Events};

use crate::{
    Sentence,
    loot::{Loot, names, stolen, thief},
    scene::{BYTES, NOBODY, Scene, alarms, counts, is, run},
};
use std::os::unix::process::CommandExt as _;

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_tracer_that_attaches_and_peeks_is_blamed", attached),
    ("a_tracer_that_seizes_and_peeks_is_blamed", seized),
    ("a_child_that_asks_to_be_traced_hands_its_parent_the_key", traced_child),
    ("proc_pid_mem_leads_to_the_key", proc_mem),
    ("proc_pid_mem_opened_for_writing_leads_to_the_key", proc_mem_write),
    ("process_vm_readv_leads_to_the_key", vm_read),
    ("process_vm_readv_of_a_thread_leads_to_the_key", vm_read_of_thread),
    ("pidfd_getfd_leads_to_the_key", taken_descriptor),
    ("a_signal_that_dumps_core_is_blamed_on_its_sender", core_by_signal),
    ("a_forked_child_holds_what_its_parent_read", forked_holder),
    ("a_signer_that_has_not_read_its_key_yet_is_watched", idle_signer),
    ("a_tracer_that_was_there_before_the_signer_is_blamed", traced_before),
    ("another_users_memory_that_is_refused_is_an_attempt", refused),
];

/// A debugger takes ten seconds to start in a guest; what it does to a process, others do above.
pub(crate) const BY_DEBUGGER: &[Sentence] = &[("a_debuggers_core_of_a_holder_is_blamed_on_the_debugger", gcore)];

pub(crate) const SILENT: &[Sentence] = &[
    ("what_ps_and_lsof_read_of_a_holder_is_no_access", looked_at),
    ("tools_that_look_at_a_holder_are_silent", tools),
    ("signals_that_dump_nothing_are_no_access", harmless_signals),
    ("a_program_that_a_holder_executes_holds_nothing", executed),
];

/// A process with the sentence's key in memory.
struct Holder {
    child: Child,
    /// Where it has the key: address, length, as the thief takes them.
    place: [String; 2],
    descriptor: String,
    thread: String,
}

impl Holder {
    fn start(scene: &Scene, name: &str) -> Result<Self> {
        let mut command = thief(scene);
        command.arg("hold").arg(scene.key(name)).current_dir(scene.folder(name));
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let mut line = String::new();
        BufReader::new(child.stdout.take().context("its output")?).read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let [address, length, descriptor, thread] = words.as_slice() else { anyhow::bail!("the holder said {line:?}") };
        ensure!(*length == BYTES.len().to_string(), "the holder holds {length} bytes");
        let place = [(*address).to_owned(), (*length).to_owned()];
        Ok(Self { child, place, descriptor: (*descriptor).to_owned(), thread: (*thread).to_owned() })
    }

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn end(mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}

/// Everything said about a process's deeds to the sentence's key.
fn by(scene: &Scene, name: &str, pid: u32) -> Result<Events> {
    Ok(scene.settled(&scene.key(name))?.by(pid))
}

/// The event is about the holder's memory.
fn reached(event: &Event, deed: &str, holder: u32) -> Result<()> {
    is(event, "event.action", "signer-memory-accessed")?;
    let told = event.text("dkimwatch.deed");
    ensure!(told == Some(deed), "the deed is {told:?}, not {deed}\n{event}");
    counts(event, "dkimwatch.other.pid", holder)
}

/// A thief that takes the key from a holder by this road is told of once, and nobody else is but the holder.
fn taken(scene: &Scene, name: &'static str, road: &str, deed: &str, whose: fn(&Holder) -> Vec<String>) -> Result<()> {
    let holder = Holder::start(scene, name)?;
    let loot = stolen(thief(scene).arg(road).args(whose(&holder)))?;
    let events = scene.settled(&scene.key(name))?;
    told(&events, scene, &loot, deed, holder.pid())?;
    events.by(loot.pid).exactly(1, "one event for one deed")?;
    events.exactly(1 + events.by(holder.pid()).len(), "somebody else was blamed")?;
    holder.end()
}

fn told(events: &Events, scene: &Scene, loot: &Loot, deed: &str, holder: u32) -> Result<()> {
    let event = events.by(loot.pid).only(|event| event.action() == "signer-memory-accessed");
    let event = event.one("by the thief")?.clone();
    reached(&event, deed, holder)?;
    names(&event, loot)?;
    alarms(&event)?;
    is(&event, "process.executable", &scene.thief().display().to_string())
}

fn place_of(holder: &Holder) -> Vec<String> {
    [&[holder.pid().to_string()][..], &holder.place].concat()
}

fn attached(scene: &Scene) -> Result<()> {
    taken(scene, "a_tracer_that_attaches_and_peeks_is_blamed", "ptrace-attach", "ptrace", place_of)
}

fn seized(scene: &Scene) -> Result<()> {
    taken(scene, "a_tracer_that_seizes_and_peeks_is_blamed", "ptrace-seize", "ptrace", place_of)
}

fn traced_child(scene: &Scene) -> Result<()> {
    let name = "a_child_that_asks_to_be_traced_hands_its_parent_the_key";
    let loot = stolen(thief(scene).arg("ptrace-me").arg(scene.key(name)))?;
    let events = by(scene, name, loot.pid)?;
    let event = events.only(|event| event.action() == "signer-memory-accessed").one("by the parent")?.clone();
    is(&event, "dkimwatch.deed", "ptrace")?;
    names(&event, &loot)?;
    ensure!(event.number("dkimwatch.other.pid") != Some(u64::from(loot.pid)), "the child:\n{event}");
    events.exactly(2, "its own open, and that")?;
    Ok(())
}

fn proc_mem(scene: &Scene) -> Result<()> {
    taken(scene, "proc_pid_mem_leads_to_the_key", "proc-mem", "proc-mem", place_of)
}

fn proc_mem_write(scene: &Scene) -> Result<()> {
    taken(scene, "proc_pid_mem_opened_for_writing_leads_to_the_key", "proc-mem-write", "proc-mem", place_of)
}

fn vm_read(scene: &Scene) -> Result<()> {
    taken(scene, "process_vm_readv_leads_to_the_key", "vm-read", "process-vm", place_of)
}

fn vm_read_of_thread(scene: &Scene) -> Result<()> {
    taken(scene, "process_vm_readv_of_a_thread_leads_to_the_key", "vm-read", "process-vm", |holder| {
        [std::slice::from_ref(&holder.thread), &holder.place].concat()
    })
}

fn taken_descriptor(scene: &Scene) -> Result<()> {
    let name = "pidfd_getfd_leads_to_the_key";
    let holder = Holder::start(scene, name)?;
    let [_, length] = &holder.place;
    let words = [holder.pid().to_string(), holder.descriptor.clone(), length.clone()];
    let loot = stolen(thief(scene).arg("take-descriptor").args(words))?;
    let events = scene.settled(&scene.key(name))?;
    told(&events, scene, &loot, "pidfd-getfd", holder.pid())?;
    // What it then reads by the descriptor is another deed, where that can be seen.
    let reads = events.by(loot.pid).only(|event| event.action() == "key-read");
    ensure!(events.by(loot.pid).len() == 1 + reads.len() && reads.len() <= 1, "nothing else:\n{events}");
    holder.end()
}

fn gcore(scene: &Scene) -> Result<()> {
    let name = "a_debuggers_core_of_a_holder_is_blamed_on_the_debugger";
    let holder = Holder::start(scene, name)?;
    let core = scene.folder(name).join("dump");
    let output = Command::new("gcore").arg("-o").arg(&core).arg(holder.pid().to_string()).output();
    let output = match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            scene.absent(name, "gdb is not installed");
            return holder.end();
        }
        other => other.context("gcore")?,
    };
    let core = scene.folder(name).join(format!("dump.{}", holder.pid()));
    ensure!(holds_key(&core)?, "no key in the core: {output:?}");
    let events = scene.settled(&scene.key(name))?;
    let event = events.only(|event| event.pid() != Some(holder.pid())).one("by the debugger")?.clone();
    is(&event, "event.action", "signer-memory-accessed")?;
    is(&event, "process.name", "gdb")?;
    counts(&event, "dkimwatch.other.pid", holder.pid())?;
    alarms(&event)?;
    holder.end()
}

fn holds_key(core: &Path) -> Result<bool> {
    let core = fs::read(core).with_context(|| core.display().to_string())?;
    Ok(core.windows(BYTES.len()).any(|window| window == BYTES.as_bytes()))
}

fn core_by_signal(scene: &Scene) -> Result<()> {
    const SIGABRT: &str = "6";
    let name = "a_signal_that_dumps_core_is_blamed_on_its_sender";
    let pattern = fs::read_to_string("/proc/sys/kernel/core_pattern")?;
    let mut holder = Holder::start(scene, name)?;
    let pid = holder.pid();
    let sender = run(thief(scene).args(["signal", &pid.to_string(), SIGABRT]))?;
    holder.child.wait()?;
    if pattern.trim() == "core" {
        let folder = scene.folder(name);
        let core = [folder.join("core"), folder.join(format!("core.{pid}"))].into_iter().find(|core| core.exists());
        ensure!(holds_key(&core.context("no core")?)?, "no key in the core");
    }
    let events = scene.settled(&scene.key(name))?;
    let event = events.by(sender).one("by the sender")?.clone();
    reached(&event, "core-signal", pid)?;
    is(&event, "process.executable", &scene.thief().display().to_string())?;
    events.exactly(1 + events.by(pid).len(), "the sender alone")?;
    ensure!(events.by(pid).only(|event| event.action() == "signer-memory-accessed").is_empty(), "once:\n{events}");
    Ok(())
}

fn forked_holder(scene: &Scene) -> Result<()> {
    // The child never opened anything: what it has, it has by fork(2). `ptrace-me` is that as well, from the inside.
    let name = "a_forked_child_holds_what_its_parent_read";
    let script = "read -r line < \"$1\"; exec 3<&0; (read -r wait <&3) & echo $!; wait";
    let mut parent = Command::new("bash")
        .args(["-c", script, "bash"])
        .arg(scene.key(name))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut child = String::new();
    BufReader::new(parent.stdout.take().context("its output")?).read_line(&mut child)?;
    let child: u32 = child.trim().parse()?;
    let maps = fs::read_to_string(format!("/proc/{child}/maps"))?;
    let heap = maps.lines().find(|line| line.ends_with("[heap]")).context("no heap")?;
    let address = u64::from_str_radix(heap.split('-').next().unwrap_or_default(), 16)?;
    let thief_pid = run(thief(scene).args(["vm-read", &child.to_string(), &address.to_string(), "64"]))?;
    let event = by(scene, name, thief_pid)?.one("by the thief")?.clone();
    reached(&event, "process-vm", child)?;
    parent.kill()?;
    parent.wait()?;
    Ok(())
}

fn idle_signer(scene: &Scene) -> Result<()> {
    let name = "a_signer_that_has_not_read_its_key_yet_is_watched";
    let mut signer = Command::new(scene.signer());
    signer.arg("--each").uid(crate::scene::SIGNER_UID).gid(crate::scene::SIGNER_UID);
    let mut signer = signer.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
    let pid = signer.id();
    // It has let go of the old program before it has mapped the new one.
    let deadline = Instant::now() + crate::scene::PATIENCE;
    let address = loop {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        if let Some(first) = maps.lines().find(|line| line.contains("r--p") || line.contains("r-xp")) {
            break u64::from_str_radix(first.split('-').next().unwrap_or_default(), 16)?;
        }
        ensure!(Instant::now() < deadline, "no mapping");
        std::thread::yield_now();
    };
    let reader = run(thief(scene).args(["proc-mem", &pid.to_string(), &address.to_string(), "64"]))?;
    scene.settled(&scene.key(name))?;
    let events = scene.watch.events_where(|event| event.pid() == Some(reader));
    let event = events.one("by the thief")?.clone();
    reached(&event, "proc-mem", pid)?;
    alarms(&event)?;
    signer.kill()?;
    signer.wait()?;
    Ok(())
}

/// Who traces a process before it is a signer, and has let go of it when it opens its key.
fn traced_before(scene: &Scene) -> Result<()> {
    let name = "a_tracer_that_was_there_before_the_signer_is_blamed";
    let mut tracer = Command::new(scene.thief());
    tracer.uid(crate::scene::SIGNER_UID).gid(crate::scene::SIGNER_UID);
    let loot = stolen(tracer.arg("trace-before").arg(scene.victim()).arg("openat").arg(scene.key(name)))?;
    let events = scene.settled(&scene.key(name))?;
    is(events.by(loot.pid).one("by the signer")?, "event.action", "key-opened")?;
    let events = scene.watch.events_where(|event| event.pid() == Some(loot.parent));
    let event = events.one("by its tracer")?;
    reached(event, "ptrace", loot.pid)?;
    is(event, "process.executable", &scene.thief().display().to_string())?;
    alarms(event)
}

fn refused(scene: &Scene) -> Result<()> {
    let name = "another_users_memory_that_is_refused_is_an_attempt";
    let holder = Holder::start(scene, name)?;
    let mut road = thief(scene);
    road.arg("vm-read").args(place_of(&holder)).uid(NOBODY).gid(NOBODY);
    let attempt = road.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    let pid = attempt.id();
    let output = attempt.wait_with_output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(!output.status.success() && said.contains("not permitted"), "it was not refused: {said}");
    // Its ring is another than the sentinel's.
    let event = scene.watch.wait_for("the attempt", crate::scene::PATIENCE, |event| event.pid() == Some(pid))?;
    reached(&event, "process-vm", holder.pid())?;
    is(&event, "event.outcome", "failure")?;
    counts(&event, "user.id", NOBODY)?;
    ensure!(by(scene, name, pid)?.len() == 1, "one attempt");
    holder.end()
}

/// Nothing but what the holder did itself.
fn silent(scene: &Scene, name: &str, holder: &Holder) -> Result<()> {
    let events = scene.settled(&scene.key(name))?;
    let others = events.only(|event| event.pid() != Some(holder.pid()));
    ensure!(others.is_empty(), "somebody was blamed:\n{others}");
    let memory = scene.watch.events_where(|event| {
        event.action() == "signer-memory-accessed"
            && event.number("dkimwatch.other.pid") == Some(u64::from(holder.pid()))
    });
    ensure!(memory.is_empty(), "somebody was blamed:\n{memory}");
    Ok(())
}

fn looked_at(scene: &Scene) -> Result<()> {
    let name = "what_ps_and_lsof_read_of_a_holder_is_no_access";
    let holder = Holder::start(scene, name)?;
    for _ in 0..20 {
        run(thief(scene).args(["look", &holder.pid().to_string()]))?;
    }
    silent(scene, name, &holder)?;
    holder.end()
}

fn tools(scene: &Scene) -> Result<()> {
    let name = "tools_that_look_at_a_holder_are_silent";
    let holder = Holder::start(scene, name)?;
    let pid = holder.pid().to_string();
    run(Command::new("ps").args(["auxwwe"]))?;
    run(Command::new("ps").args(["-L", "-o", "pid,wchan,stat,args", "-p", &pid]))?;
    // Of these, what is installed here.
    for words in [["top", "-bn1", "-p", &pid].as_slice(), &["lsof", "-p", &pid], &["pidof", "thief"]] {
        let [program, arguments @ ..] = words else { continue };
        match Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| (*program).to_owned()),
        }
    }
    silent(scene, name, &holder)?;
    holder.end()
}

fn harmless_signals(scene: &Scene) -> Result<()> {
    let name = "signals_that_dump_nothing_are_no_access";
    let holder = Holder::start(scene, name)?;
    // 0, SIGSTOP, SIGCONT, SIGURG, SIGWINCH, and at last SIGTERM.
    for signal in ["0", "19", "18", "23", "28", "15"] {
        run(thief(scene).args(["signal", &holder.pid().to_string(), signal]))?;
    }
    silent(scene, name, &holder)?;
    holder.end()
}

fn executed(scene: &Scene) -> Result<()> {
    let name = "a_program_that_a_holder_executes_holds_nothing";
    let script = "read -r line < \"$1\"; echo; exec sleep 600";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(scene.key(name));
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let pid = child.id();
    BufReader::new(child.stdout.take().context("its output")?).read_line(&mut String::new())?;
    // Its name is the new one before its memory is.
    let mapped = loop {
        let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
        if let Some(line) = maps.lines().find(|line| line.ends_with("/sleep")) {
            break line.to_owned();
        }
        std::thread::yield_now();
    };
    let address = u64::from_str_radix(mapped.split('-').next().unwrap_or_default(), 16)?;
    let reader = run(thief(scene).args(["vm-read", &pid.to_string(), &address.to_string(), "64"]))?;
    let events = by(scene, name, reader)?;
    ensure!(events.is_empty(), "its memory holds no key any more:\n{events}");
    child.kill()?;
    child.wait()?;
    Ok(())
}
