//! Opens that are told in sum are one by their key, reader, user and place.

use dkimwatch_common::{
    identity::FileId,
    record::Kind,
    tally::Hook,
    watch::{Tag, file_watch},
};
use serde::{Deserialize, Serialize};

use crate::{
    decode::OpenMode,
    escape,
    judge::{Action, JudgedAccess, Policy, Verdict, Watched, may_check_itself},
};

/// Whose opens of what. Text is escaped as it is told ([`escape`]).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Group {
    /// The key's path as watched.
    pub path: String,
    /// Signing domain, where known.
    pub domain: Option<String>,
    /// Selector, where known.
    pub selector: Option<String>,
    /// The signer whose configuration names the key, where known.
    pub signer: Option<String>,
    /// The rule by which they were expected: `signer/NAME`.
    pub rule: String,
    /// The path of what was executed, where known.
    pub executable: Option<String>,
    /// Real uid, initial user namespace, where known.
    pub uid: Option<u32>,
    /// Its name.
    pub user: Option<String>,
    /// Where it runs.
    pub place: Place,
}

/// Where a process runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The control group's path.
    pub cgroup: Option<String>,
    /// The systemd unit.
    pub unit: Option<String>,
    /// The container's id.
    pub container: Option<String>,
    /// Its runtime.
    pub runtime: Option<String>,
    /// Its name.
    pub name: Option<String>,
}

/// Opens of a group, to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summed {
    /// When it is told, nanoseconds since the Unix epoch.
    pub unix_ns: i128,
    /// Whose, and of what.
    pub group: Group,
    /// How many, those that were told one by one not among them.
    pub count: u64,
    /// None of them was before this, nanoseconds since the Unix epoch …
    pub first_unix_ns: i128,
    /// … and none after this.
    pub last_unix_ns: i128,
    /// By how many processes.
    pub processes: u64,
}

impl Group {
    /// Opens that another watch had counted, and did not come to write down whose they are: of a key by its entry, by a process of which
    /// at most the user and the program are known.
    #[must_use]
    pub fn of_former(tag: Option<Tag>, process: Option<(u32, FileId)>, policy: &Policy) -> Self {
        let entry = tag.and_then(|tag| policy.watched.get(usize::try_from(tag).ok()?));
        let (path, key) = match entry {
            Some(Watched::Key(key)) => (escape::path(&key.path), Some(key)),
            Some(Watched::Folder { path, .. }) => (escape::path(path), None),
            None => ("(a key that is not known any more)".to_owned(), None),
        };
        let reader = process.and_then(|(_, program)| policy.readers.iter().find(|reader| reader.runs(program)));
        Self {
            path,
            domain: key.and_then(|key| key.domain.clone()),
            selector: key.and_then(|key| key.selector.clone()),
            signer: key.and_then(|key| key.signer.clone()),
            rule: format!("signer/{}", reader.map_or("(not known any more)", |reader| &reader.name)),
            executable: reader.map(|reader| escape::path(&reader.executable)),
            uid: process.map(|(uid, _)| uid),
            user: None,
            place: Place::default(),
        }
    }

    /// The group of an access, if others like it may be counted by the kernel side: it was expected of a signer, a plain open
    /// for reading that was done, of a process whose guise the kernel side keeps.
    #[must_use]
    pub fn of(judged: &JudgedAccess, policy: &Policy) -> Option<Self> {
        let JudgedAccess { attributed, action, key, verdict, .. } = judged;
        let access = &attributed.access;
        let is_plain = |open: &OpenMode| open.reads() && !open.writes() && !open.created() && !open.truncated();
        let is_like_others = *verdict == Verdict::Expected
            && *action == Action::KeyOpened
            && access.kind == Kind::Open
            && access.guise != 0
            && access.outcome.known() == Some(&Ok(()))
            && access.file.open.known().is_some_and(is_plain)
            && access.file.generation == access.file.watch_generation
            && matches!(access.file.watch_kind, file_watch::ARMED | file_watch::BORN)
            && matches!(access.hook, Hook::LsmFileOpen | Hook::FexitFileOpen | Hook::SysExitOpen)
            && !access.process.traced
            && !access.process.io_worker
            && !access.process.kernel_thread
            // What its arguments say can change, and decides.
            && !may_check_itself(attributed, policy);
        let uid = Some(access.process.creds.known()?.uid);
        let word = |text: &str| escape::text(text.as_bytes());
        let container = attributed.container.as_ref();
        let details = attributed.enrichment.details();
        is_like_others.then(|| Self {
            path: escape::path(&key.path),
            domain: key.domain.clone(),
            selector: key.selector.clone(),
            signer: key.signer.clone(),
            rule: judged.rule.clone(),
            executable: attributed.executable.path.as_deref().map(escape::text),
            uid,
            user: attributed.names.real_user.clone(),
            place: Place {
                cgroup: access.process.cgroup.known().map(|cgroup| escape::text(&cgroup.path)),
                unit: attributed.unit.clone(),
                container: container.map(|container| container.id.clone()),
                runtime: container.map(|container| container.runtime.to_owned()),
                name: container.and(details).and_then(|details| details.name.as_deref()).map(word),
            },
        })
    }
}
