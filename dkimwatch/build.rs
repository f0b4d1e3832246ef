//! Compiles the kernel side with the same toolchain and leaves its object in `OUT_DIR`, where the binary embeds it.

use std::{env, path::PathBuf};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};

fn main() -> Result<()> {
    let manifest = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").context("cargo sets CARGO_MANIFEST_DIR")?);
    let workspace = manifest.parent().context("the crate lies in the workspace")?;
    let linker = workspace.join("target/tools/bin/bpf-linker");
    println!("cargo:rerun-if-changed={}", linker.display());
    if !linker.exists() {
        bail!("{} is missing: run `cargo xtask setup`, which installs it and rust-src", linker.display());
    }
    let toolchain = env::var("RUSTUP_TOOLCHAIN").context("build with rustup's cargo: it sets RUSTUP_TOOLCHAIN")?;
    // SAFETY: the build script has one thread. `-Z build-std=core`, which a target without a prebuilt core needs, is
    // refused by a stable cargo unless it is told so; nothing outside this nested build sees the variable.
    unsafe {
        env::set_var("RUSTC_BOOTSTRAP", "1");
        env::set_var("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &linker);
        env::set_var("CARGO_TARGET_BPFEB_UNKNOWN_NONE_LINKER", &linker);
    }
    let kernel_side = workspace.join("dkimwatch-ebpf");
    let contract = workspace.join("dkimwatch-common");
    println!("cargo:rerun-if-changed={}", contract.display());
    aya_build::build_ebpf(
        [Package {
            name: "dkimwatch-ebpf",
            root_dir: kernel_side.to_str().context("the workspace's path is not UTF-8")?,
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain),
    )
}
