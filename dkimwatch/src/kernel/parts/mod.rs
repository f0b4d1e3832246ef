//! Which programs each way into the kernel is made of, and what is unseen without one: a file per subject, named as that of
//! its hooks in `dkimwatch-ebpf/src/hooks`.

mod code;
mod data;
mod open;
mod placed;
mod refused;
mod tamper;

pub(super) use open::FAMILY as OPEN_FAMILY;

use dkimwatch_common::tally::Hook;

use super::Backend;

/// Something that is not seen: a short, stable name, and what, why, and what would change it.
pub(super) type Limit = (&'static str, &'static str);

/// How a program is attached.
pub(super) enum Attach {
    Lsm(&'static str),
    Fexit(&'static str),
    Fentry(&'static str),
    BtfTracepoint(&'static str),
    /// One program on several tracepoints of a category, those that the kernel has.
    Tracepoints(&'static str, &'static [&'static str]),
}

/// A program of a backend.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) hook: Hook,
    pub(super) attach: Attach,
    /// Without it the backend is none. Any other part's absence costs its own coverage only.
    pub(super) essential: bool,
    /// What is unseen without it.
    pub(super) lost: Option<Limit>,
    /// A kernel without its function does by another, which is hooked too, what this one does elsewhere.
    pub(super) where_present: bool,
}

impl Part {
    /// A part whose absence costs its own coverage only.
    const fn new(name: &'static str, hook: Hook, attach: Attach, lost: Limit) -> Self {
        Self { name, hook, attach, essential: false, lost: Some(lost), where_present: false }
    }

    /// A part that a kernel without its function does not need.
    const fn where_present(name: &'static str, hook: Hook, attach: Attach, lost: Limit) -> Self {
        Self { name, hook, attach, essential: false, lost: Some(lost), where_present: true }
    }

    /// A part without which the backend is none.
    const fn essential(name: &'static str, hook: Hook, attach: Attach) -> Self {
        Self { name, hook, attach, essential: true, lost: None, where_present: false }
    }
}

/// A backend's programs, in the order in which they are attached.
pub(super) fn of(backend: Backend) -> impl Iterator<Item = &'static Part> {
    let subjects: [fn(Backend) -> &'static [Part]; 7] =
        [open::parts, placed::parts, data::parts, refused::parts, code::parts, tamper::parts, tamper::mounts];
    subjects.into_iter().flat_map(move |parts| parts(backend))
}

/// What a backend never sees, on whatever kernel.
pub(super) fn always_unseen(backend: Backend) -> impl Iterator<Item = Limit> {
    let subjects: [fn(Backend) -> &'static [Limit]; 5] =
        [open::unseen, placed::unseen, data::unseen, refused::unseen, tamper::unseen];
    subjects.into_iter().flat_map(move |unseen| unseen(backend)).copied()
}
