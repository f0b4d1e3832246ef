//! Which package owns an executable, never at the cost of an alert's time.
//!
//! dpkg's file lists are read once, on a thread of their own, into an index of hashes (a mail host's lists are some
//! hundred thousand paths; the index takes about 20 bytes for each that can be executed). rpm(8) has no such lists: it is
//! asked on that thread, and its answer serves the next access by the same executable. Until the answer is there it is
//! `None`.

use std::{
    collections::{HashMap, hash_map::RandomState},
    fs,
    hash::BuildHasher as _,
    os::unix::{ffi::OsStrExt as _, ffi::OsStringExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, PoisonError, RwLock,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::{Duration, SystemTime},
};

/// rpm waits for a lock while a transaction runs; nobody waits for rpm longer than this.
const RPM_PATIENCE: Duration = Duration::from_secs(5);
/// Questions that may wait. More are forgotten, and asked again by the next access.
const WAITING: usize = 64;
/// rpm's answers kept.
const ANSWERS: usize = 4_096;

/// The package databases of this host.
#[derive(Debug)]
pub(super) struct Packages {
    source: Source,
    known: Arc<RwLock<Known>>,
    /// The worker holds the other end; dropping this one ends it.
    questions: Option<SyncSender<Question>>,
}

#[derive(Clone, Debug)]
enum Source {
    /// The folder of `*.list` files.
    Dpkg(PathBuf),
    /// The program.
    Rpm(PathBuf),
    Nothing,
}

#[derive(Debug)]
enum Question {
    Index,
    Owner(Vec<u8>),
}

/// What the worker has found out.
#[derive(Debug, Default)]
struct Known {
    hasher: RandomState,
    index: HashMap<u64, u32>,
    names: Vec<String>,
    /// Modification time of the lists' folder when the index was begun.
    indexed: Option<SystemTime>,
    answers: HashMap<Vec<u8>, Option<String>>,
}

impl Packages {
    /// Starts the worker on this host's database.
    pub(super) fn of_this_host() -> Self {
        let dpkg = Path::new("/var/lib/dpkg/info");
        let rpm = ["/usr/bin/rpm", "/bin/rpm"].map(Path::new).into_iter().find(|path| path.exists());
        Self::new(match rpm {
            _ if dpkg.is_dir() => Source::Dpkg(dpkg.to_owned()),
            Some(rpm) => Source::Rpm(rpm.to_owned()),
            None => Source::Nothing,
        })
    }

    fn new(source: Source) -> Self {
        let known = Arc::new(RwLock::new(Known::default()));
        if matches!(source, Source::Nothing) {
            return Self { source, known, questions: None };
        }
        let (questions, asked) = sync_channel(WAITING);
        let worker = (source.clone(), Arc::clone(&known));
        let started = std::thread::Builder::new()
            .name("packages".to_owned())
            .spawn(move || answer(&worker.0, &worker.1, &asked))
            .inspect_err(|error| tracing::warn!(%error, "no thread for package names: accesses come without them"))
            .is_ok();
        let packages = Self { source, known, questions: started.then_some(questions) };
        if matches!(packages.source, Source::Dpkg(_)) {
            packages.ask(Question::Index);
        }
        packages
    }

    /// The package that owns a path, as far as is known now.
    pub(super) fn owner(&self, path: &[u8]) -> Option<String> {
        // A writer holds the lock for the time of an assignment; whoever would wait goes without.
        let known = self.known.try_read().ok()?;
        match &self.source {
            Source::Nothing => None,
            Source::Dpkg(lists) => {
                if known.indexed.is_some() && known.indexed != modified(lists) {
                    self.ask(Question::Index);
                }
                let package = known.index.get(&known.hasher.hash_one(merged(path)))?;
                known.names.get(usize::try_from(*package).ok()?).cloned()
            }
            Source::Rpm(_) => match known.answers.get(path) {
                Some(answer) => answer.clone(),
                None => {
                    self.ask(Question::Owner(path.to_vec()));
                    None
                }
            },
        }
    }

    /// Whether no package owns a path; `None` as long as that is not known. Without lists of dpkg's none is said to be.
    pub(super) fn unowned(&self, path: &[u8]) -> Option<bool> {
        let Source::Dpkg(lists) = &self.source else { return Some(false) };
        {
            let known = self.known.try_read().ok()?;
            // An index from before an installation knows nothing of what was installed.
            if known.indexed.is_none() || known.indexed != modified(lists) {
                self.ask(Question::Index);
                return None;
            }
        }
        Some(self.owner(path).is_none())
    }

    fn ask(&self, question: Question) {
        if let Some(questions) = &self.questions {
            // A full queue: the next access asks again.
            let _ = questions.try_send(question);
        }
    }
}

/// The worker: ends when the last [`Packages`] is dropped.
fn answer(source: &Source, known: &RwLock<Known>, asked: &Receiver<Question>) {
    while let Ok(question) = asked.recv() {
        let write = || known.write().unwrap_or_else(PoisonError::into_inner);
        match (question, source) {
            (Question::Index, Source::Dpkg(lists)) => {
                let before = modified(lists);
                if known.read().unwrap_or_else(PoisonError::into_inner).indexed == before {
                    continue;
                }
                let fresh = index(lists, before);
                // The old index is freed after the lock.
                let _old = std::mem::replace(&mut *write(), fresh);
            }
            (Question::Owner(path), Source::Rpm(rpm)) => {
                let owner = ask_rpm(rpm, &path);
                let mut known = write();
                if known.answers.len() >= ANSWERS {
                    known.answers.clear();
                }
                known.answers.insert(path, owner);
            }
            _ => {}
        }
    }
}

fn modified(folder: &Path) -> Option<SystemTime> {
    fs::metadata(folder).and_then(|metadata| metadata.modified()).ok()
}

fn index(lists: &Path, indexed: Option<SystemTime>) -> Known {
    let mut known = Known { indexed, ..Known::default() };
    for entry in fs::read_dir(lists).into_iter().flatten().flatten() {
        let file = entry.file_name();
        let Some(package) = file.as_bytes().strip_suffix(b".list") else { continue };
        // `libc6:amd64.list`: the architecture is no part of the name.
        let package = package.split(|byte| *byte == b':').next().unwrap_or_default();
        let Ok(text) = fs::read(entry.path()) else { continue };
        let Ok(number) = u32::try_from(known.names.len()) else { break };
        known.names.push(crate::escape::text(package));
        for path in text.split(|byte| *byte == b'\n').filter(|path| may_be_executed(path)) {
            let hash = known.hasher.hash_one(merged(path));
            known.index.insert(hash, number);
        }
    }
    known
}

/// Folders whose files are no programs, left out to keep the index small.
fn may_be_executed(path: &[u8]) -> bool {
    const NOT: [&[u8]; 5] = [b"/usr/share/", b"/usr/include/", b"/usr/src/", b"/etc/", b"/var/"];
    path.len() > 1 && !NOT.iter().any(|folder| path.starts_with(folder))
}

/// A path with the merged-/usr links followed (hier(7), `usrmerge`): lists say `/bin/cat`, the kernel `/usr/bin/cat`.
pub(crate) fn merged(path: &[u8]) -> Vec<u8> {
    const LINKS: [&[u8]; 6] = [b"/bin/", b"/sbin/", b"/lib/", b"/lib32/", b"/lib64/", b"/libx32/"];
    let moved = LINKS.iter().any(|link| path.starts_with(link));
    if moved { [b"/usr", path].concat() } else { path.to_vec() }
}

/// `rpm -qf`, for at most [`RPM_PATIENCE`].
fn ask_rpm(rpm: &Path, path: &[u8]) -> Option<String> {
    let mut child = Command::new(rpm)
        .args(["-qf", "--queryformat", "%{NAME}\\n"])
        // Absolute (the attributor asks of no other), so it is never taken for an option.
        .arg(std::ffi::OsString::from_vec(path.to_vec()))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    if !ends_within(&child, RPM_PATIENCE) {
        let _ = child.kill();
    }
    let output = child.wait_with_output().ok().filter(|output| output.status.success())?;
    let first = output.stdout.split(|byte| *byte == b'\n').next().filter(|line| !line.is_empty())?;
    Some(crate::escape::text(first))
}

/// Waits for a child's end by its pidfd (pidfd_open(2), Linux 5.3).
pub(crate) fn ends_within(child: &std::process::Child, patience: Duration) -> bool {
    use rustix::{
        event::{PollFd, PollFlags, Timespec, poll},
        process::{Pid, PidfdFlags, pidfd_open},
    };
    let patience = Timespec::try_from(patience).ok();
    let Ok(pidfd) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) else { return false };
    poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], patience.as_ref()).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::{
        fs,
        os::unix::fs::PermissionsExt as _,
        path::PathBuf,
        time::{Duration, Instant},
    };

    use super::{Packages, Source, ask_rpm};

    fn folder(name: &str) -> PathBuf {
        let folder = std::env::temp_dir().join(format!("dkimwatch-packages-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).expect("a folder");
        folder
    }

    /// The answer as soon as there is one: the worker has no signal to wait for, by intent.
    fn soon(packages: &Packages, path: &str) -> Option<String> {
        let until = Instant::now() + Duration::from_secs(20);
        while Instant::now() < until {
            if let Some(owner) = packages.owner(path.as_bytes()) {
                return Some(owner);
            }
            std::thread::yield_now();
        }
        None
    }

    #[test]
    fn dpkg_lists_name_the_owner_on_either_side_of_the_usr_merge() {
        let lists = folder("dpkg");
        fs::write(lists.join("coreutils.list"), "/.\n/bin\n/bin/cat\n/usr/share/doc/coreutils/README\n")
            .expect("written");
        fs::write(lists.join("libc6:amd64.list"), "/usr/lib64/ld-linux-x86-64.so.2\n").expect("written");
        fs::write(lists.join("coreutils.md5sums"), "/bin/tac\n").expect("written");
        let packages = Packages::new(Source::Dpkg(lists.clone()));
        assert_eq!(soon(&packages, "/usr/bin/cat").as_deref(), Some("coreutils"));
        assert_eq!(packages.owner(b"/bin/cat").as_deref(), Some("coreutils"));
        assert_eq!(packages.owner(b"/lib64/ld-linux-x86-64.so.2").as_deref(), Some("libc6"));
        assert_eq!(packages.owner(b"/usr/bin/tac"), None);
        assert_eq!(packages.owner(b"/tmp/cat"), None);
        // A package that is installed later is found without a restart.
        fs::write(lists.join("opendkim.list"), "/usr/sbin/opendkim\n").expect("written");
        assert_eq!(soon(&packages, "/usr/sbin/opendkim").as_deref(), Some("opendkim"));
        fs::remove_dir_all(lists).expect("removed");
    }

    fn fake_rpm(name: &str, script: &str) -> PathBuf {
        let rpm = folder(name).join("rpm");
        fs::write(&rpm, format!("#!/bin/sh\n{script}\n")).expect("written");
        fs::set_permissions(&rpm, fs::Permissions::from_mode(0o755)).expect("made executable");
        rpm
    }

    #[test]
    fn rpm_is_asked_behind_the_scenes() {
        let rpm = fake_rpm("rpm", r#"[ "$4" = /usr/bin/cat ] && echo coreutils && exit 0; exit 1"#);
        let packages = Packages::new(Source::Rpm(rpm.clone()));
        assert_eq!(packages.owner(b"/usr/bin/cat"), None, "the first question does not wait");
        assert_eq!(soon(&packages, "/usr/bin/cat").as_deref(), Some("coreutils"));
        assert_eq!(ask_rpm(&rpm, b"/usr/bin/unowned"), None);
        fs::remove_dir_all(rpm.parent().expect("its folder")).expect("removed");
    }

    #[test]
    fn an_rpm_that_hangs_is_ended() {
        let rpm = fake_rpm("rpm-hangs", "exec sleep 600");
        let child = std::process::Command::new(&rpm).spawn();
        let mut child = child.expect("started");
        assert!(!super::ends_within(&child, Duration::from_millis(50)));
        child.kill().expect("ended");
        assert!(super::ends_within(&child, Duration::from_secs(20)));
        child.wait().expect("reaped");
        fs::remove_dir_all(rpm.parent().expect("its folder")).expect("removed");
    }
}
