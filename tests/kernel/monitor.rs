//! Hands on the watch itself: its process, its memory, what it has in the kernel, its configuration, its journal.

use std::{
    fs,
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::MutexGuard,
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Missing, Watch, WatchCommand};

use crate::{
    Sentence,
    loot::{done, thief},
    scene::{BYTES, NOBODY, PATIENCE, Scene, alarms, counts, is, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("a_watch_that_a_stranger_stops_says_so_when_it_goes_on", stopped),
    ("a_watch_that_is_traced_says_so", traced),
    ("a_watch_that_somebody_may_not_trace_says_so", trace_refused),
    ("a_map_of_the_watch_that_is_altered_is_told", map_altered),
    ("a_ring_of_the_watch_that_is_mapped_to_be_written_is_told", ring_mapped),
    ("a_link_of_the_watch_that_somebody_tries_to_detach_is_told", link_detached),
    ("a_configuration_that_is_edited_is_told", config_edited),
    ("a_configuration_that_is_replaced_is_told", config_replaced),
    ("a_journal_that_is_written_to_is_told", journal_written),
    ("a_journals_file_that_is_cut_is_told", journal_cut),
    ("a_journals_file_that_is_deleted_is_told", journal_deleted),
    ("a_journal_whose_permissions_change_is_told", journal_chmod),
    ("a_journals_folder_that_is_renamed_is_told", journal_renamed),
    ("a_file_that_is_put_into_the_journal_is_told", journal_placed),
    ("a_watch_that_a_stranger_ends_says_so_before_it_ends", ended),
];

pub(crate) const SILENT: &[Sentence] = &[
    ("who_reads_configuration_and_journal_is_not_told", reading),
    ("who_lists_the_watchs_maps_is_not_told", listing),
    ("signals_that_end_nothing_are_not_told", harmless_signals),
    ("what_the_watch_does_to_its_own_is_not_told", own_deeds),
];

/// A service with a journal, for all sentences that do not end it.
pub(crate) struct Service {
    folder: tempfile::TempDir,
    watch: Watch,
}

impl Service {
    fn start() -> Result<Self> {
        let disk = std::env::var_os("DKIMWATCH_DISK").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new().prefix("dkimwatch-service-").tempdir_in(disk)?;
        let key = folder.path().join("key.private");
        fs::write(&key, BYTES)?;
        let journal = folder.path().join("journal");
        let config = format!(
            "[keys]\ndiscover = false\npaths = [{key:?}]\n[journal]\npath = {journal:?}\nsegment_size = \"1MiB\"\n"
        );
        let mut command = WatchCommand::new().service().config(config);
        if let Ok(backend) = std::env::var("DKIMWATCH_BACKEND") {
            command = command.backend(&backend);
        }
        Ok(Self { watch: command.start()?, folder })
    }

    fn journal(&self) -> PathBuf {
        self.folder.path().join("journal")
    }

    fn key(&self) -> PathBuf {
        self.folder.path().join("key.private")
    }

    /// A file of the journal's folder that is the sentence's own.
    fn own(&self, name: &str) -> Result<PathBuf> {
        let path = self.journal().join(name);
        fs::write(&path, "of no segment\n")?;
        Ok(path)
    }

    /// The segment that it writes.
    fn segment(&self) -> Result<PathBuf> {
        let mut found: Vec<PathBuf> =
            fs::read_dir(self.journal())?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
        found.retain(|path| path.extension().is_some_and(|extension| extension == "dkj"));
        found.sort();
        found.pop().context("a segment")
    }

    fn pid(&self) -> String {
        self.watch.pid().to_string()
    }

    /// Waits until all that happened before is told: a stranger's open is told after another one's.
    fn settled(&self) -> Result<()> {
        for _ in 0..2 {
            let pid = run(Command::new("cat").arg(self.key()))?;
            self.watch.wait_for("a reader", PATIENCE, |event| event.pid() == Some(pid))?;
        }
        Ok(())
    }
}

impl Scene {
    fn service(&self) -> Result<MutexGuard<'_, Option<Service>>> {
        let mut service = self.service.lock().map_err(|_| anyhow::anyhow!("the lock is poisoned"))?;
        if service.is_none() {
            *service = Some(Service::start()?);
        }
        Ok(service)
    }

    /// What the service says of a process's deed to the watch. Where the watch had named a limit, it need not say anything.
    fn tampered(
        &self,
        name: &'static str,
        pid: u32,
        part: &str,
        deed: &str,
        limit: Option<&'static str>,
    ) -> Result<()> {
        let service = self.service()?;
        let service = service.as_ref().context("a service")?;
        let limit = limit.filter(|limit| self.unseen(limit));
        let patience = if limit.is_some() { Duration::from_secs(5) } else { PATIENCE };
        let wanted = |event: &Event| is_tampering(event) && event.pid() == Some(pid);
        let event = match (service.watch.wait_for("monitor-tampered", patience, wanted), limit) {
            (Err(error), Some(limit)) if error.is::<Missing>() => {
                self.limited(name, limit);
                return Ok(());
            }
            (event, _) => event?,
        };
        alarms(&event)?;
        is(&event, "dkimwatch.monitor.part", part)?;
        is(&event, "rule.id", &format!("monitor/{part}").replace("/process", "/signal"))
            .or_else(|_| is(&event, "rule.id", "monitor/memory"))?;
        let told = event.text("dkimwatch.deed").unwrap_or("none");
        ensure!(told == deed, "the deed is {told}, not {deed}\n{event}");
        Ok(())
    }

    /// Ends the service: with its hooks beside those of others, an emulated machine takes twice as long for everything.
    pub(crate) fn end_service(&self) -> Result<()> {
        self.service.lock().map_err(|_| anyhow::anyhow!("the lock is poisoned"))?.take();
        Ok(())
    }

    fn with_service<T>(&self, body: impl FnOnce(&Service) -> Result<T>) -> Result<T> {
        let service = self.service()?;
        body(service.as_ref().context("a service")?)
    }
}

fn is_tampering(event: &Event) -> bool {
    event.action() == "monitor-tampered"
}

fn kill(signal: &str, pid: &str) -> Result<u32> {
    run(Command::new("sh").args(["-c", "exec kill \"$0\" \"$1\"", signal, pid]).env("PATH", "/usr/bin:/bin"))
}

fn ended(_: &Scene) -> Result<()> {
    let service = Service::start()?;
    let pid = kill("-TERM", &service.pid())?;
    let event =
        service.watch.wait_for("the signal", PATIENCE, |event| is_tampering(event) && event.pid() == Some(pid))?;
    alarms(&event)?;
    counts(&event, "dkimwatch.signal.number", 15)?;
    counts(&event, "dkimwatch.other.pid", service.watch.pid())?;
    is(&event, "rule.id", "monitor/signal")?;
    is(&event, "dkimwatch.signal.name", "SIGTERM")?;
    let journal = service.journal();
    // Ended already: the last line is `watch-stopped`, or this fails.
    let watched = service.watch.stop()?;
    watched.events.only(|event| is_tampering(event) && event.pid() == Some(pid)).one("one signal")?;
    let mut recorded = Vec::new();
    for read in dkimwatch::record::entries(&journal, None)? {
        if let dkimwatch::record::ReadOut::Entry(entry) = read? {
            recorded.push(Event::parse(str::from_utf8(&entry.event)?)?.action().to_owned());
        }
    }
    let at = |action: &str| {
        recorded.iter().rposition(|one| one == action).with_context(|| format!("{action} in {recorded:?}"))
    };
    ensure!(at("monitor-tampered")? < at("watch-stopped")?, "{recorded:?}");
    Ok(())
}

fn stopped(scene: &Scene) -> Result<()> {
    let name = "a_watch_that_a_stranger_stops_says_so_when_it_goes_on";
    let pid = scene.with_service(|service| {
        let pid = kill("-STOP", &service.pid())?;
        let stat = fs::read_to_string(format!("/proc/{}/stat", service.pid()))?;
        let state = stat.rsplit(')').next().unwrap_or_default().trim().to_owned();
        kill("-CONT", &service.pid())?;
        ensure!(state.starts_with('T'), "it was not stopped: {state}");
        Ok(pid)
    })?;
    scene.tampered(name, pid, "process", "signal", Some("monitor-signal"))
}

fn traced(scene: &Scene) -> Result<()> {
    let pid = scene.with_service(|service| Ok(done(thief(scene).arg("own-trace").arg(service.pid()))?.pid))?;
    scene.tampered("a_watch_that_is_traced_says_so", pid, "process", "ptrace", Some("signer-memory"))
}

fn trace_refused(scene: &Scene) -> Result<()> {
    let name = "a_watch_that_somebody_may_not_trace_says_so";
    let pid = scene.with_service(|service| {
        let mut command = thief(scene);
        let mut child = command.arg("own-trace").arg(service.pid()).uid(NOBODY).gid(NOBODY).spawn()?;
        ensure!(!child.wait()?.success(), "nobody may trace the watch");
        Ok(child.id())
    })?;
    scene.tampered(name, pid, "process", "ptrace", Some("signer-memory"))
}

/// A thief that takes this road is told of.
fn kernel_side(scene: &Scene, name: &'static str, road: &str, deed: &str, limit: &'static str) -> Result<()> {
    let pid = scene.with_service(|service| Ok(done(thief(scene).arg(road).arg(service.pid()))?.pid))?;
    scene.tampered(name, pid, "kernel-side", deed, Some(limit))
}

fn map_altered(scene: &Scene) -> Result<()> {
    let name = "a_map_of_the_watch_that_is_altered_is_told";
    kernel_side(scene, name, "own-map", "map-change", "monitor-kernel-side")
}

fn ring_mapped(scene: &Scene) -> Result<()> {
    let name = "a_ring_of_the_watch_that_is_mapped_to_be_written_is_told";
    kernel_side(scene, name, "own-ring", "map-mapped", "monitor-ring-mapped")
}

fn link_detached(scene: &Scene) -> Result<()> {
    let name = "a_link_of_the_watch_that_somebody_tries_to_detach_is_told";
    let has_links = scene.with_service(|service| {
        let mut infos = fs::read_dir(format!("/proc/{}/fdinfo", service.pid()))?.flatten();
        Ok(infos.any(|info| fs::read_to_string(info.path()).is_ok_and(|text| text.contains("link_id:"))))
    })?;
    if !has_links {
        scene.absent(name, "no program of this backend is attached by a link here");
        return Ok(());
    }
    kernel_side(scene, name, "own-link", "link-detach", "monitor-kernel-side")
}

/// Runs a program on a file of the watch's own, and says who it was.
fn on(path: &Path, program: &str, arguments: &[&str]) -> Result<u32> {
    run(Command::new(program).args(arguments).arg(path))
}

fn config_edited(scene: &Scene) -> Result<()> {
    let pid = scene.with_service(|service| {
        let path = service.watch.config();
        let pid = on(&path, "sh", &["-c", "echo '# edited' >> \"$0\""])?;
        ensure!(fs::read_to_string(&path)?.contains("# edited"), "it was edited");
        Ok(pid)
    })?;
    scene.tampered("a_configuration_that_is_edited_is_told", pid, "configuration", "none", None)
}

fn config_replaced(scene: &Scene) -> Result<()> {
    let name = "a_configuration_that_is_replaced_is_told";
    let pid = scene.with_service(|service| {
        let (path, other) = (service.watch.config(), service.watch.config().with_extension("new"));
        fs::copy(&path, &other)?;
        let pid = run(Command::new("mv").arg(&other).arg(&path))?;
        ensure!(!other.exists() && path.exists(), "it was replaced");
        Ok(pid)
    })?;
    scene.tampered(name, pid, "configuration", "replace", Some("tamper-names"))
}

fn journal_written(scene: &Scene) -> Result<()> {
    let pid = scene.with_service(|service| {
        let path = service.own("written")?;
        let pid = on(&path, "sh", &["-c", "echo more >> \"$0\""])?;
        ensure!(fs::read_to_string(&path)?.ends_with("more\n"), "it was written");
        Ok(pid)
    })?;
    scene.tampered("a_journal_that_is_written_to_is_told", pid, "journal", "none", None)
}

fn journal_cut(scene: &Scene) -> Result<()> {
    let name = "a_journals_file_that_is_cut_is_told";
    let pid = scene.with_service(|service| {
        let path = service.own("cut")?;
        let pid = on(&path, "perl", &["-e", "truncate $ARGV[0], 0 or die"])?;
        ensure!(fs::metadata(&path)?.len() == 0, "it was cut");
        Ok(pid)
    })?;
    scene.tampered(name, pid, "journal", "size", Some("tamper-attributes"))
}

fn journal_deleted(scene: &Scene) -> Result<()> {
    let name = "a_journals_file_that_is_deleted_is_told";
    let pid = scene.with_service(|service| {
        let path = service.segment()?;
        let pid = on(&path, "rm", &["-f"])?;
        ensure!(!path.exists(), "it is gone");
        Ok(pid)
    })?;
    scene.tampered(name, pid, "journal", "unlink", Some("tamper-names"))
}

fn journal_chmod(scene: &Scene) -> Result<()> {
    let name = "a_journal_whose_permissions_change_is_told";
    let pid = scene.with_service(|service| {
        let path = service.own("chmod")?;
        let pid = on(&path, "chmod", &["4711"])?;
        let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&path)?.permissions());
        ensure!(mode & 0o7777 == 0o4711, "its mode is {mode:o}");
        Ok(pid)
    })?;
    scene.tampered(name, pid, "journal", "mode", Some("tamper-attributes"))
}

fn journal_renamed(scene: &Scene) -> Result<()> {
    let name = "a_journals_folder_that_is_renamed_is_told";
    let pid = scene.with_service(|service| {
        let (path, away) = (service.journal(), service.folder.path().join("away"));
        let pid = run(Command::new("mv").arg(&path).arg(&away))?;
        ensure!(!path.exists(), "it was renamed");
        run(Command::new("mv").arg(&away).arg(&path))?;
        Ok(pid)
    })?;
    scene.tampered(name, pid, "journal", "rename", Some("tamper-names"))
}

fn journal_placed(scene: &Scene) -> Result<()> {
    let name = "a_file_that_is_put_into_the_journal_is_told";
    let pid = scene.with_service(|service| {
        let (from, to) = (service.folder.path().join("other"), service.journal().join("other"));
        fs::write(&from, "a forged segment\n")?;
        let pid = run(Command::new("mv").arg(&from).arg(&to))?;
        ensure!(to.exists(), "it is there");
        Ok(pid)
    })?;
    scene.tampered(name, pid, "journal", "place", Some("tamper-names"))
}

/// Nobody of these is told of, once all that happened before is.
fn silent(service: &Service, pids: &[u32]) -> Result<()> {
    service.settled()?;
    let told =
        service.watch.events_where(|event| is_tampering(event) && event.pid().is_some_and(|pid| pids.contains(&pid)));
    ensure!(told.is_empty(), "{told}");
    Ok(())
}

fn reading(scene: &Scene) -> Result<()> {
    scene.with_service(|service| {
        let (journal, config) = (service.journal(), service.watch.config());
        let program = dkimwatch_tests::support::program()?;
        // Others have cut and deleted what it would read: what it says of that is not asked here.
        let mut reader =
            Command::new(&program).args(["events", "--journal"]).arg(&journal).stdout(Stdio::null()).spawn()?;
        let events = reader.id();
        reader.wait()?;
        let pids = [
            on(&config, "cat", &[])?,
            on(&journal, "ls", &["-lR"])?,
            on(&journal, "tar", &["-cf", "/dev/null"])?,
            events,
        ];
        silent(service, &pids)
    })
}

fn listing(scene: &Scene) -> Result<()> {
    scene.with_service(|service| {
        let pid = done(thief(scene).arg("own-list").arg(service.pid()))?.pid;
        silent(service, &[pid])
    })
}

fn harmless_signals(scene: &Scene) -> Result<()> {
    scene.with_service(|service| {
        let mut pids = Vec::new();
        for signal in ["-0", "-CONT", "-CHLD", "-WINCH"] {
            pids.push(kill(signal, &service.pid())?);
        }
        // The reload.
        let before = service.watch.events_where(|event| event.action() == "watch-started").len();
        pids.push(kill("-HUP", &service.pid())?);
        service.watch.wait_for_count("the reload", before + 1, PATIENCE, |event| event.action() == "watch-started")?;
        silent(service, &pids)
    })
}

fn own_deeds(scene: &Scene) -> Result<()> {
    scene.with_service(|service| {
        // Enough for a segment and more.
        for _ in 0..200 {
            fs::File::open(service.key())?;
        }
        silent(service, &[service.watch.pid()])?;
        ensure!(fs::metadata(service.segment()?).is_ok_and(|segment| segment.len() > 0), "it writes");
        Ok(())
    })
}
