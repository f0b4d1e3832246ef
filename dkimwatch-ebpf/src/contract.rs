//! The contract's types, described in the object itself.
//!
//! A map's key and value, and what a ring carries, leave no trace in the object's BTF: aya's maps hold only their sizes.
//! This makes the compiler describe each of them, so that a test can hold what the kernel side was built with against
//! what the user side reads.

use dkimwatch_common::{
    exec::ExecImage,
    identity::{FileId, Identified},
    record::{self, RawExtended, RawRecord},
    summary::{Guise, Summary, SummaryKey},
    watch::{DirWatch, FileWatch, Holder, Itself, NestName, Opener, Refusal, SeenBy},
};

/// An array without elements takes no room and still brings its element's type.
#[repr(C)]
pub struct Contract {
    version: u64,
    record: [RawRecord; 0],
    extended: [RawExtended; 0],
    image: [ExecImage; 0],
    file: [FileId; 0],
    file_watch: [FileWatch; 0],
    dir_watch: [DirWatch; 0],
    nest_name: [NestName; 0],
    seen_by: [SeenBy; 0],
    opener: [Opener; 0],
    holder: [Holder; 0],
    refusal: [Refusal; 0],
    identified: [Identified; 0],
    itself: [Itself; 0],
    guise: [Guise; 0],
    summary_key: [SummaryKey; 0],
    summary: [Summary; 0],
}

const _: () = assert!(size_of::<Contract>() == 8);

/// Read by nobody in the kernel. The number is there because the kernel refuses BTF with a variable of no size.
#[unsafe(no_mangle)]
pub static CONTRACT: Contract = Contract {
    version: record::VERSION as u64,
    record: [],
    extended: [],
    image: [],
    file: [],
    file_watch: [],
    dir_watch: [],
    nest_name: [],
    seen_by: [],
    opener: [],
    holder: [],
    refusal: [],
    identified: [],
    itself: [],
    guise: [],
    summary_key: [],
    summary: [],
};
