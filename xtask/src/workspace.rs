//! Where things lie in this workspace.

use std::path::{Path, PathBuf};

/// The workspace's root folder.
///
/// Fixed when xtask was compiled, which cargo does anew when the folder has moved.
pub(crate) fn root() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}

/// What xtask makes lies here. `build.rs` looks for the linker below it, so `CARGO_TARGET_DIR` is not asked.
pub(crate) fn target() -> PathBuf {
    root().join("target")
}
