//! The contract's types as aya wants them: wrappers that vouch for plain old data.

use dkimwatch_common::{identity::FileId, offsets::Offsets, summary, watch};

macro_rules! plain {
    ($($(#[$doc:meta])* $wrapper:ident($inner:ty);)+) => {
        $(
            $(#[$doc])*
            #[repr(transparent)]
            #[derive(Clone, Copy)]
            pub(super) struct $wrapper(pub(super) $inner);

            // SAFETY: a `repr(C)` struct of integers without implicit padding (asserted in the contract), transparent.
            unsafe impl aya::Pod for $wrapper {}
        )+
    };
}

plain! {
    /// A file's identity, a map key.
    File(FileId);
    /// A watched file.
    FileWatch(watch::FileWatch);
    /// A watched folder.
    DirWatch(watch::DirWatch);
    /// An awaited name, a map key.
    NestName(watch::NestName);
    /// Which process the watcher is.
    Itself(watch::Itself);
    /// What a process was.
    Guise(summary::Guise);
    /// Whose opens of what are counted, a map key.
    SummaryKey(summary::SummaryKey);
    /// Opens that were counted.
    Summary(summary::Summary);
    /// Field offsets, a global.
    FieldOffsets(Offsets);
}
