//! The guest's initial memory disk: busybox, the few modules that reach the host's root, three scripts.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::{
    command::{capture, require},
    kernels::Kernel,
};

/// What reaches a root over virtiofs. Built in on some kernels.
const MODULES: [&str; 3] = ["virtio_pci", "virtiofs", "overlay"];

/// Builds it: `scripts` are names and texts, `init` among them.
pub(super) fn build(kernel: &Kernel, scripts: &[(&str, String)]) -> Result<Vec<u8>> {
    let mut archive = Cpio::default();
    for folder in ["bin", "modules"] {
        archive.entry(folder, DIRECTORY, &[]);
    }
    archive.entry("bin/busybox", PROGRAM, &fs::read(require("busybox")?).context("cannot read busybox")?);
    let table = fs::read_to_string(kernel.modules.join("modules.dep"))
        .with_context(|| format!("cannot read the table of the modules of {}", kernel.release))?;
    let mut order = Vec::new();
    for module in load_order(&table, &MODULES) {
        let (name, data) = module_file(&kernel.modules.join(module))?;
        archive.entry(&format!("modules/{name}"), PROGRAM, &data);
        order.push(name);
    }
    archive.entry("order", PROGRAM, order.join("\n").as_bytes());
    for (name, text) in scripts {
        archive.entry(name, PROGRAM, text.as_bytes());
    }
    Ok(archive.finish())
}

/// A module as busybox can load it: unpacked, which kernels from 6.12 on do not ship.
fn module_file(path: &Path) -> Result<(String, Vec<u8>)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    match name.strip_suffix(".xz") {
        Some(plain) => Ok((plain.to_owned(), capture(Command::new(require("xz")?).arg("-dc").arg(path))?)),
        None => Ok((name, fs::read(path).with_context(|| format!("cannot read the module {}", path.display()))?)),
    }
}

/// The modules' files in the order in which they can be loaded, by `modules.dep(5)`; those that are built in are left out.
fn load_order<'a>(table: &'a str, wanted: &[&str]) -> Vec<&'a str> {
    let mut order = Vec::new();
    for name in wanted {
        let entry = table.lines().filter_map(|line| line.split_once(':')).find(|(path, _)| module_name(path) == *name);
        let Some((path, needs)) = entry else { continue };
        // A module's needs are listed nearest first, so the last one loads first.
        for file in needs.split_whitespace().rev().chain([path]) {
            if !order.contains(&file) {
                order.push(file);
            }
        }
    }
    order
}

/// `kernel/fs/fuse/virtiofs.ko.xz` is `virtiofs`; a hyphen in a file's name stands for an underscore.
fn module_name(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

const DIRECTORY: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;

/// A cpio archive in the `newc` form, the one that the kernel unpacks
/// (`Documentation/driver-api/early-userspace/buffer-format.rst`).
#[derive(Default)]
struct Cpio {
    bytes: Vec<u8>,
    entries: u32,
}

impl Cpio {
    fn entry(&mut self, name: &str, mode: u32, data: &[u8]) {
        self.entries += 1;
        let links = if mode == DIRECTORY { 2 } else { 1 };
        // inode, mode, uid, gid, links, mtime, size, device (2), special device (2), length of the name with its NUL, check
        let fields = [
            u64::from(self.entries),
            u64::from(mode),
            0,
            0,
            links,
            0,
            data.len() as u64,
            0,
            0,
            0,
            0,
            name.len() as u64 + 1,
            0,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
        self.bytes.extend_from_slice(data);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, &[]);
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_load_after_those_they_need() {
        let table = "\
kernel/fs/fuse/fuse.ko:
kernel/fs/fuse/virtiofs.ko: kernel/fs/fuse/fuse.ko
kernel/drivers/virtio/virtio_pci.ko.xz: kernel/d/legacy.ko.xz kernel/d/virtio_ring.ko.xz kernel/d/virtio.ko.xz
";
        assert_eq!(
            load_order(table, &["virtio_pci", "virtiofs", "overlay", "fuse"]),
            [
                "kernel/d/virtio.ko.xz",
                "kernel/d/virtio_ring.ko.xz",
                "kernel/d/legacy.ko.xz",
                "kernel/drivers/virtio/virtio_pci.ko.xz",
                "kernel/fs/fuse/fuse.ko",
                "kernel/fs/fuse/virtiofs.ko",
            ]
        );
    }

    #[test]
    fn entries_of_the_archive_are_aligned_and_end_with_the_trailer() {
        let mut archive = Cpio::default();
        archive.entry("init", PROGRAM, b"#!sh\n");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        assert_eq!(&bytes[..6], b"070701");
        assert_eq!(&bytes[14..22], b"000081ED", "a regular file that may be executed");
        assert_eq!(&bytes[54..62], b"00000005", "five bytes of data");
        // 110 bytes of header, `init` and its NUL, padded to four.
        assert_eq!(&bytes[116..121], b"#!sh\n");
        assert_eq!(&bytes[124..130], b"070701");
        assert!(bytes.windows(11).any(|window| window == b"TRAILER!!!\0"));
    }
}
