//! What a journal says of itself. Each becomes an entry.

/// Something that an investigator must know of the journal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// The last bytes of a segment were no whole entry, and were cut off: a crash or a power cut as it was written.
    Cut {
        /// Which segment.
        segment: u64,
        /// How many.
        bytes: u64,
    },
    /// Bytes within a segment are no entry; entries follow them. They stay as they are.
    Damaged {
        /// Which segment.
        segment: u64,
        /// How many.
        bytes: u64,
    },
    /// Entries that were on the disk, by the seal's state, are not there.
    Missing {
        /// The first one.
        first: u64,
        /// The last one.
        last: u64,
    },
    /// Entries behind the seal's state do not carry the seal.
    Unproven {
        /// The first one.
        first: u64,
    },
    /// The journal was sealed, and the seal's state is gone: it goes on unsealed.
    SealGone {
        /// The last segment that is sealed.
        segment: u64,
    },
    /// Entries that could not be written: a full disk.
    Gap {
        /// How many.
        count: u64,
        /// How many of them were alerts.
        alerts: u64,
        /// The first one's time, nanoseconds since the Unix epoch …
        since_unix_ns: i64,
        /// … and the last one's.
        until_unix_ns: i64,
        /// Why.
        why: String,
    },
    /// Old segments were removed, as `journal.keep_size` and `journal.keep_age` want it.
    Trimmed {
        /// The first one.
        first: u64,
        /// The last one.
        last: u64,
    },
}

impl Notice {
    /// The word in events (`event.action`).
    #[must_use]
    pub const fn action(&self) -> &'static str {
        match self {
            Self::Cut { .. } => "journal-cut",
            Self::Damaged { .. } => "journal-damaged",
            Self::Missing { .. } => "journal-missing",
            Self::Unproven { .. } => "journal-unproven",
            Self::SealGone { .. } => "journal-seal-gone",
            Self::Gap { .. } => "journal-gap",
            Self::Trimmed { .. } => "journal-trimmed",
        }
    }

    /// Whether somebody must look: it is no ordinary course of things.
    #[must_use]
    pub const fn is_grave(&self) -> bool {
        match self {
            Self::Cut { .. } | Self::Trimmed { .. } => false,
            Self::Damaged { .. }
            | Self::Missing { .. }
            | Self::Unproven { .. }
            | Self::SealGone { .. }
            | Self::Gap { .. } => true,
        }
    }

    /// A sentence a person can act on.
    #[must_use]
    pub fn reason(&self) -> String {
        const VERIFY: &str = "See dkimwatch journal verify.";
        match self {
            Self::Cut { segment, bytes } => format!(
                "The last {bytes} bytes of segment {segment} were no whole entry and were cut off: the power went, or dkimwatch was killed, as it was written. What was confirmed before it is there."
            ),
            Self::Damaged { segment, bytes } => format!(
                "{bytes} bytes of segment {segment} are no entry of this journal: a disk that forgets, or somebody altered it. They stay as they are, and a new segment is begun. {VERIFY}"
            ),
            Self::Missing { first, last } => format!(
                "Entries {first} to {last} were on the disk, by the seal's state, and are gone: somebody cut the journal, or the disk lost them. {VERIFY}"
            ),
            Self::Unproven { first } => format!(
                "Entry {first} and what follows it does not carry the seal: it was written by somebody who had not its key. {VERIFY}"
            ),
            Self::SealGone { segment } => format!(
                "The journal was sealed up to segment {segment}, and the seal's state is gone: somebody removed it. It goes on unsealed until `dkimwatch journal setup-sealing --renew`. {VERIFY}"
            ),
            Self::Gap { count, alerts, why, .. } => format!(
                "{count} events, {alerts} of them alerts, are not in the journal, as it could not be written: {why}. They were told all the same."
            ),
            Self::Trimmed { first, last } => {
                format!("Segments {first} to {last} were removed, as journal.keep_size and journal.keep_age want it.")
            }
        }
    }
}
