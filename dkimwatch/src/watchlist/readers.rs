//! The expected readers, resolved: an executable's path to what the kernel says lies there, a user's name to its uid.

use std::{collections::HashMap, os::unix::ffi::OsStrExt as _, path::PathBuf};

use dkimwatch_common::{identity::Identified, watch::Tag};

use super::{
    dpkg::Digest,
    provenance::{Answer, Examiner, Finding, Question},
};
use crate::{
    config::{Settings, Signer},
    host::Host,
    judge::{Contained, ExpectedImage, Policy, Provenance, Reader, Role, Watched},
    kernel::{Handle, KernelError, Session},
};

/// Users' ids by name.
type Uids = HashMap<String, u32>;

/// Refused executables that are kept of a reader. Somebody who changes the file without end must not fill the memory.
const REFUSED: usize = 32;

/// What is known of the readers' executables beyond the policy.
#[derive(Debug)]
pub(super) struct Executables {
    examiner: Examiner,
    /// Questions without an answer yet.
    asked: Vec<((String, Role), ExpectedImage)>,
    /// Contents that were accepted, by reader.
    accepted: HashMap<(String, Role), Vec<Digest>>,
    /// The readers have not been resolved yet: what lies at their paths now was there before the watch.
    first: bool,
    /// What was there when they were resolved for the first time.
    at_start: Vec<((String, Role), ExpectedImage)>,
}

impl Executables {
    pub(super) fn of_this_host() -> Self {
        Self {
            examiner: Examiner::of_this_host(),
            asked: Vec::new(),
            accepted: HashMap::new(),
            first: true,
            at_start: Vec::new(),
        }
    }

    /// Whether an answer is awaited.
    pub(super) fn are_being_looked_at(&self) -> bool {
        !self.asked.is_empty()
    }

    /// What was found out of an executable; never, when nothing is asked.
    pub(super) async fn answer(&mut self) -> Answer {
        self.examiner.next().await
    }

    /// Asks about an executable, unless that is being done already. What was refused is asked about again: its package's
    /// record may have come late.
    fn ask(&mut self, reader: &Reader, image: &ExpectedImage, handle: Handle, path: PathBuf) {
        let key = (reader.name.clone(), reader.role);
        let is_asked = self.asked.iter().any(|(asked, known)| *asked == key && known.is_same_file(image));
        if image.provenance == Provenance::Accepted || is_asked {
            return;
        }
        if self.first {
            self.at_start.push((key.clone(), image.clone()));
        }
        let accepted = self.accepted.get(&key).cloned().unwrap_or_default();
        let question = Question { reader: key.clone(), image: image.clone(), file: handle.into_fd(), path, accepted };
        if self.examiner.ask(question) {
            self.asked.push((key, image.clone()));
        }
    }

    /// Takes an answer into the policy.
    pub(super) fn learn(&mut self, answer: Answer, policy: &mut Policy) {
        let Answer { reader: key, image, digest, finding } = answer;
        self.asked.retain(|(asked, known)| !(*asked == key && known.is_same_file(&image)));
        let at_start = self.at_start.iter().any(|(asked, known)| *asked == key && known.is_same_file(&image));
        let provenance = match finding {
            Finding::Before | Finding::Package => Provenance::Accepted,
            // Nobody can say more of them than that they were there.
            Finding::Nobody | Finding::Unread if at_start => Provenance::Accepted,
            Finding::NotPackage(package) => Provenance::NotPackage(package),
            Finding::Nobody => Provenance::Changed,
            Finding::Unread => Provenance::Unread,
        };
        tracing::debug!(reader = key.0, ?image, ?provenance, "an executable was looked at");
        if let (Provenance::Accepted, Some(digest)) = (&provenance, digest) {
            let accepted = self.accepted.entry(key.clone()).or_default();
            if !accepted.contains(&digest) {
                accepted.push(digest);
            }
        }
        let readers = policy.readers.iter_mut().filter(|reader| (reader.name == key.0) && reader.role == key.1);
        for known in readers.flat_map(|reader| &mut reader.images).filter(|known| known.is_same_file(&image)) {
            known.provenance = provenance.clone();
        }
    }
}

/// Resolves every reader anew. What was at its path before is kept: a running process keeps the old file over a package
/// upgrade.
pub(super) fn resolve(
    settings: &Settings,
    policy: &mut Policy,
    executables: &mut Executables,
    session: &mut Session,
) -> Result<(), KernelError> {
    let uids = Host::here().users().into_iter().map(|(name, user)| (name, user.uid)).collect();
    let roles = [(&settings.signers, Role::Signer), (&settings.maintenance, Role::Maintenance)];
    let signers: Vec<(&Signer, Role)> =
        roles.into_iter().flat_map(|(signers, role)| signers.iter().map(move |signer| (signer, role))).collect();
    let found = found(signers.iter().map(|(signer, _)| *signer), session)?;
    let mut readers = Vec::new();
    for ((signer, role), found) in signers.into_iter().zip(found) {
        let before = policy.readers.iter().find(|reader| reader.name == signer.name && reader.role == role);
        let mut reader = resolve_one(signer, role, &uids, &policy.watched);
        reader.images = before.map(|reader| reader.images.clone()).unwrap_or_default();
        let met = before.and_then(|reader| reader.contained.as_ref()).map(|contained| contained.met.clone());
        if let (Some(contained), Some(met)) = (&mut reader.contained, met) {
            contained.met = met;
        }
        if let Some(Found { handle, image }) = found {
            if role == Role::Signer {
                let script = signer.script.as_ref().map(|script| script.as_os_str().as_bytes());
                session.watch_set.route_signer(image.id, script)?;
            }
            let image = newest(&mut reader.images, image);
            reader.place = handle.path();
            let path = reader.place.clone().unwrap_or_else(|| signer.executable.clone());
            executables.ask(&reader, &image, handle, path);
        }
        readers.push(reader);
    }
    policy.readers = readers;
    executables.first = false;
    Ok(())
}

/// Puts what lies at the path now last, with what is known of it already.
fn newest(images: &mut Vec<ExpectedImage>, image: ExpectedImage) -> ExpectedImage {
    let known = images.iter().position(|known| known.is_same_file(&image)).map(|at| images.remove(at));
    let image = known.unwrap_or(image);
    let is_refused = |one: &ExpectedImage| one.provenance != Provenance::Accepted;
    if images.iter().filter(|one| is_refused(one)).count() >= REFUSED
        && let Some(oldest) = images.iter().position(is_refused)
    {
        images.remove(oldest);
    }
    images.push(image.clone());
    image
}

/// What lies at a reader's path.
struct Found {
    handle: Handle,
    image: ExpectedImage,
}

/// What lies at each one's path now, asked in one go: the kernel lists every descriptor of the host for an answer.
fn found<'a>(
    signers: impl Iterator<Item = &'a Signer>,
    session: &mut Session,
) -> Result<Vec<Option<Found>>, KernelError> {
    let handles: Vec<Option<Handle>> = signers
        .map(|signer| {
            // An interpreter is on many hosts; without the script it is no signer's.
            let installed = signer.script.as_ref().is_none_or(|script| script.exists());
            // One in a container is looked up there.
            Handle::open(&signer.executable).ok().filter(|_| installed && signer.images.is_empty())
        })
        .collect();
    let there: Vec<bool> = handles.iter().map(Option::is_some).collect();
    let handles: Vec<Handle> = handles.into_iter().flatten().collect();
    let mut identified = session.identify(&handles)?.into_iter().zip(handles);
    let image = |found: Identified| ExpectedImage {
        id: found.file,
        uid: found.uid,
        ctime: found.ctime,
        mode: found.mode,
        provenance: Provenance::Pending,
    };
    Ok(there
        .into_iter()
        .map(|there| {
            let (identified, handle) = if there { identified.next()? } else { return None };
            Some(Found { handle, image: image(identified?) })
        })
        .collect())
}

fn resolve_one(signer: &Signer, role: Role, uids: &Uids, watched: &[Watched]) -> Reader {
    Reader {
        name: signer.name.clone(),
        role,
        executable: signer.executable.clone(),
        images: Vec::new(),
        place: None,
        script: signer.script.clone(),
        uids: signer.users.iter().filter_map(|user| uid(user, uids)).collect(),
        users: signer.users.clone(),
        units: signer.units.clone(),
        containers: signer.containers.clone(),
        contained: (!signer.images.is_empty()).then(|| Contained { images: signer.images.clone(), met: Vec::new() }),
        keys: (!signer.keys.is_empty()).then(|| tags(&signer.keys, watched)),
    }
}

fn uid(user: &str, uids: &Uids) -> Option<u32> {
    user.parse().ok().or_else(|| uids.get(user).copied())
}

/// The entries at or below the paths.
fn tags(paths: &[std::path::PathBuf], watched: &[Watched]) -> Vec<Tag> {
    (0..)
        .zip(watched)
        .filter(|(_, entry)| {
            let at = match entry {
                Watched::Key(key) => &key.path,
                Watched::Folder { path, .. } => path,
            };
            paths.iter().any(|path| at.starts_with(path))
        })
        .map(|(tag, _)| tag)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::JudgedKey;

    fn watched() -> Vec<Watched> {
        let key =
            |path: &str| Watched::Key(JudgedKey { path: path.into(), domain: None, selector: None, signer: None });
        let folder = Watched::Folder { path: "/srv/keys".into(), signer: None };
        vec![key("/srv/keys/a.private"), key("/srv/keys-of-others/b.private"), folder]
    }

    fn signer(users: &[&str], keys: &[&str]) -> Signer {
        Signer {
            name: "mine".to_owned(),
            executable: "/usr/sbin/mine".into(),
            script: None,
            users: users.iter().map(|user| (*user).to_owned()).collect(),
            units: Vec::new(),
            containers: Vec::new(),
            images: Vec::new(),
            keys: keys.iter().map(PathBuf::from).collect(),
            built_in: false,
        }
    }

    fn resolved(signer: &Signer) -> Reader {
        resolve_one(signer, Role::Signer, &HashMap::from([("mail".to_owned(), 104)]), &watched())
    }

    #[test]
    fn a_users_name_becomes_its_uid_and_an_unknown_one_nobodys() {
        let reader = resolved(&signer(&["mail", "0", "gone"], &[]));
        assert_eq!(reader.uids, [104, 0]);
        assert_eq!(reader.users, ["mail", "0", "gone"]);
        // No uid and yet users: nobody may, which the judge tells from "any user" by the names.
        let reader = resolved(&signer(&["gone"], &[]));
        assert!(reader.uids.is_empty() && !reader.users.is_empty());
    }

    fn image(ino: u64, ctime: u64) -> ExpectedImage {
        let id = dkimwatch_common::identity::FileId::new(1, ino);
        ExpectedImage { id, uid: 0, ctime, mode: 0o100755, provenance: Provenance::Pending }
    }

    /// A policy with one reader and what is at its path.
    fn policy(images: Vec<ExpectedImage>) -> Policy {
        let reader = Reader { images, ..resolved(&signer(&["mail"], &[])) };
        Policy { readers: vec![reader], ..Policy::default() }
    }

    fn learned(
        executables: &mut Executables,
        policy: &mut Policy,
        image: &ExpectedImage,
        finding: Finding,
    ) -> Provenance {
        let reader = ("mine".to_owned(), Role::Signer);
        executables.learn(Answer { reader, image: image.clone(), digest: Some([1; 16]), finding }, policy);
        policy.readers[0].images.iter().find(|known| known.is_same_file(image)).unwrap().provenance.clone()
    }

    #[test]
    fn only_what_was_there_at_the_start_is_accepted_without_a_package() {
        let (old, new) = (image(1, 10), image(2, 20));
        let mut executables = Executables::of_this_host();
        executables.at_start.push((("mine".to_owned(), Role::Signer), old.clone()));
        let mut policy = policy(vec![old.clone(), new.clone()]);
        let mut learn = |image, finding| learned(&mut executables, &mut policy, image, finding);
        assert_eq!(learn(&old, Finding::Nobody), Provenance::Accepted);
        assert_eq!(learn(&new, Finding::Nobody), Provenance::Changed);
        assert_eq!(learn(&new, Finding::Unread), Provenance::Unread);
        assert_eq!(learn(&new, Finding::Before), Provenance::Accepted);
        let not = || Finding::NotPackage("signer".to_owned());
        assert_eq!(learn(&new, not()), Provenance::NotPackage("signer".to_owned()));
        // The package says what its bytes are, whenever they were put there.
        assert_eq!(learn(&old, not()), Provenance::NotPackage("signer".to_owned()));
        assert_eq!(learn(&old, Finding::Package), Provenance::Accepted);
        assert_eq!(executables.accepted.values().flatten().count(), 1);
    }

    #[test]
    fn the_newest_comes_last_with_what_is_known_of_it_and_refusals_are_bounded() {
        let mut images = vec![ExpectedImage { provenance: Provenance::Accepted, ..image(1, 1) }];
        for ctime in 2..200 {
            newest(&mut images, image(1, ctime));
        }
        assert_eq!(images.len(), REFUSED + 1);
        assert_eq!(images[0].provenance, Provenance::Accepted, "what may still run is kept");
        assert_eq!(newest(&mut images, image(1, 1)).provenance, Provenance::Accepted);
        assert!(images.last().unwrap().is_same_file(&image(1, 1)));
    }

    #[test]
    fn keys_are_those_at_or_below_the_paths() {
        assert_eq!(resolved(&signer(&[], &[])).keys, None, "all");
        assert_eq!(resolved(&signer(&[], &["/srv/keys"])).keys, Some(vec![0, 2]));
        assert_eq!(resolved(&signer(&[], &["/srv/keys-of-others/b.private"])).keys, Some(vec![1]));
        assert_eq!(resolved(&signer(&[], &["/none"])).keys, Some(vec![]), "none, and not all");
    }
}
