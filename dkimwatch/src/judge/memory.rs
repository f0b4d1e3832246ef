//! Whose memory it was, and which key it holds.

use std::path::PathBuf;

use dkimwatch_common::{deed::Deed, record::Kind, watch::Tag};

use super::{JudgedKey, Policy, Reader, Role, Watched};
use crate::decode::Access;

/// Whether what was reached may hold a key. What the kernel side takes for a signer by its executable alone is none when it
/// is run by somebody else, or when it is only the same interpreter.
pub(super) fn holds_key(access: &Access, policy: &Policy) -> bool {
    access.kind != Kind::Memory || access.file.tag != Tag::MAX || signer(access, policy).is_some()
}

/// The key of an access that names none: one of the signer whose memory it was, or any, where it is everybody's.
pub(super) fn key(access: &Access, policy: &Policy) -> Option<JudgedKey> {
    let nameless = access.kind == Kind::Memory || access.deed == Deed::MemoryDevice;
    if !nameless || access.file.tag != Tag::MAX {
        return None;
    }
    let reader = signer(access, policy);
    let its_own = |(tag, one): &(Tag, &Watched)| match (reader, one) {
        (None, _) => true,
        (Some(reader), Watched::Key(JudgedKey { signer, .. }) | Watched::Folder { signer, .. }) => signer
            .as_ref()
            .map_or_else(|| reader.keys.as_ref().is_none_or(|keys| keys.contains(tag)), |name| *name == reader.name),
    };
    (0..).zip(&policy.watched).find(its_own).map(|(_, one)| of(one))
}

/// An entry of the watch list as a key; a folder stands for what is in it.
pub(super) fn of(watched: &Watched) -> JudgedKey {
    match watched {
        Watched::Key(key) => key.clone(),
        Watched::Folder { path, signer } => {
            JudgedKey { path: PathBuf::clone(path), domain: None, selector: None, signer: signer.clone() }
        }
    }
}

/// The signer whose program the other process runs, as itself or as root, which starts it.
fn signer<'p>(access: &Access, policy: &'p Policy) -> Option<&'p Reader> {
    let other = access.other.known()?;
    policy.readers.iter().filter(|reader| reader.role == Role::Signer).find(|reader| {
        let runs_it = reader.images.iter().any(|image| Some(image.id) == other.exe);
        let by_user = if reader.users.is_empty() && reader.uids.is_empty() {
            reader.script.is_none()
        } else {
            reader.uids.contains(&other.uid) || (other.uid == 0 && reader.script.is_none())
        };
        runs_it && by_user
    })
}
