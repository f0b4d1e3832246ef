//! Compiles the kernel side with the same toolchain and leaves its objects in `OUT_DIR`, where the binary embeds them.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};
use aya_build::{Package, Toolchain};
use object::build::elf::{Builder, SectionData};

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
    share_target(workspace)?;
    aya_build::build_ebpf(
        [Package {
            name: "dkimwatch-ebpf",
            root_dir: kernel_side.to_str().context("the workspace's path is not UTF-8")?,
            ..Package::default()
        }],
        Toolchain::Custom(&toolchain),
    )?;
    for object in ["dkimwatch-ebpf", "dkimwatch-empty"] {
        let object = PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?).join(object);
        drop_debug_info(&object).with_context(|| format!("drop the debug information of {}", object.display()))?;
    }
    Ok(())
}

/// Lets every build of this crate (the tests', the linter's, the release's) use one folder for the kernel side, which is the
/// same in all: with one in each `OUT_DIR`, where aya-build puts it, `core` was compiled anew for each.
fn share_target(workspace: &Path) -> Result<()> {
    let shared = workspace.join("target/kernel-side");
    let own =
        PathBuf::from(env::var_os("OUT_DIR").context("cargo sets OUT_DIR")?).join("aya-build/target/dkimwatch-ebpf");
    if own.is_symlink() {
        return Ok(());
    }
    if own.exists() {
        fs::remove_dir_all(&own)?;
    }
    fs::create_dir_all(&shared)?;
    fs::create_dir_all(own.parent().context("a folder")?)?;
    std::os::unix::fs::symlink(&shared, &own).with_context(|| format!("link {} to {}", own.display(), shared.display()))
}

/// Drops the DWARF, nine tenths of the object, from which the linker has made BTF. Types and line numbers are in `.BTF`
/// and `.BTF.ext`; nobody reads the rest.
fn drop_debug_info(object: &Path) -> Result<()> {
    let bytes = fs::read(object)?;
    let mut elf = Builder::read(bytes.as_slice())?;
    for section in &mut elf.sections {
        let name = section.name.as_slice();
        section.delete = name.starts_with(b".debug_") || name.starts_with(b".rel.debug_");
    }
    // LLVM keeps the sections' names in `.strtab` beside the symbols'; the writer wants them apart.
    let names = elf.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    // The relocations of a deleted section, and the symbols that only they named.
    elf.delete_orphans();
    let mut stripped = Vec::new();
    elf.write(&mut stripped)?;
    if stripped.len() >= bytes.len() {
        bail!("nothing was dropped: is it built with debug information, which BTF is made from?");
    }
    fs::write(object, stripped)?;
    Ok(())
}
