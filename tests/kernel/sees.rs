//! What this kernel and this backend let the watch see: the line that `docs/kernels.md` is made of.

use std::sync::{Mutex, PoisonError};

use anyhow::Result;
use serde_json::{Value, json};

use crate::{command, scene::Scene};

/// What became of the sentences that were tried.
#[derive(Default)]
pub(crate) struct Sees(Mutex<Vec<(&'static str, bool)>>);

impl Sees {
    /// Tries a sentence and keeps whether it holds. One that panics has no entry, and is missed by whoever counts.
    pub(crate) fn told(&self, name: &'static str, sentence: impl FnOnce() -> Result<()>) -> Result<()> {
        let done = sentence();
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push((name, done.is_ok()));
        done
    }

    /// Prints the line, the sentences in the order of `names`. A sentence that holds because the watch had named what it
    /// does not see has that limit's id.
    #[expect(clippy::print_stdout, reason = "the line is for `cargo xtask test`, which reads this program's output")]
    pub(crate) fn print(&self, scene: &Scene, names: &[&str]) {
        let limits = scene.limits();
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        told.sort_by_key(|(told, _)| names.iter().position(|name| name == told));
        let sentences: Vec<Value> = told
            .iter()
            .map(|(name, holds)| match (holds, limits.get(name)) {
                (false, _) => json!([name, "failed"]),
                (true, None) => json!([name, "holds"]),
                (true, Some(id)) => json!([name, { "limit": id }]),
            })
            .collect();
        let started = |field: &str| scene.started.field(field).cloned().unwrap_or_default();
        let line = json!({
            "kernel": rustix::system::uname().release().to_string_lossy(),
            "backend": scene.backend(),
            "hooks": started("dkimwatch.hooks"),
            "blind_spots": started("dkimwatch.blind_spots"),
            "refused": command::refused(),
            "sentences": sentences,
        });
        println!("SEES {line}");
    }
}
