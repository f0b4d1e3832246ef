//! What a watch leaves to the next one: hooks and rings are pinned (`kernel/pins.rs`), and beside the journal lies a memo of what their
//! records mean. Promise: nothing is believed of a memo but what a journal's owner wrote, and without it accesses are told all the same.

mod heritage;
mod memo;

pub(crate) use heritage::retag;
pub use heritage::{Former, Heritage, Recorded, Tags};
pub use memo::{Entry, ImageMemo, Losses, Memo, MemoFile, ReaderMemo};
