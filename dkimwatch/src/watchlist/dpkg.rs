//! What dpkg(1) recorded of a file: the MD5 sums that a package came with, looked up by path.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::ErrorKind,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
    time::{Duration, SystemTime},
};

use crate::attribute::merged;

/// An MD5 sum. Nobody can make another file of a given sum (a second preimage), which is all that is asked here.
pub(super) type Digest = [u8; 16];

/// A package's record of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Recorded {
    /// The package, without its architecture.
    pub(super) package: String,
    /// The sum of the file as the package delivered it.
    pub(super) digest: Digest,
}

/// dpkg's database.
#[derive(Debug)]
pub(super) struct Dpkg {
    /// `/var/lib/dpkg`.
    folder: PathBuf,
    /// Answers, good for as long as the folder of sums has this modification time.
    as_of: Option<SystemTime>,
    known: HashMap<Vec<u8>, Vec<Recorded>>,
}

impl Dpkg {
    /// The database in this folder, where there is one.
    pub(super) fn at(folder: &Path) -> Option<Self> {
        folder.join("info").is_dir().then(|| Self { folder: folder.to_owned(), as_of: None, known: HashMap::new() })
    }

    /// Every package's record of the files at these paths, links resolved, in their order. All are looked for in one go, as every
    /// package's list has to be read. A package that is being unpacked counts: its files are in place before its sums are, which
    /// lie in `tmp.ci` meanwhile (dpkg's `process_archive()`).
    pub(super) fn recorded(&mut self, paths: &[&Path]) -> Vec<Vec<Recorded>> {
        let diverted = |path: &&Path| self.diverted(&merged(path.as_os_str().as_bytes()));
        let (names, claims): (Vec<Vec<u8>>, Vec<Option<Claim>>) = paths.iter().map(diverted).unzip();
        let installed = self.installed(&names);
        let all = names.iter().zip(installed).zip(claims);
        all.map(|((name, mut found), only)| {
            found.extend(self.unpacking(name));
            found.retain(|one| only.as_ref().is_none_or(|only| only.allows(&one.package)));
            found
        })
        .collect()
    }

    /// Whether dpkg is at work: it holds a lock on its database all the while. Somebody else can hold it to look like that,
    /// which gains them no more than the time that a caller is ready to wait.
    pub(super) fn is_busy(&self) -> bool {
        use rustix::process::{Flock, FlockType, fcntl_getlk};
        let Ok(lock) = fs::File::open(self.folder.join("lock")) else { return false };
        let whole = Flock::from(FlockType::WriteLock);
        fcntl_getlk(&lock, &whole).is_ok_and(|held| held.is_some())
    }

    fn installed(&mut self, names: &[Vec<u8>]) -> Vec<Vec<Recorded>> {
        let info = self.folder.join("info");
        let modified = fs::metadata(&info).and_then(|metadata| metadata.modified()).ok();
        if self.as_of.is_none() || self.as_of != modified {
            self.known.clear();
            // A change within the clock's grain of the look would go unnoticed: such a look is not kept.
            self.as_of = modified.filter(|at| at.elapsed().is_ok_and(|age| age > Duration::from_secs(1)));
        }
        let new: Vec<&[u8]> = names.iter().map(Vec::as_slice).filter(|name| !self.known.contains_key(*name)).collect();
        let mut found: HashMap<Vec<u8>, Vec<Recorded>> = new.iter().map(|name| (name.to_vec(), Vec::new())).collect();
        let entries = (!new.is_empty()).then(|| fs::read_dir(&info).into_iter().flatten().flatten());
        for entry in entries.into_iter().flatten() {
            let file = entry.file_name();
            let Some(package) = file.as_bytes().strip_suffix(b".md5sums") else { continue };
            let Ok(sums) = fs::read(entry.path()) else { continue };
            for (name, digest) in of(&sums, &new) {
                if let Some(found) = found.get_mut(name) {
                    found.push(Recorded { package: bare(package), digest });
                }
            }
        }
        let of_name = |name: &Vec<u8>| self.known.get(name).or_else(|| found.get(name)).cloned().unwrap_or_default();
        let recorded = names.iter().map(of_name).collect();
        if self.as_of.is_some() {
            self.known.extend(found);
        }
        recorded
    }

    fn unpacking(&self, name: &[u8]) -> Option<Recorded> {
        let folder = self.folder.join("tmp.ci");
        let sums = fs::read(folder.join("md5sums")).ok()?;
        let (_, digest) = of(&sums, &[name]).next()?;
        let control = fs::read(folder.join("control")).ok()?;
        let package = control.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"Package:"))?;
        Some(Recorded { package: bare(package.trim_ascii()), digest })
    }

    /// The name under which a path stands in the sums, and who may claim it (dpkg-divert(1)).
    fn diverted(&self, path: &[u8]) -> (Vec<u8>, Option<Claim>) {
        let text = match fs::read(self.folder.join("diversions")) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return (path.to_vec(), None),
            Err(_) => Vec::new(),
        };
        // Three lines each: where it was, where it went, and by whose wish (`:`: the administrator's).
        let mut lines = text.split(|byte| *byte == b'\n');
        while let (Some(from), Some(to), Some(by)) = (lines.next(), lines.next(), lines.next()) {
            let (from, to, by) = (merged(from), merged(to), bare(by));
            if to == path {
                return (from, Some(Claim::NotBy(by)));
            }
            if from == path {
                return (from, Some(Claim::OnlyBy(by)));
            }
        }
        (path.to_vec(), None)
    }
}

/// Whose record of a diverted path counts.
#[derive(Debug)]
enum Claim {
    /// At the old place: whoever diverted it. The administrator is no package.
    OnlyBy(String),
    /// At the new place: whoever it was diverted from.
    NotBy(String),
}

impl Claim {
    fn allows(&self, package: &str) -> bool {
        match self {
            Self::OnlyBy(by) => by == package,
            Self::NotBy(by) => by != package,
        }
    }
}

/// The sums of these paths in a list of `HEX  path` lines.
fn of<'a>(sums: &'a [u8], names: &'a [&[u8]]) -> impl Iterator<Item = (&'a [u8], Digest)> {
    let last = |path: &'a [u8]| path.rsplit(|byte| *byte == b'/').next().unwrap_or(path);
    // Most lines have another name at their end: no need to put the whole path together.
    let ends: HashSet<&[u8]> = names.iter().map(|name| last(name)).collect();
    sums.split(|byte| *byte == b'\n').filter_map(move |line| {
        let (hex, path) = line.split_at_checked(32)?;
        let path = path.strip_prefix(b"  ").filter(|path| ends.contains(last(path)))?;
        let path = merged(&[b"/", path].concat());
        let name = names.iter().find(|name| **name == path)?;
        Some((*name, digest(hex)?))
    })
}

fn digest(hex: &[u8]) -> Option<Digest> {
    let mut digest = [0; 16];
    for (byte, pair) in digest.iter_mut().zip(hex.chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(digest)
}

/// `libc6:amd64` → `libc6`; `:` stays, it is nobody's name.
fn bare(package: &[u8]) -> String {
    let name = package.split(|byte| *byte == b':').next().filter(|name| !name.is_empty()).unwrap_or(package);
    crate::escape::text(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "0cc175b9c0f1b6a831c399e269772661";
    const B: &str = "92eb5ffee6ae2fec3ad71c777531578f";

    fn database() -> (tempfile::TempDir, Dpkg) {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("info")).unwrap();
        let dpkg = Dpkg::at(folder.path()).unwrap();
        (folder, dpkg)
    }

    fn write(folder: &tempfile::TempDir, name: &str, text: impl AsRef<[u8]>) {
        fs::write(folder.path().join(name), text).unwrap();
    }

    fn packages(dpkg: &mut Dpkg, path: &str) -> Vec<(String, Digest)> {
        dpkg.recorded(&[Path::new(path)]).concat().into_iter().map(|one| (one.package, one.digest)).collect()
    }

    fn sum(hex: &str) -> Digest {
        digest(hex.as_bytes()).unwrap()
    }

    #[test]
    fn a_file_is_found_on_either_side_of_the_usr_merge_and_no_other_is() {
        let (folder, mut dpkg) = database();
        write(&folder, "info/signer:amd64.md5sums", format!("{A}  sbin/signer\n{B}  usr/share/doc/signer/x\nbroken\n"));
        write(&folder, "info/other.md5sums", format!("{B}  usr/local/sbin/signer\n{B}  signer\n"));
        assert_eq!(packages(&mut dpkg, "/usr/sbin/signer"), [("signer".to_owned(), sum(A))]);
        assert_eq!(packages(&mut dpkg, "/sbin/signer"), [("signer".to_owned(), sum(A))]);
        assert_eq!(packages(&mut dpkg, "/opt/sbin/signer"), []);
    }

    #[test]
    fn several_are_found_in_one_go_and_each_has_its_own_answer() {
        let (folder, mut dpkg) = database();
        write(&folder, "info/one.md5sums", format!("{A}  usr/sbin/one\n{B}  usr/lib/two\n"));
        write(&folder, "info/two.md5sums", format!("{B}  sbin/one\n{A}  opt/one\n"));
        let paths = ["/usr/lib/two", "/usr/sbin/none", "/usr/sbin/one", "/usr/lib/two"].map(Path::new);
        for round in 0..2 {
            let found = dpkg.recorded(&paths).into_iter().map(|all| {
                let mut all: Vec<_> = all.into_iter().map(|one| (one.package, one.digest)).collect();
                all.sort();
                all
            });
            let (one, two) = ("one".to_owned(), "two".to_owned());
            let second = vec![(one.clone(), sum(B))];
            let first = vec![(one, sum(A)), (two, sum(B))];
            assert_eq!(found.collect::<Vec<_>>(), [second.clone(), vec![], first, second], "round {round}");
        }
        assert_eq!(dpkg.recorded(&[]), Vec::<Vec<Recorded>>::new());
    }

    #[test]
    fn a_new_version_is_found_while_it_is_unpacked_and_after() {
        let (folder, mut dpkg) = database();
        write(&folder, "info/signer.md5sums", format!("{A}  usr/sbin/signer\n"));
        assert_eq!(packages(&mut dpkg, "/usr/sbin/signer"), [("signer".to_owned(), sum(A))]);
        fs::create_dir(folder.path().join("tmp.ci")).unwrap();
        write(&folder, "tmp.ci/md5sums", format!("{B}  usr/sbin/signer\n"));
        write(&folder, "tmp.ci/control", "Package: signer\nVersion: 2\n");
        let both = [("signer".to_owned(), sum(A)), ("signer".to_owned(), sum(B))];
        assert_eq!(packages(&mut dpkg, "/usr/sbin/signer"), both);
        fs::rename(folder.path().join("tmp.ci/md5sums"), folder.path().join("info/signer.md5sums")).unwrap();
        assert_eq!(packages(&mut dpkg, "/usr/sbin/signer"), [("signer".to_owned(), sum(B))]);
    }

    #[test]
    fn an_answer_is_kept_until_the_sums_change() {
        let (folder, mut dpkg) = database();
        let info = folder.path().join("info");
        write(&folder, "info/signer.md5sums", format!("{A}  usr/sbin/signer\n"));
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        fs::File::open(&info).unwrap().set_modified(hour_ago).unwrap();
        assert_eq!(packages(&mut dpkg, "/usr/sbin/signer"), [("signer".to_owned(), sum(A))]);
        // In place, which dpkg never does: the folder's time tells nothing of it.
        write(&folder, "info/signer.md5sums", format!("{B}  usr/sbin/signer\n"));
        assert_eq!(packages(&mut dpkg, "/usr/sbin/signer"), [("signer".to_owned(), sum(A))], "kept");
        write(&folder, "info/new.md5sums", "");
        assert_eq!(packages(&mut dpkg, "/usr/sbin/signer"), [("signer".to_owned(), sum(B))], "looked at again");
    }

    #[test]
    fn a_diverted_file_is_its_packages_and_the_old_place_is_the_diverters() {
        let (folder, mut dpkg) = database();
        write(&folder, "info/signer.md5sums", format!("{A}  usr/sbin/signer\n"));
        write(&folder, "info/wrapper.md5sums", format!("{B}  usr/sbin/signer\n"));
        write(&folder, "diversions", "/usr/sbin/signer\n/usr/sbin/signer.real\nwrapper\n");
        assert_eq!(packages(&mut dpkg, "/usr/sbin/signer.real"), [("signer".to_owned(), sum(A))]);
        assert_eq!(packages(&mut dpkg, "/usr/sbin/signer"), [("wrapper".to_owned(), sum(B))]);
        write(&folder, "diversions", "/usr/sbin/signer\n/usr/sbin/signer.real\n:\n");
        assert_eq!(packages(&mut dpkg, "/usr/sbin/signer"), [], "the administrator's own");
    }

    /// A record lock of a process's own is none to itself: a second run of this test, in another process, holds it.
    #[test]
    fn a_held_lock_is_seen() {
        use std::{
            io::{Read as _, Write as _, stdin, stdout},
            process::{Command, Stdio},
        };
        const HOLD: &str = "DKIMWATCH_TEST_HOLD_LOCK";
        if let Some(lock) = std::env::var_os(HOLD) {
            let lock = fs::File::create(lock).unwrap();
            rustix::fs::fcntl_lock(&lock, rustix::fs::FlockOperation::LockExclusive).unwrap();
            writeln!(stdout(), "\nheld").unwrap();
            stdin().read_to_end(&mut Vec::new()).unwrap();
            return;
        }
        let (folder, dpkg) = database();
        assert!(!dpkg.is_busy(), "no lock file");
        write(&folder, "lock", "");
        assert!(!dpkg.is_busy());
        let mut holder = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "watchlist::dpkg::tests::a_held_lock_is_seen", "--nocapture"])
            .env(HOLD, folder.path().join("lock"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        // Kept to the end: a test program that cannot print fails.
        let mut said = std::io::BufRead::lines(std::io::BufReader::new(holder.stdout.take().unwrap()));
        assert!(said.by_ref().map_while(Result::ok).any(|line| line == "held"));
        assert!(dpkg.is_busy());
        drop(holder.stdin.take());
        said.for_each(drop);
        assert!(holder.wait().unwrap().success());
        assert!(!dpkg.is_busy());
    }
}
