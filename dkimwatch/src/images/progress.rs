//! How far a search is: bytes, for whoever waits at a terminal.

use std::io::{self, IsTerminal as _, Read};

use indicatif::{ProgressBar, ProgressStyle};

/// Is told of progress.
pub trait Progress {
    /// So many more bytes are to come.
    fn expect(&self, bytes: u64);
    /// So many bytes are done.
    fn advance(&self, bytes: u64);
    /// What is being searched now; text that is safe to show.
    fn at(&self, place: &str);
    /// Nothing more comes.
    fn done(&self) {}
}

/// Nobody waits.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Progress for Silent {
    fn expect(&self, _: u64) {}
    fn advance(&self, _: u64) {}
    fn at(&self, _: &str) {}
}

/// A bar on standard error.
#[derive(Debug)]
pub struct Bar(ProgressBar);

impl Bar {
    /// The bar; `None` where standard error is no terminal, as it would be noise in a file.
    #[must_use]
    pub fn on_terminal() -> Option<Self> {
        if !io::stderr().is_terminal() {
            return None;
        }
        let bar = ProgressBar::new(0);
        if let Ok(style) = ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec}  {wide_msg}") {
            bar.set_style(style);
        }
        Some(Self(bar))
    }
}

impl Progress for Bar {
    fn expect(&self, bytes: u64) {
        self.0.inc_length(bytes);
    }

    fn advance(&self, bytes: u64) {
        self.0.inc(bytes);
    }

    fn at(&self, place: &str) {
        self.0.set_message(place.to_owned());
    }

    fn done(&self) {
        self.0.finish_and_clear();
    }
}

/// A reader that tells how far it is.
pub(super) struct Metered<'a, R> {
    from: R,
    progress: &'a dyn Progress,
}

impl<'a, R> Metered<'a, R> {
    pub(super) fn new(from: R, progress: &'a dyn Progress) -> Self {
        Self { from, progress }
    }
}

impl<R: Read> Read for Metered<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.from.read(buffer)?;
        self.progress.advance(count as u64);
        Ok(count)
    }
}
