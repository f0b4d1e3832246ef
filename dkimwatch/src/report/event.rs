//! An event of the journal, as far as a report asks: typed, and borrowed from the entry wherever nothing was escaped.
//!
//! A million entries come through here, so nothing is made of what a report does not need. What only a stranger's access is asked for
//! is [`Details`], and read on a second look.

use std::borrow::Cow;

use serde::Deserialize;

/// Text of an event. (Of `Option<Cow<str>>` serde makes an owned one each time.)
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub(super) struct Word<'e>(#[serde(borrow)] pub(super) Cow<'e, str>);

pub(super) type Known<'e> = Option<Word<'e>>;

/// The text of a field that may not be there; empty where it is not.
pub(super) fn text<'w>(word: &'w Known<'_>) -> &'w str {
    word.as_ref().map_or("", |word| &word.0)
}

/// What every event is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Event<'e> {
    #[serde(borrow)]
    pub(super) event: What<'e>,
    #[serde(borrow)]
    pub(super) host: Host<'e>,
    #[serde(borrow)]
    pub(super) rule: Rule<'e>,
    #[serde(borrow)]
    pub(super) process: Process<'e>,
    #[serde(borrow)]
    pub(super) container: Container<'e>,
    #[serde(borrow)]
    pub(super) dkimwatch: Own<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct What<'e> {
    #[serde(borrow)]
    pub(super) action: Known<'e>,
    #[serde(borrow)]
    pub(super) outcome: Known<'e>,
    #[serde(borrow)]
    pub(super) kind: Known<'e>,
    #[serde(borrow)]
    pub(super) id: Known<'e>,
    #[serde(borrow)]
    pub(super) reason: Known<'e>,
    #[serde(borrow)]
    pub(super) start: Known<'e>,
    #[serde(borrow)]
    pub(super) end: Known<'e>,
    pub(super) severity: u8,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Host<'e> {
    #[serde(borrow)]
    pub(super) name: Known<'e>,
    #[serde(borrow)]
    pub(super) id: Known<'e>,
    #[serde(borrow)]
    pub(super) boot: Id<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Id<'e> {
    #[serde(borrow)]
    pub(super) id: Known<'e>,
    #[serde(borrow)]
    pub(super) name: Known<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Rule<'e> {
    #[serde(borrow)]
    pub(super) id: Known<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Process<'e> {
    #[serde(borrow)]
    pub(super) executable: Known<'e>,
    #[serde(borrow)]
    pub(super) name: Known<'e>,
    #[serde(borrow)]
    pub(super) user: Id<'e>,
    #[serde(borrow)]
    pub(super) real_user: Id<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container<'e> {
    #[serde(borrow)]
    pub(super) id: Known<'e>,
    #[serde(borrow)]
    pub(super) name: Known<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Own<'e> {
    #[serde(borrow)]
    pub(super) key: Key<'e>,
    #[serde(borrow)]
    pub(super) unit: Known<'e>,
    #[serde(borrow)]
    pub(super) file: File<'e>,
    #[serde(borrow)]
    pub(super) enrichment: Enrichment<'e>,
    #[serde(borrow)]
    pub(super) lost: Lost<'e>,
    pub(super) resumed: Resumed,
    pub(super) summarised: Summarised,
    #[serde(borrow)]
    pub(super) process: Login<'e>,
    /// `watch-started`: what is watched.
    #[serde(borrow)]
    pub(super) keys: Vec<Key<'e>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Key<'e> {
    #[serde(borrow)]
    pub(super) path: Known<'e>,
    #[serde(borrow)]
    pub(super) domain: Known<'e>,
    #[serde(borrow)]
    pub(super) selector: Known<'e>,
    #[serde(borrow)]
    pub(super) signer: Known<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct File<'e> {
    #[serde(borrow)]
    pub(super) open_flags: Known<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Enrichment<'e> {
    #[serde(borrow)]
    pub(super) state: Known<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Lost<'e> {
    pub(super) count: u64,
    #[serde(borrow)]
    pub(super) why: Known<'e>,
}

/// `watch-resumed`: whether all hooks had gone on.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Resumed {
    pub(super) whole: bool,
}

/// `key-opens-summarised`: how many.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Summarised {
    pub(super) count: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Login<'e> {
    #[serde(borrow)]
    pub(super) login_uid: Known<'e>,
    #[serde(borrow)]
    pub(super) login_user: Known<'e>,
}

impl Event<'_> {
    /// The host, as people call it.
    pub(super) fn host_name(&self) -> &str {
        match text(&self.host.name) {
            "" => "(a host without a name)",
            name => name,
        }
    }

    /// It was tried, and refused.
    pub(super) fn is_refused(&self) -> bool {
        text(&self.event.outcome) == "failure"
    }

    /// Opened for reading and writing at once (`O_RDWR`, open(2)): the last digit of the octal flags.
    pub(super) fn may_read(&self) -> bool {
        matches!(text(&self.dkimwatch.file.open_flags).bytes().last(), Some(b'2' | b'6'))
    }
}

/// What only a stranger's access is asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Details<'e> {
    #[serde(borrow)]
    pub(super) process: ProcessDetails<'e>,
    #[serde(borrow)]
    pub(super) container: ContainerDetails<'e>,
    #[serde(borrow)]
    pub(super) dkimwatch: OwnDetails<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ProcessDetails<'e> {
    pub(super) pid: u32,
    #[serde(borrow)]
    pub(super) args: Vec<Word<'e>>,
    #[serde(borrow)]
    pub(super) entry_leader: Leader<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Leader<'e> {
    #[serde(borrow)]
    pub(super) entry_meta: Entry<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Entry<'e> {
    #[serde(borrow, rename = "type")]
    pub(super) kind: Known<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerDetails<'e> {
    #[serde(borrow)]
    pub(super) runtime: Known<'e>,
    #[serde(borrow)]
    pub(super) image: Image<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Image<'e> {
    #[serde(borrow)]
    pub(super) name: Known<'e>,
    #[serde(borrow)]
    pub(super) tag: Vec<Word<'e>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OwnDetails<'e> {
    #[serde(borrow)]
    pub(super) deed: Known<'e>,
    #[serde(borrow)]
    pub(super) errno: Known<'e>,
    #[serde(borrow)]
    pub(super) other_path: Known<'e>,
    #[serde(borrow)]
    pub(super) other: Other<'e>,
    #[serde(borrow)]
    pub(super) process: OwnProcess<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Other<'e> {
    pub(super) pid: Option<u32>,
    #[serde(borrow)]
    pub(super) comm: Known<'e>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct OwnProcess<'e> {
    #[serde(borrow)]
    pub(super) package: Known<'e>,
    #[serde(borrow)]
    pub(super) ancestors: Vec<Ancestor<'e>>,
    pub(super) ancestors_cut: bool,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ancestor<'e> {
    pub(super) pid: u32,
    #[serde(borrow)]
    pub(super) comm: Known<'e>,
    #[serde(borrow)]
    pub(super) executable: Known<'e>,
    #[serde(borrow)]
    pub(super) real_user_id: Known<'e>,
}
