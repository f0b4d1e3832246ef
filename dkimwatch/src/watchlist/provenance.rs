//! Is the file at a reader's path the reader's program? Its bytes say so: they are its package's, or those that were there
//! before. Read on a thread of its own, so that no alert waits for a disk, and for no longer than [`PATIENCE`].

use std::{
    fs::File,
    io::Read as _,
    os::{fd::OwnedFd, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel},
    time::{Duration, Instant},
};

use md5::{Digest as _, Md5};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::{
    dpkg::{Digest, Dpkg},
    rpm,
};
use crate::judge::{ExpectedImage, Role};

/// How long a package manager at work may take to put its records in place. An alert waits for no more than this.
pub(super) const PATIENCE: Duration = Duration::from_millis(1_500);
/// How often it is looked at meanwhile.
const AGAIN: Duration = Duration::from_millis(100);
/// The largest program that is read, bytes.
const LARGEST: u64 = 1 << 30;

/// A file to look at.
#[derive(Debug)]
pub(super) struct Question {
    /// Whose program it is to be.
    pub(super) reader: (String, Role),
    /// The file, as the kernel identified it.
    pub(super) image: ExpectedImage,
    /// The file itself, opened with `O_PATH`: what is read is what was identified.
    pub(super) file: OwnedFd,
    /// Its path, links resolved.
    pub(super) path: PathBuf,
    /// Contents that were accepted before.
    pub(super) accepted: Vec<Digest>,
}

/// What was found out.
#[derive(Debug)]
pub struct Answer {
    pub(super) reader: (String, Role),
    pub(super) image: ExpectedImage,
    /// The contents, where they could be read.
    pub(super) digest: Option<Digest>,
    pub(super) finding: Finding,
}

/// Whose bytes they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    /// Those that were accepted before.
    Before,
    /// The package's.
    Package,
    /// Not those of this package, which owns the path.
    NotPackage(String),
    /// No package owns the path.
    Nobody,
    /// The file could not be read, or changed while it was.
    Unread,
}

/// The thread that reads.
#[derive(Debug)]
pub(super) struct Examiner {
    /// The thread holds the other end; dropping this one ends it.
    questions: Sender<Question>,
    answers: UnboundedReceiver<Answer>,
}

impl Examiner {
    /// Starts the thread, on this host's package database.
    pub(super) fn of_this_host() -> Self {
        let database = Database { dpkg: Dpkg::at(Path::new("/var/lib/dpkg")), rpm: rpm::program() };
        Self::new(database)
    }

    fn new(database: Database) -> Self {
        let (questions, asked) = channel();
        let (tell, answers) = unbounded_channel();
        let started =
            std::thread::Builder::new().name("provenance".to_owned()).spawn(move || examine(database, &asked, &tell));
        if let Err(error) = started {
            tracing::error!(%error, "no thread to look at the signers' programs: each is unexpected");
        }
        Self { questions, answers }
    }

    /// Asks. Without the thread nothing is ever answered, and the image stays pending.
    pub(super) fn ask(&self, question: Question) -> bool {
        self.questions.send(question).is_ok()
    }

    /// The next answer; never, when nothing is asked.
    pub(super) async fn next(&mut self) -> Answer {
        match self.answers.recv().await {
            Some(answer) => answer,
            None => std::future::pending().await,
        }
    }
}

/// The package databases of this host.
#[derive(Debug)]
struct Database {
    dpkg: Option<Dpkg>,
    rpm: Option<PathBuf>,
}

impl Database {
    /// Whose bytes the files at these paths are, of which these are the sums.
    fn findings(&mut self, files: &[(&Path, &Digest)]) -> Vec<Finding> {
        let Some(dpkg) = &mut self.dpkg else {
            return files.iter().map(|(path, _)| self.by_rpm(path)).collect();
        };
        let paths: Vec<&Path> = files.iter().map(|(path, _)| *path).collect();
        let found = dpkg.recorded(&paths).into_iter().zip(files);
        found
            .map(|(recorded, (_, digest))| {
                if recorded.iter().any(|one| one.digest == **digest) {
                    Finding::Package
                } else {
                    recorded.into_iter().next().map_or(Finding::Nobody, |one| Finding::NotPackage(one.package))
                }
            })
            .collect()
    }

    fn by_rpm(&self, path: &Path) -> Finding {
        match self.rpm.as_ref().map(|rpm| rpm::verify(rpm, path)) {
            Some(rpm::Said::Same(_)) => Finding::Package,
            Some(rpm::Said::Other(package)) => Finding::NotPackage(package),
            Some(rpm::Said::Nothing) | None => Finding::Nobody,
        }
    }

    /// Whether another look may give another answer. rpm says nothing of its work: it has recorded a package before it
    /// runs the package's last script, which restarts the service.
    fn is_busy(&self) -> bool {
        self.dpkg.as_ref().is_some_and(Dpkg::is_busy)
    }
}

/// A question that was read and not answered yet.
struct Open {
    question: Question,
    digest: Digest,
    asked: Instant,
}

fn examine(mut database: Database, asked: &Receiver<Question>, tell: &UnboundedSender<Answer>) {
    let mut open: Vec<Open> = Vec::new();
    loop {
        let next = if open.is_empty() {
            asked.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            asked.recv_timeout(AGAIN)
        };
        let first = match next {
            Ok(question) => Some(question),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return,
        };
        // At the start every signer is asked about, and the databases are read once for all of them.
        let mut more = first.into_iter();
        while let Some(question) = more.next().or_else(|| asked.try_recv().ok()) {
            match read(&question.file) {
                Some(digest) if question.accepted.contains(&digest) => {
                    answer(tell, question, Some(digest), Finding::Before);
                }
                Some(digest) => open.push(Open { question, digest, asked: Instant::now() }),
                None => answer(tell, question, None, Finding::Unread),
            }
        }
        // Asked before the look: what is recorded after a look that found dpkg at rest is no upgrade.
        let busy = database.is_busy();
        let files: Vec<_> = open.iter().map(|one| (one.question.path.as_path(), &one.digest)).collect();
        let findings = database.findings(&files);
        for (one, finding) in std::mem::take(&mut open).into_iter().zip(findings) {
            if finding != Finding::Package && busy && one.asked.elapsed() < PATIENCE {
                open.push(one);
            } else {
                answer(tell, one.question, Some(one.digest), finding);
            }
        }
    }
}

fn answer(tell: &UnboundedSender<Answer>, question: Question, digest: Option<Digest>, finding: Finding) {
    // A receiver that is gone wants no answer.
    let _ = tell.send(Answer { reader: question.reader, image: question.image, digest, finding });
}

/// The sum of a file's bytes; `None` when they cannot be read, or changed meanwhile.
fn read(file: &OwnedFd) -> Option<Digest> {
    use std::os::fd::AsRawFd as _;
    // By its descriptor: the name may mean another file by now.
    let mut file = File::open(format!("/proc/self/fd/{}", file.as_raw_fd())).ok()?;
    let state = |file: &File| {
        file.metadata()
            .ok()
            .map(|metadata| (metadata.is_file(), metadata.len(), metadata.ctime(), metadata.ctime_nsec()))
    };
    let before = state(&file).filter(|(regular, size, ..)| *regular && *size <= LARGEST)?;
    let mut sum = Md5::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        match file.read(&mut buffer).ok()? {
            0 => break,
            read => sum.update(buffer.get(..read)?),
        }
    }
    (state(&file) == Some(before)).then(|| sum.finalize().into())
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Duration};

    use dkimwatch_common::identity::FileId;

    use super::*;
    use crate::judge::Provenance;

    fn question(path: &Path, accepted: &[Digest]) -> Question {
        let image =
            ExpectedImage { id: FileId::new(1, 2), uid: 0, ctime: 3, mode: 0o100755, provenance: Provenance::Pending };
        let reader = ("signer".to_owned(), Role::Signer);
        let accepted = accepted.to_vec();
        Question { reader, image, file: File::open(path).unwrap().into(), path: path.to_owned(), accepted }
    }

    fn found(examiner: &mut Examiner, question: Question) -> Answer {
        assert!(examiner.ask(question));
        examiner.answers.blocking_recv().unwrap()
    }

    /// "a" and its sum.
    const A: (&str, &str) = ("a", "0cc175b9c0f1b6a831c399e269772661");

    #[test]
    fn a_program_is_its_packages_or_the_one_before_or_another() {
        let host = tempfile::tempdir().unwrap();
        let (program, info) = (host.path().join("signer"), host.path().join("dpkg/info"));
        fs::create_dir_all(&info).unwrap();
        fs::write(&program, A.0).unwrap();
        let database = Database { dpkg: Dpkg::at(&host.path().join("dpkg")), rpm: None };
        let mut examiner = Examiner::new(database);

        let answer = found(&mut examiner, question(&program, &[]));
        assert_eq!(answer.finding, Finding::Nobody);
        let digest = answer.digest.unwrap();
        assert_eq!(found(&mut examiner, question(&program, &[digest])).finding, Finding::Before);

        let relative = program.strip_prefix("/").unwrap().display().to_string();
        fs::write(info.join("signer.md5sums"), format!("{}  {relative}\n", A.1)).unwrap();
        assert_eq!(found(&mut examiner, question(&program, &[])).finding, Finding::Package);

        fs::write(&program, "b").unwrap();
        let answer = found(&mut examiner, question(&program, &[digest]));
        assert_eq!(answer.finding, Finding::NotPackage("signer".to_owned()), "nobody is at work: told at once");
        let folder = found(&mut examiner, question(host.path(), &[]));
        assert_eq!((folder.finding, folder.digest), (Finding::Unread, None));
    }

    #[test]
    fn what_is_read_is_what_was_opened() {
        let host = tempfile::tempdir().unwrap();
        let program = host.path().join("signer");
        fs::write(&program, A.0).unwrap();
        let asked = question(&program, &[]);
        fs::rename(&program, host.path().join("old")).unwrap();
        fs::write(&program, "another").unwrap();
        let mut examiner = Examiner::new(Database { dpkg: None, rpm: None });
        let digest = found(&mut examiner, asked).digest.unwrap();
        let hex: String = digest.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, A.1);
    }

    /// As [`Dpkg`]'s own test: the lock is held by a second run of this test, in another process.
    #[test]
    fn a_package_manager_at_work_is_given_time_and_not_for_ever() {
        use std::io::{BufRead as _, Read as _, Write as _};
        const HOLD: &str = "DKIMWATCH_TEST_HOLD_LOCK";
        if let Some(lock) = std::env::var_os(HOLD) {
            let lock = File::create(lock).unwrap();
            rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
            writeln!(std::io::stdout(), "\nheld").unwrap();
            std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
            return;
        }
        let host = tempfile::tempdir().unwrap();
        let (program, dpkg) = (host.path().join("signer"), host.path().join("dpkg"));
        fs::create_dir_all(dpkg.join("info")).unwrap();
        fs::write(&program, A.0).unwrap();
        let mut holder = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "watchlist::provenance::tests::a_package_manager_at_work_is_given_time_and_not_for_ever"])
            .arg("--nocapture")
            .env(HOLD, dpkg.join("lock"))
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = std::io::BufReader::new(holder.stdout.take().unwrap()).lines();
        assert!(said.by_ref().map_while(Result::ok).any(|line| line == "held"));

        let mut examiner = Examiner::new(Database { dpkg: Dpkg::at(&dpkg), rpm: None });
        let begun = Instant::now();
        assert_eq!(found(&mut examiner, question(&program, &[])).finding, Finding::Nobody);
        assert!(begun.elapsed() >= PATIENCE, "{:?}", begun.elapsed());

        assert!(examiner.ask(question(&program, &[])));
        #[expect(
            clippy::disallowed_methods,
            reason = "the examiner is to be in the midst of waiting, of which nothing tells"
        )]
        std::thread::sleep(Duration::from_millis(50));
        let relative = program.strip_prefix("/").unwrap().display().to_string();
        fs::write(dpkg.join("info/signer.md5sums"), format!("{}  {relative}\n", A.1)).unwrap();
        assert_eq!(examiner.answers.blocking_recv().unwrap().finding, Finding::Package);
        drop(holder.stdin.take());
        said.for_each(drop);
        assert!(holder.wait().unwrap().success());
    }
}
