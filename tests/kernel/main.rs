//! What the product sees of a real kernel. Needs root; `cargo xtask test` runs it here and in guests.
//!
//! The run says by environment what is under test: `DKIMWATCH_BIN`, the built program; `DKIMWATCH_BACKEND`, `lsm`,
//! `fentry` or `tracepoint`; `DKIMWATCH_DISK`, a folder for keys on a real file system, for a guest's root is an overlay.

use std::{env, path::PathBuf, process::Command};

use serde_json::Value;

fn product() -> PathBuf {
    PathBuf::from(env::var_os("DKIMWATCH_BIN").expect("`cargo xtask test` sets DKIMWATCH_BIN"))
}

#[test]
fn the_run_is_by_root_and_names_a_backend() {
    assert!(rustix::process::geteuid().is_root(), "these tests attach programs to the kernel");
    let backend = env::var("DKIMWATCH_BACKEND").expect("`cargo xtask test` sets DKIMWATCH_BACKEND");
    assert!(["lsm", "fentry", "tracepoint"].contains(&backend.as_str()), "no backend is called {backend}");
}

#[test]
fn keys_can_lie_on_a_file_system_that_is_no_overlay() {
    let disk = PathBuf::from(env::var_os("DKIMWATCH_DISK").expect("`cargo xtask test` sets DKIMWATCH_DISK"));
    // OVERLAYFS_SUPER_MAGIC, linux/magic.h
    let kind = rustix::fs::statfs(&disk).expect("the folder is there").f_type;
    assert_ne!(kind, 0x794c_7630, "{} lies on an overlay, where a file's identity is another", disk.display());
    assert!(rustix::fs::access(&disk, rustix::fs::Access::WRITE_OK).is_ok(), "{} cannot be written to", disk.display());
}

#[test]
fn doctor_tells_what_this_kernel_allows() {
    let output = Command::new(product()).args(["doctor", "--json"]).output().expect("the product runs");
    let errors = String::from_utf8_lossy(&output.stderr);
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("doctor printed no JSON ({error}); status {}; {errors}", output.status));
    assert!(report.is_object(), "{report}");
}
