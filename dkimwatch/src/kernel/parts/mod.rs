//! Which programs each way into the kernel is made of, and what is unseen without one: a file per subject, named as that of
//! its hooks in `dkimwatch-ebpf/src/hooks`.

mod changed;
mod code;
mod data;
mod device;
mod itself;
mod memory;
mod mounted;
mod open;
mod placed;
mod refused;
mod tamper;

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
    RawTracepoint(&'static str),
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
    /// What else is.
    pub(super) lost_too: &'static [Limit],
    /// It is there for kernels without this program, and left out where that is attached.
    pub(super) instead_of: Option<&'static str>,
    /// A kernel without its function does by another, which is hooked too, what this one does elsewhere.
    pub(super) where_present: bool,
    /// Its function is known to be split by a compiler.
    pub(super) where_whole: bool,
    /// It is written for a function of more arguments than some kernels give it, where the verifier refuses it: so that is known.
    pub(super) where_arguments_fit: bool,
    /// Beside this program it is needed only for what that one does not see, and waits until there is such a thing.
    pub(super) waits_beside: Option<&'static str>,
}

impl Part {
    const fn bare(name: &'static str, hook: Hook, attach: Attach) -> Self {
        Self {
            name,
            hook,
            attach,
            essential: false,
            lost: None,
            lost_too: &[],
            instead_of: None,
            where_present: false,
            where_whole: false,
            where_arguments_fit: false,
            waits_beside: None,
        }
    }

    /// A part whose absence costs its own coverage only.
    const fn new(name: &'static str, hook: Hook, attach: Attach, lost: Limit) -> Self {
        Self { lost: Some(lost), ..Self::bare(name, hook, attach) }
    }

    /// A part that a kernel without its function does not need.
    const fn where_present(name: &'static str, hook: Hook, attach: Attach, lost: Limit) -> Self {
        Self { where_present: true, ..Self::new(name, hook, attach, lost) }
    }

    /// A part without which the backend is none.
    const fn essential(name: &'static str, hook: Hook, attach: Attach) -> Self {
        Self { essential: true, ..Self::bare(name, hook, attach) }
    }

    /// A part whose function a compiler may have split.
    const fn where_whole(name: &'static str, hook: Hook, attach: Attach, lost: Limit) -> Self {
        Self { where_whole: true, ..Self::new(name, hook, attach, lost) }
    }

    /// A part whose absence costs more.
    const fn and(self, lost_too: &'static [Limit]) -> Self {
        Self { lost_too, ..self }
    }

    /// Left out where its function has fewer arguments.
    const fn where_arguments_fit(self) -> Self {
        Self { where_arguments_fit: true, ..self }
    }

    /// Not needed beside another program but for what that does not see.
    const fn waits_beside(self, other: &'static str) -> Self {
        Self { waits_beside: Some(other), ..self }
    }

    /// For kernels without another program.
    const fn instead_of(self, other: &'static str) -> Self {
        Self { instead_of: Some(other), ..self }
    }
}

/// A backend's programs, in the order in which they are attached.
pub(super) fn of(backend: Backend) -> impl Iterator<Item = &'static Part> {
    let subjects: [fn(Backend) -> &'static [Part]; 12] = [
        open::parts,
        // Early: from now on somebody may want it ended.
        itself::parts,
        placed::parts,
        data::parts,
        refused::parts,
        code::parts,
        changed::parts,
        mounted::parts,
        memory::parts,
        device::parts,
        tamper::parts,
        tamper::mounts,
    ];
    subjects.into_iter().flat_map(move |parts| parts(backend))
}

/// What a backend never sees, on whatever kernel.
pub(super) fn always_unseen(backend: Backend) -> impl Iterator<Item = Limit> {
    let subjects: [fn(Backend) -> &'static [Limit]; 11] = [
        open::unseen,
        placed::unseen,
        data::unseen,
        refused::unseen,
        code::unseen,
        changed::unseen,
        mounted::unseen,
        memory::unseen,
        device::unseen,
        tamper::unseen,
        itself::unseen,
    ];
    subjects.into_iter().flat_map(move |unseen| unseen(backend)).copied()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_backend_has_a_program_once() {
        for backend in Backend::ALL {
            let mut names = HashSet::new();
            for part in of(backend) {
                assert!(names.insert(part.name), "{backend} has {} twice", part.name);
            }
        }
    }
}
