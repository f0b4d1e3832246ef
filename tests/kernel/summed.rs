//! Expected opens are counted by the kernel side and told in sum; whatever makes a process another one than was judged makes its
//! next open an event of its own again.

use std::{fs, os::unix::fs::PermissionsExt as _, path::PathBuf, process::Command, sync::PoisonError, thread};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Service, Steady};

use crate::{Sentence, scene::Scene};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_signers_opens_are_counted_and_none_is_lost", exact),
    ("a_counted_signers_thread_becomes_another_user", another_user),
    ("a_counted_signer_is_moved_to_another_control_group", another_cgroup),
    ("a_counted_signer_enters_another_mount_namespace", another_namespace),
    ("a_counted_signer_is_traced", traced),
    ("a_counted_signers_memory_is_read", memory_read),
    ("a_counted_signer_maps_foreign_code", foreign_code),
    ("a_counted_signer_executes_itself", executes),
    ("a_counted_signer_forks", forks),
    ("a_counted_signer_opens_its_key_for_writing", writes),
    ("a_counted_signer_opens_another_key", another_key),
    ("a_counted_signers_key_is_rotated", rotated),
    ("a_counted_signers_program_is_renamed", renamed),
];

/// It ends the service of the others.
pub(crate) const ENDINGS: &[Sentence] = &[("the_process_that_started_the_watch_may_end_it", parent)];

/// A service for all of these but the first: an emulated machine takes ten seconds to start one.
#[derive(Debug)]
pub(crate) struct Signing(Service);

/// A signer whose opens are counted by now does something, and opens its key again: that open is an event of its own, and the next
/// ones are not.
fn told_again(
    scene: &Scene,
    name: &'static str,
    verdict: &str,
    change: impl FnOnce(&Service, &mut Steady, &str) -> Result<()>,
) -> Result<Event> {
    let mut signing = scene.signing.lock().unwrap_or_else(PoisonError::into_inner);
    if signing.is_none() {
        let names: Vec<&str> = SENTENCES.iter().map(|(name, _)| *name).collect();
        *signing = Some(Signing(Service::start(&scene.thief(), &names, "")?));
    }
    let Signing(service) = signing.as_ref().context("a service")?;
    let mut signer = service.signer()?;
    let key = service.key(name).display().to_string();
    service.until_counted(&mut signer, name)?;
    let before = service.opens(name)?;
    signer.ask(&format!("open {key} 3"))?;
    ensure!(service.opens(name)?.len() == before.len(), "it was not counted before");
    change(service, &mut signer, &key)?;
    let after = service.opens(name)?;
    let news: Vec<&Event> = after.iter().skip(before.len()).collect();
    ensure!(!news.is_empty(), "it is counted still");
    let [one] = news.as_slice() else { anyhow::bail!("{} events for one open", news.len()) };
    ensure!(one.verdict() == verdict, "{one}");
    if verdict == "expected" {
        service.until_counted(&mut signer, name)?;
    }
    Ok((*one).clone())
}

fn open(signer: &mut Steady, key: &str) -> Result<()> {
    signer.ask(&format!("open {key} 1")).map(drop)
}

fn exact(scene: &Scene) -> Result<()> {
    scene.end_service()?;
    let service = Service::start(&scene.thief(), &["key", "other"], "")?;
    let mut signer = service.signer()?;
    let mut opened = service.until_counted(&mut signer, "key")?;
    for threads in [1, 4] {
        opened += signer.ask(&format!("flood {} {threads} 300", service.key("key").display()))?;
    }
    let (key, pid) = (service.key("key"), signer.pid());
    drop(signer);
    let (watched, events) = service.stop()?;
    let lost = watched.events.only(crate::scene::is_loss);
    ensure!(lost.is_empty(), "{lost}");
    let full = events.iter().filter(|event| event.action() == "key-opened" && event.pid() == Some(pid)).count() as u64;
    let sums: Vec<&Event> = events.iter().filter(|event| event.action() == "key-opens-summarised").collect();
    let counted: u64 = sums.iter().filter_map(|event| event.number("dkimwatch.summarised.count")).sum();
    // A kernel that preempts itself keeps others out of a program that somebody was preempted in, and counts that.
    let passed = watched.events.only(|event| event.text("dkimwatch.lost.why") == Some("passed-by"));
    let passed: u64 = passed.iter().filter_map(|event| event.number("dkimwatch.lost.count")).sum();
    let told = full + counted;
    let context = || format!("{opened} opens, {full} events, {counted} counted, {passed} passed by: {sums:?}");
    ensure!(told <= opened && told + passed >= opened, "{}", context());
    ensure!(full < 100 && sums.iter().all(|sum| sum.is_about(&key)), "{full} events; {sums:?}");
    Ok(())
}

fn another_user(scene: &Scene) -> Result<()> {
    let one = told_again(scene, "a_counted_signers_thread_becomes_another_user", "expected", |_, signer, key| {
        signer.ask(&format!("as 77 {key}")).map(drop)
    })?;
    ensure!(one.text("user.id") == Some("77"), "{one}");
    Ok(())
}

/// A control group of our own, removed with this.
struct Group(PathBuf);

impl Group {
    /// In the hierarchy that a process's group is told from.
    fn make() -> Option<Self> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/pids"];
        let root = roots.iter().map(PathBuf::from).find(|root| root.join("cgroup.procs").exists())?;
        let group = Self(root.join(format!("dkimwatch-{}", std::process::id())));
        fs::create_dir(&group.0).ok().map(|()| group)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last process has only just ended.
        for _ in 0..100 {
            if fs::remove_dir(&self.0).is_ok() {
                break;
            }
            thread::park_timeout(std::time::Duration::from_millis(20));
        }
    }
}

fn another_cgroup(scene: &Scene) -> Result<()> {
    let name = "a_counted_signer_is_moved_to_another_control_group";
    let Some(group) = Group::make() else {
        scene.absent(name, "there is no control group to be made");
        return Ok(());
    };
    told_again(scene, name, "expected", |_, signer, key| {
        fs::write(group.0.join("cgroup.procs"), signer.pid().to_string()).context("move it")?;
        open(signer, key)
    })
    .map(drop)
}

fn another_namespace(scene: &Scene) -> Result<()> {
    told_again(scene, "a_counted_signer_enters_another_mount_namespace", "expected", |_, signer, key| {
        signer.ask("namespace")?;
        open(signer, key)
    })
    .map(drop)
}

fn traced(scene: &Scene) -> Result<()> {
    let one = told_again(scene, "a_counted_signer_is_traced", "unexpected", |_, signer, key| {
        let pid = i32::try_from(signer.pid())?;
        // SAFETY: a call without pointers. It ends with this process, or when the signer does.
        ensure!(unsafe { libc::ptrace(libc::PTRACE_SEIZE, pid, 0, 0) } == 0, "{}", std::io::Error::last_os_error());
        open(signer, key)
    })?;
    ensure!(one.text("rule.id") == Some("signer-mismatch/traced"), "{one}");
    Ok(())
}

fn memory_read(scene: &Scene) -> Result<()> {
    told_again(scene, "a_counted_signers_memory_is_read", "expected", |_, signer, key| {
        let memory = fs::File::open(format!("/proc/{}/mem", signer.pid())).context("its memory")?;
        drop(memory);
        open(signer, key)
    })
    .map(drop)
}

fn foreign_code(scene: &Scene) -> Result<()> {
    let library = scene.hijacker().display().to_string();
    let one = told_again(scene, "a_counted_signer_maps_foreign_code", "unexpected", |_, signer, key| {
        signer.ask(&format!("map {library}"))?;
        open(signer, key)
    })?;
    ensure!(one.text("rule.id") == Some("signer-mismatch/library"), "{one}");
    Ok(())
}

fn executes(scene: &Scene) -> Result<()> {
    told_again(scene, "a_counted_signer_executes_itself", "expected", |_, signer, key| {
        signer.ask("exec")?;
        open(signer, key)
    })
    .map(drop)
}

fn forks(scene: &Scene) -> Result<()> {
    let mut parent = 0;
    let one = told_again(scene, "a_counted_signer_forks", "expected", |_, signer, key| {
        parent = signer.pid();
        signer.ask(&format!("fork {key}")).map(drop)
    })?;
    ensure!(one.pid() != Some(parent), "{one}");
    Ok(())
}

fn writes(scene: &Scene) -> Result<()> {
    let name = "a_counted_signer_opens_its_key_for_writing";
    let one = told_again(scene, name, "unexpected", |_, signer, key| signer.ask(&format!("write {key}")).map(drop))?;
    ensure!(one.text("rule.id") == Some("signer-mismatch/writes"), "{one}");
    Ok(())
}

fn another_key(scene: &Scene) -> Result<()> {
    let name = "a_counted_signer_opens_another_key";
    let mut both = None;
    // Its own key, which nothing has happened to, is told in sum still.
    let one = told_again(scene, name, "expected", |service, signer, key| {
        let other = service.key(SENTENCES.first().context("a sentence")?.0).display().to_string();
        open(signer, &other)?;
        let events = service.events()?;
        let told = |event: &&Event| event.action() == "key-opened" && event.pid() == Some(signer.pid());
        both = Some(events.iter().filter(told).any(|event| event.is_about(other.as_ref())));
        open(signer, key)?;
        // What `told_again` looks for.
        signer.ask("exec")?;
        open(signer, key)
    })?;
    ensure!(both == Some(true), "the other key's open is no event: {one}");
    Ok(())
}

fn rotated(scene: &Scene) -> Result<()> {
    told_again(scene, "a_counted_signers_key_is_rotated", "expected", |_, signer, key| {
        let new = format!("{key}.new");
        fs::write(&new, "another key\n")?;
        fs::set_permissions(&new, fs::Permissions::from_mode(0o644))?;
        fs::rename(&new, key)?;
        open(signer, key)
    })
    .map(drop)
}

/// By the name that it was executed by, somebody has put another program.
fn renamed(scene: &Scene) -> Result<()> {
    let name = "a_counted_signers_program_is_renamed";
    let signing = scene.signing.lock().unwrap_or_else(PoisonError::into_inner);
    let Some(Signing(service)) = signing.as_ref() else {
        scene.absent(name, "it was asked for alone");
        return Ok(());
    };
    let mut signer = service.signer()?;
    let key = service.key(name);
    service.until_counted(&mut signer, name)?;
    let before = service.opens(name)?.len();
    let folder = service.journal().parent().context("a folder")?.to_owned();
    fs::create_dir(folder.join("elsewhere"))?;
    ensure!(Command::new("mv").arg(folder.join("signer")).arg(folder.join("elsewhere")).status()?.success(), "mv");
    open(&mut signer, &key.display().to_string())?;
    let after = service.opens(name)?.len();
    // Whoever comes after this wants it.
    fs::rename(folder.join("elsewhere/signer"), folder.join("signer"))?;
    ensure!(after == before + 1, "it is counted still");
    Ok(())
}

fn parent(scene: &Scene) -> Result<()> {
    let signing = scene.signing.lock().unwrap_or_else(PoisonError::into_inner).take();
    let Some(Signing(service)) = signing else {
        scene.absent("the_process_that_started_the_watch_may_end_it", "it was asked for alone");
        return Ok(());
    };
    let (watched, events) = service.stop()?;
    let ends = |event: &&Event| event.text("rule.id") == Some("monitor/parent");
    let event = events.iter().find(ends).context("by its parent")?;
    ensure!(event.action() == "monitor-tampered" && event.verdict() == "maintenance", "{event}");
    ensure!(!event.is_alert() && event.pid() == Some(std::process::id()), "{event}");
    watched
        .events
        .only(|event| event.is_alert() && event.text("rule.id") == Some("monitor/signal"))
        .exactly(0, "no alert")
}
