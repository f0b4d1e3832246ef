//! Why bytes are no record.

use dkimwatch_common::record::VERSION;

/// Why bytes are no record. Each of these means that the kernel side and this program were not built together, or that
/// the ring's memory is damaged: the watch must say so and count it, never pass over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes are not as many as a record has.
    #[error(
        "a record of {got} bytes came through the ring, expected {open} or {extended}: the kernel programs and dkimwatch differ in version; restart dkimwatch",
        open = super::fields::SIZE,
        extended = super::fields::EXTENDED
    )]
    Size {
        /// Bytes that came.
        got: usize,
    },
    /// The header's length is another than the bytes that came.
    #[error("a record's header says {header} bytes, the ring delivered {got}: restart dkimwatch, and report this")]
    Length {
        /// Bytes by the header.
        header: u32,
        /// Bytes that came.
        got: usize,
    },
    /// Another layout version.
    #[error(
        "a record has layout version {got}, this dkimwatch reads version {expected}: restart dkimwatch so that it loads its own kernel programs",
        expected = VERSION
    )]
    Version {
        /// The record's version.
        got: u16,
    },
    /// A kind that is not in the contract.
    #[error("a record has kind {got}, which is not in the contract: restart dkimwatch, and report this")]
    Kind {
        /// The record's kind.
        got: u16,
    },
    /// A backend that is not in the contract.
    #[error("a record came by backend {got}, which is not in the contract: restart dkimwatch, and report this")]
    Via {
        /// The record's backend.
        got: u16,
    },
    /// A hook that is not in the contract.
    #[error("a record came from hook {got}, which is not in the contract: restart dkimwatch, and report this")]
    Hook {
        /// The record's hook.
        got: u16,
    },
    /// A deed that is not in the contract.
    #[error("a record tells of deed {got}, which is not in the contract: restart dkimwatch, and report this")]
    Deed {
        /// The record's deed.
        got: u32,
    },
}
