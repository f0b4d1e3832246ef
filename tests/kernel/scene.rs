//! The scene: one watch, and a key for each sentence.

use std::{
    collections::{BTreeMap, HashSet},
    ffi::OsStr,
    fs,
    io::Write as _,
    os::unix::{ffi::OsStrExt as _, fs::PermissionsExt as _, process::CommandExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Events, Missing, Watch, WatchCommand};

use crate::{grounds::Grounds, hijack, itself::OtherHost, monitor::Service, summed::Signing, tamper};

/// The bytes of every key here. No key at all, so that nothing is stolen.
pub(crate) const BYTES: &str = "-----BEGIN PRIVATE KEY-----\nnot one\n-----END PRIVATE KEY-----\n";

/// How long an event may take: an emulated machine is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How long one takes that comes at all, but on a machine that is busy with other things.
const SHORT_PATIENCE: Duration = Duration::from_secs(3);
/// So often.
const TRIES: usize = 5;

/// The user that the signer of the scene runs as.
pub(crate) const SIGNER_UID: u32 = 1;

/// Nobody.
pub(crate) const NOBODY: u32 = 65534;

/// One watch, and a key for each sentence.
pub(crate) struct Scene {
    /// The watch.
    pub watch: Watch,
    /// `watch-started`.
    pub started: Event,
    /// File systems with keys of their own. (Dropped before the folder that they are mounted in: fields drop in order.)
    pub grounds: Grounds,
    root: tempfile::TempDir,
    /// Sentences with a folder that is watched as a whole.
    folders: HashSet<String>,
    /// A process older than the watch, with its standard input: it reads the key named on it.
    pub elder: Mutex<Child>,
    signer: Mutex<Signer>,
    /// See [`OtherHost`].
    pub other: Mutex<Option<OtherHost>>,
    /// See [`Service`].
    pub service: Mutex<Option<Service>>,
    /// See [`Signing`].
    pub signing: Mutex<Option<Signing>>,
    /// Sentences that did not come to their event, each with the reason.
    endings: Mutex<BTreeMap<&'static str, Ending>>,
}

/// Why a sentence holds and yet saw nothing.
#[derive(Clone, Debug)]
pub(crate) enum Ending {
    /// The watch had named a limit, by this id.
    Limit(&'static str),
    /// This kernel cannot do what the sentence is about, for this reason.
    Absent(String),
}

/// A process of the declared signer that reads what is named on its standard input, so that a sentinel need not start one.
#[derive(Debug)]
struct Signer {
    child: Child,
}

impl Scene {
    /// Makes the keys and starts the watch: a key for each of `names`, and a folder that is watched as a whole for each of `folders`.
    /// No more than is needed: the watch looks at all of it whenever one of them changes.
    pub(crate) fn set(names: &[&str], folders: &[&str]) -> Result<Self> {
        let disk = std::env::var_os("DKIMWATCH_DISK").map_or_else(std::env::temp_dir, PathBuf::from);
        let root = tempfile::Builder::new().prefix("dkimwatch-kernel-").tempdir_in(disk)?;
        // Strangers must reach the keys.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755))?;
        let mut paths = Vec::new();
        for name in names {
            paths.push(key_in(&root.path().join(name))?);
        }
        for name in folders {
            let whole = root.path().join(name).join(WHOLE);
            fs::create_dir_all(&whole)?;
            paths.push(whole);
        }
        for name in [SENTINEL, SHUT] {
            paths.push(key_in(&root.path().join(name))?);
        }
        fs::set_permissions(root.path().join(SHUT).join(KEY), fs::Permissions::from_mode(0o600))?;
        paths.extend(tamper::lay(root.path())?);
        let grounds = Grounds::prepare(root.path())?;
        paths.extend(grounds.keys());
        let signer = root.path().join("bin/signer");
        fs::create_dir_all(root.path().join("bin"))?;
        fs::copy(stranger()?, &signer)?;
        // Without what a debugger wants: each signer's program is read when the watch begins.
        let thief = root.path().join("bin/thief");
        run(Command::new("strip").arg("-o").arg(&thief).arg(env!("CARGO_BIN_EXE_thief")))?;
        for copy in ["backup", "victim"] {
            fs::copy(&thief, root.path().join("bin").join(copy))?;
        }
        let mut signers = String::new();
        for name in hijack::OWN {
            let own = hijack::own_signer(&root.path().join(name));
            fs::create_dir_all(own.parent().context("its folder")?)?;
            fs::copy(&thief, &own)?;
            signers.push_str(&declared("signer", name, &own, SIGNER_UID, ""));
        }
        signers.push_str(&declared("signer", "victim", &root.path().join("bin/victim"), SIGNER_UID, ""));
        // In no folder for libraries, and not beside a signer's program.
        fs::create_dir_all(root.path().join("foreign"))?;
        fs::copy(examples().join("libhijacker.so"), root.path().join("foreign/libhijacker.so"))?;
        let script = root.path().join("bin/script");
        fs::write(&script, format!("#!{PERL}\nuse strict;\n{SCRIPT}"))?;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        let script = format!("script = {:?}\n", script.display().to_string());
        signers.push_str(&declared("signer", "script", Path::new(PERL), SIGNER_UID, &script));
        signers.push_str(&declared("signer", "scene", &signer, SIGNER_UID, ""));
        signers.push_str(&declared("maintenance", "backup", &root.path().join("bin/backup"), 0, ""));
        let quoted: Vec<String> = paths.iter().map(|path| format!("{:?}", path.display().to_string())).collect();
        let config = format!("[keys]\ndiscover = false\npaths = [{}]\n{signers}", quoted.join(","));
        let elder = Command::new("sh")
            .args(["-c", "while read -r path; do read -r line < \"$path\"; done"])
            .stdin(Stdio::piped())
            .spawn()?;
        let mut command = WatchCommand::new().config(config);
        if let Ok(backend) = std::env::var("DKIMWATCH_BACKEND") {
            command = command.backend(&backend);
        }
        let watch = command.start()?;
        let started = watch.wait_for("watch-started", PATIENCE, |event| event.action() == "watch-started")?;
        Ok(Self {
            watch,
            started,
            elder: Mutex::new(elder),
            signer: Mutex::new(Signer::start(&signer)?),
            other: Mutex::new(None),
            service: Mutex::new(None),
            signing: Mutex::new(None),
            grounds,
            root,
            folders: folders.iter().map(|name| (*name).to_owned()).collect(),
            endings: Mutex::default(),
        })
    }

    /// A sentence's own folder.
    pub(crate) fn folder(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// A sentence's own key.
    pub(crate) fn key(&self, name: &str) -> PathBuf {
        self.folder(name).join(KEY)
    }

    /// A key that nobody but root may open, for whom it does not matter who else is refused it.
    pub(crate) fn shut(&self) -> PathBuf {
        self.key(SHUT)
    }

    /// A folder of the sentence that is watched as a whole.
    pub(crate) fn whole(&self, name: &str) -> PathBuf {
        assert!(self.folders.contains(name), "{name} is in no group with folders");
        self.folder(name).join(WHOLE)
    }

    /// The declared signer.
    pub(crate) fn signer(&self) -> PathBuf {
        self.root.path().join("bin/signer")
    }

    /// The thief, where every user may run it.
    pub(crate) fn thief(&self) -> PathBuf {
        self.root.path().join("bin/thief")
    }

    /// Another declared signer: the thief under another name.
    pub(crate) fn victim(&self) -> PathBuf {
        self.root.path().join("bin/victim")
    }

    /// A declared signer that is a script.
    pub(crate) fn script(&self) -> PathBuf {
        self.root.path().join("bin/script")
    }

    /// A library that hijacks the process that loads it.
    pub(crate) fn hijacker(&self) -> PathBuf {
        self.root.path().join("foreign/libhijacker.so")
    }

    /// The declared backup: the thief under another name.
    pub(crate) fn backup(&self) -> PathBuf {
        self.root.path().join("bin/backup")
    }

    /// Whether the watch said that it does not see this.
    pub(crate) fn unseen(&self, id: &str) -> bool {
        let spots = self.started.field("dkimwatch.blind_spots").and_then(|spots| spots.as_array().cloned());
        spots
            .unwrap_or_default()
            .iter()
            .filter_map(|spot| spot.as_str())
            .any(|spot| spot.starts_with(&format!("{id}:")))
    }

    /// The sentence ends in a limit, by its id. The watch must have named it.
    pub(crate) fn limited(&self, name: &'static str, id: &'static str) {
        self.end(name, Ending::Limit(id));
    }

    /// This kernel cannot do what the sentence is about: for instance it lacks the system call.
    pub(crate) fn absent(&self, name: &'static str, why: impl Into<String>) {
        self.end(name, Ending::Absent(why.into()));
    }

    fn end(&self, name: &'static str, ending: Ending) {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).insert(name, ending);
    }

    /// How often the watch has told so far that calls passed a program by.
    pub(crate) fn passed_by(&self) -> usize {
        self.watch.events_where(passed_by).len()
    }

    /// Whether it tells so again since then, within the time that it takes it to look.
    pub(crate) fn passes_by_since(&self, before: usize) -> bool {
        self.watch.wait_for_count("what passed by", before + 1, Duration::from_secs(5), passed_by).is_ok()
    }

    /// How a sentence ended that did not come to its event.
    pub(crate) fn ending(&self, name: &str) -> Option<Ending> {
        self.endings.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// The backend that is live.
    pub(crate) fn backend(&self) -> &str {
        self.started.text("dkimwatch.backend").unwrap_or_default()
    }

    /// Waits until so much has been said about a path by processes in containers: that waits a moment for what the container is,
    /// and what comes later may be said before it. Whether it came is for [`Self::settled`] to say.
    pub(crate) fn contained(&self, path: &Path, count: usize) {
        let told = |event: &Event| event.is_about(path) && event.text("container.id").is_some();
        let _ = self.watch.wait_for_count("what was done in a container", count, SHORT_PATIENCE, told);
    }

    /// Everything said about a path and below so far, once all that happened before this call has been said: a key that is
    /// there for this is opened by a stranger and by the signer, and what comes through either one's ring after that is later.
    pub(crate) fn settled(&self, path: &Path) -> Result<Events> {
        let sentinel = self.key(SENTINEL);
        let passed_before = self.passed_by();
        let mut signer = self.signer.lock().map_err(|_| anyhow::anyhow!("the lock is poisoned"))?;
        // The rings are emptied one after the other, and what was taken from them is told before they are looked at again.
        // So when a second open is told after a first, every ring was emptied between the two, whichever it is.
        // One after the other also for this: where tasks are preempted within the kernel, the program of fentry's is not
        // called for one that comes while another is in it.
        let own = std::process::id();
        for pid in [own, signer.child.id(), own] {
            let open = |signer: &mut Signer| {
                if pid == own { fs::read(&sentinel).map(drop).map_err(Into::into) } else { signer.read(&sentinel) }
            };
            let opened =
                |event: &Event| event.pid() == Some(pid) && event.action() == "key-opened" && event.is_about(&sentinel);
            let before = self.watch.printed();
            open(&mut signer)?;
            for _ in 0..TRIES {
                if self.watch.wait_for_next("the sentinel", before, SHORT_PATIENCE, opened).is_ok() {
                    break;
                }
                // It may have passed a program by, which says nothing of what was before it.
                if self.passed_by() != passed_before {
                    open(&mut signer)?;
                }
            }
            self.watch.wait_for_next("the sentinel", before, PATIENCE, opened)?;
        }
        Ok(self.watch.events_where(|event| event.is_access() && !is_staging(event) && event.is_about(path)))
    }

    /// Exactly one access to the sentence's key.
    pub(crate) fn one(&self, name: &str) -> Result<Event> {
        let key = self.key(name);
        self.settled(&key)?.one(&key.display().to_string()).cloned()
    }

    /// Stops the watch; what it said must have been events, and the accesses here were findings.
    pub(crate) fn close(self) -> Result<()> {
        let elder = self.elder.into_inner().unwrap_or_else(PoisonError::into_inner);
        let signer = self.signer.into_inner().unwrap_or_else(PoisonError::into_inner).child;
        for mut child in [elder, signer] {
            child.kill().ok();
            child.wait()?;
        }
        let watched = self.watch.stop()?;
        ensure!(watched.status.code() == Some(1), "strangers were there, yet it ended with {}", watched.status);
        ensure!(!watched.log.contains(FAULT), "a program is refused by this kernel's verifier:\n{}", watched.log);
        let lost = watched.events.only(is_loss);
        ensure!(lost.is_empty(), "events were lost:\n{lost}");
        Ok(())
    }
}

/// A sentence's key in its folder.
const KEY: &str = "key.private";

/// The folder there that is watched as a whole.
const WHOLE: &str = "whole";

/// The folder of a key that is opened when a sentence wants to know that all has been told. The first by name: of a signer that has not
/// opened any yet, the first key is told.
const SENTINEL: &str = "0-sentinel";

/// The folder of a key that nobody may open.
const SHUT: &str = "shut";

/// Makes a folder with a key.
fn key_in(folder: &Path) -> Result<PathBuf> {
    fs::create_dir_all(folder)?;
    let key = folder.join(KEY);
    fs::write(&key, BYTES)?;
    Ok(key)
}

/// What the watch says of a program of its own that does not satisfy the verifier: what would have been seen is a limit then, which no
/// sentence could tell from the kernel's own.
const FAULT: &str = "verifier refused a program";

/// Calls passed a program by.
pub(crate) fn passed_by(event: &Event) -> bool {
    event.action() == "events-lost" && event.text("dkimwatch.lost.why") == Some("passed-by")
}

/// Something was lost that may not be: refused attempts may, for which there is a ring of their own; and a kernel that
/// preempts itself can let any call pass a program by.
pub(crate) fn is_loss(event: &Event) -> bool {
    let hook = event.text("dkimwatch.lost.hook").unwrap_or_default();
    let may_be = hook.contains("path_openat") || hook.contains("refused") || passed_by(event);
    event.action() == "events-lost" && !may_be
}

/// What this process did to its keys, which sets the stage of a sentence: other programs do what it is about.
fn is_staging(event: &Event) -> bool {
    const DEEDS: [&str; 7] = [
        "key-deleted",
        "key-renamed",
        "key-replaced",
        "key-linked",
        "key-permissions-changed",
        "key-attributes-changed",
        "key-mounted-over",
    ];
    event.pid() == Some(std::process::id()) && DEEDS.contains(&event.action())
}

impl Signer {
    fn start(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("--each").uid(SIGNER_UID).gid(SIGNER_UID).stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self { child: command.spawn().with_context(|| format!("{command:?}"))? })
    }

    fn read(&mut self, path: &Path) -> Result<()> {
        let input = self.child.stdin.as_mut().context("its standard input is a pipe")?;
        input.write_all(&[path.as_os_str().as_bytes(), b"\n"].concat()).context("the signer of the sentinels has ended")
    }
}

/// What runs the script. It is on every Debian.
const PERL: &str = "/usr/bin/perl";

/// What the script does: reads its argument, and shows it as the thief does.
pub(crate) const SCRIPT: &str = "open(my $key, '<', $ARGV[0]) or die;\nmy $text = join('', <$key>);\n\
     syswrite(STDOUT, \"$$ $$ \" . getppid() . \"\\n$text\");\n";

/// An entry of the configuration.
fn declared(role: &str, name: &str, program: &Path, uid: u32, more: &str) -> String {
    let program = program.display().to_string();
    format!("[[{role}]]\nname = \"{name}\"\nexecutable = {program:?}\nusers = [\"{uid}\"]\n{more}")
}

/// Where cargo puts the examples: beside the programs.
fn examples() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_stranger")).with_file_name("examples")
}

/// The reader that can disguise itself.
pub(crate) fn stranger() -> Result<PathBuf> {
    Ok(PathBuf::from(env!("CARGO_BIN_EXE_stranger")))
}

/// Starts a program as a user, waits for it, and returns its pid. It must have succeeded: it got the bytes.
pub(crate) fn as_user(uid: u32, program: impl AsRef<OsStr>, arguments: &[&OsStr]) -> Result<u32> {
    run(Command::new(program).args(arguments).uid(uid).gid(uid))
}

/// Runs a program and returns its pid. It must have succeeded.
pub(crate) fn run(command: &mut Command) -> Result<u32> {
    let mut child = command.stdout(Stdio::null()).spawn().with_context(|| format!("{command:?}"))?;
    let pid = child.id();
    let status = child.wait()?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(pid)
}

/// The file that a program's name means, with links resolved.
pub(crate) fn resolved(program: &str) -> Result<String> {
    let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
    let found = std::env::split_paths(&path).map(|folder| folder.join(program)).find(|path| path.is_file());
    let found = found.with_context(|| format!("no {program} in PATH"))?;
    Ok(fs::canonicalize(found)?.display().to_string())
}

/// Checks a text field.
pub(crate) fn is(event: &Event, field: &str, wanted: &str) -> Result<()> {
    ensure!(event.text(field) == Some(wanted), "{field} is {:?}, not {wanted:?}\n{event}", event.field(field));
    Ok(())
}

/// Checks that it is an open. What is told of an open that passed its program by is the data that was reached by it.
pub(crate) fn is_open(event: &Event) -> Result<()> {
    if event.action() == "key-read" {
        return Err(Missing(format!("the open was not told, and its data was\n{event}")).into());
    }
    is(event, "event.action", "key-opened")
}

/// Checks a number.
pub(crate) fn counts(event: &Event, field: &str, wanted: u32) -> Result<()> {
    ensure!(
        event.number(field) == Some(u64::from(wanted)),
        "{field} is {:?}, not {wanted}\n{event}",
        event.field(field)
    );
    Ok(())
}

/// An alert about a stranger.
pub(crate) fn alarms(event: &Event) -> Result<()> {
    is(event, "dkimwatch.verdict", "unexpected")?;
    is(event, "event.kind", "alert")
}
