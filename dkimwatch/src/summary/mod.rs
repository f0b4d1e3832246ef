//! Expected opens that the kernel side counts: whose they are, what was told of them, and what is to be told next.
//!
//! Beside the road. A record that was judged to be expected is noted ([`Group::of`] says whether its like may be counted), and
//! the kernel side is told to count from then on; now and then what it has counted is read ([`Book::read`]) and told
//! ([`Book::close`]). The book is all that must be known to do so, and can be kept (it is in the memo, see `away`): whoever goes on with
//! the kernel's maps tells exactly what has not been told.

mod book;
mod group;
#[cfg(test)]
mod tests;

pub use book::{Book, Counted, Fate, Id};
pub use group::{Group, Place, Summed};
