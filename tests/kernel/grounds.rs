//! File systems for keys to lie on, mounted before the watch begins and unmounted with the scene.

use std::{
    ffi::OsStr,
    fs,
    os::unix::fs::FileTypeExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{
    scene::{BYTES, run},
    tamper,
};

/// What is mounted, and the keys on it.
pub(crate) struct Grounds {
    root: PathBuf,
    /// In the order in which they were mounted.
    mounted: Vec<PathBuf>,
    keys: Vec<PathBuf>,
    /// Devices below each other, with a key on the uppermost; or why they are not to be had.
    pub(crate) stack: Result<Stack, String>,
}

/// A key on a mapping of a partition of a disk, as device numbers.
#[derive(Clone, Debug)]
pub(crate) struct Stack {
    /// The whole disk: a loop device.
    pub disk: u64,
    /// Its partition.
    pub partition: u64,
    /// Where the partition begins on the disk, in bytes.
    pub begins: u64,
    /// The mapping of it that the key's file system lies on, `None` where this kernel has no mappings.
    pub mapping: Option<u64>,
    /// The node of the disk.
    node: String,
}

/// The mapping's name.
const MAPPED: &str = "dkimwatch-keys";

/// Sizes that each one accepts; the images are sparse.
const IMAGES: [(&str, u64); 3] = [("ext4", 16 << 20), ("btrfs", 128 << 20), ("xfs", 320 << 20)];

impl Grounds {
    /// The file systems with a key that lies two folders deep, `deep/own/key.private`.
    pub(crate) const KINDS: [&str; 4] = ["ext4", "xfs", "tmpfs", "btrfs"];

    /// What lies at a key's place below what is mounted.
    pub(crate) const BELOW: &str = "another key, below";

    /// Makes and mounts them below the scene's folder.
    ///
    /// # Errors
    /// This machine cannot make or mount one of them.
    pub(crate) fn prepare(root: &Path) -> Result<Self> {
        let mut grounds = Self {
            root: root.join("grounds"),
            mounted: Vec::new(),
            keys: Vec::new(),
            stack: Err("not made".to_owned()),
        };
        fs::create_dir_all(&grounds.root)?;
        // Where it is built in, there is no module; where it is neither, the mount fails and says so.
        let _ = Command::new("modprobe").arg("loop").stderr(Stdio::null()).status();
        for (kind, size) in IMAGES {
            let image = grounds.root.join(format!("{kind}.image"));
            fs::File::create(&image)?.set_len(size)?;
            run(Command::new(format!("mkfs.{kind}")).arg("-q").arg(&image))?;
            grounds.mount(kind, &["-o".as_ref(), "loop".as_ref(), image.as_os_str()])?;
        }
        grounds.mount("tmpfs", &["-t", "tmpfs", "tmpfs"].map(OsStr::new))?;
        for kind in ["ext4", "xfs", "tmpfs"] {
            grounds.key(&grounds.at(kind).join("keys"))?;
        }
        for kind in Self::KINDS {
            grounds.key(&grounds.at(kind).join("deep/own"))?;
        }
        // What is made in one transaction has one generation.
        let sync = |folder: &Path| run(Command::new("btrfs").args(["filesystem", "sync"]).arg(folder)).map(drop);
        sync(&grounds.at("btrfs"))?;
        // Each subvolume numbers its files from the same number on.
        for subvolume in ["keys", "twin", "other"] {
            let folder = grounds.at("btrfs").join(subvolume);
            run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&folder))?;
            match subvolume {
                "other" => fs::write(folder.join("plain"), BYTES)?,
                _ => grounds.key(&folder)?,
            }
            sync(&folder)?;
        }
        grounds.stack = grounds.stacked().map_err(|error| format!("{error:#}"));
        grounds.layers()?;
        grounds.keys.push(grounds.layer("merged").join("keys"));
        for (at, key) in tamper::mounts(root) {
            let folder = key.parent().context("its folder")?;
            fs::create_dir_all(folder)?;
            fs::write(&key, Self::BELOW)?;
            run(Command::new("mount").args(["-t", "tmpfs", "tmpfs"]).arg(&at))?;
            grounds.mounted.push(at);
            grounds.key(folder)?;
        }
        let (key, file) = tamper::bound(root);
        fs::write(&key, Self::BELOW)?;
        fs::write(&file, BYTES)?;
        run(Command::new("mount").arg("--bind").args([&file, &key]))?;
        grounds.mounted.push(key);
        // A key on this very disk, on which an overlay is laid once the watch runs.
        grounds.key(&grounds.root.join("plain/keys"))?;
        Ok(grounds)
    }

    /// The keys and folders to be watched.
    pub(crate) fn keys(&self) -> Vec<PathBuf> {
        self.keys.clone()
    }

    /// Where a file system is mounted.
    pub(crate) fn at(&self, kind: &str) -> PathBuf {
        self.root.join(kind)
    }

    /// A part of the overlay: `lower`, `upper`, `work`, `merged`.
    pub(crate) fn layer(&self, name: &str) -> PathBuf {
        self.root.join("overlay").join(name)
    }

    /// An overlay whose lower layer holds keys.
    fn layers(&mut self) -> Result<()> {
        for name in ["lower/keys", "upper", "work", "merged"] {
            fs::create_dir_all(self.layer(name))?;
        }
        for key in ["key.private", "copied.private", "below.private", "risen.private", "sunk.private"] {
            fs::write(self.layer("lower/keys").join(key), BYTES)?;
        }
        let at = self.layer("merged");
        run(&mut overlay(&self.layer("lower"), (&self.layer("upper"), &self.layer("work")), &at))?;
        self.mounted.push(at);
        Ok(())
    }

    /// A disk with a partition, a mapping of that where there are such, and a file system with a key on it.
    fn stacked(&mut self) -> Result<Stack> {
        const SECTOR: u64 = 512;
        const BEGINS: u32 = 2048;
        const SECTORS: u32 = 32_768;
        let image = self.root.join("disk.image");
        // A table of one partition (type 0x83), as PC firmware has it: at byte 446 of the first sector.
        let mut first = vec![0; 512];
        first.splice(
            446..462,
            [&[0, 0, 2, 0, 0x83, 0, 0, 0][..], &BEGINS.to_le_bytes(), &SECTORS.to_le_bytes()].concat(),
        );
        first.splice(510..512, [0x55, 0xaa]);
        fs::write(&image, first)?;
        fs::File::options().write(true).open(&image)?.set_len(SECTOR * u64::from(BEGINS + SECTORS))?;
        let disk = said(Command::new("losetup").args(["--find", "--show", "--partscan"]).arg(&image))?;
        let mut stack =
            Stack { disk: number(&disk)?, partition: 0, begins: SECTOR * u64::from(BEGINS), mapping: None, node: disk };
        let made = self.upon(&mut stack);
        if made.is_err() {
            stack.take_away();
        }
        made.map(|()| stack)
    }

    fn upon(&mut self, stack: &mut Stack) -> Result<()> {
        let partition = format!("{}p1", stack.node);
        stack.partition = number(&partition).context("this kernel reads no table of a loop device's partitions")?;
        let mut device = self.root.join("partition");
        node(&device, stack.partition)?;
        // Built in, a module, or neither.
        let _ = Command::new("modprobe").arg("dm-mod").stderr(Stdio::null()).status();
        let (major, minor) = (rustix::fs::major(stack.partition), rustix::fs::minor(stack.partition));
        let table = format!("0 {} linear {major}:{minor} 0", 32_768);
        let mut create = Command::new("dmsetup");
        create.args(["create", MAPPED, "--noudevsync", "--table", &table]).stderr(Stdio::null());
        if run(&mut create).is_ok() {
            let numbers =
                said(Command::new("dmsetup").args(["info", "-c", "--noheadings", "-o", "major,minor", MAPPED]))?;
            let (major, minor) = numbers.split_once(':').context("the mapping's number")?;
            let mapping = rustix::fs::makedev(major.parse()?, minor.parse()?);
            device = self.root.join("mapping");
            node(&device, mapping)?;
            stack.mapping = Some(mapping);
        }
        run(Command::new("mkfs.ext4").arg("-q").arg(&device))?;
        self.mount("stack", &[device.as_os_str()])?;
        self.key(&self.at("stack").join("keys"))
    }

    fn mount(&mut self, kind: &str, arguments: &[&OsStr]) -> Result<()> {
        let at = self.at(kind);
        fs::create_dir_all(&at)?;
        run(Command::new("mount").args(arguments).arg(&at)).with_context(|| format!("mounting {kind}"))?;
        self.mounted.push(at);
        Ok(())
    }

    fn key(&mut self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let key = folder.join("key.private");
        fs::write(&key, BYTES)?;
        self.keys.push(key);
        Ok(())
    }
}

impl Drop for Grounds {
    fn drop(&mut self) {
        for at in self.mounted.iter().rev() {
            // Lazily: whoever still looks at it must not keep the folder from being removed. What fails has failed a test, or was
            // unmounted by one.
            let _ = Command::new("umount").args(["--lazy", "--quiet"]).arg(at).stderr(Stdio::null()).status();
        }
        if let Ok(stack) = &self.stack {
            stack.take_away();
        }
    }
}

impl Stack {
    /// What is still in use is taken away by the kernel later.
    fn take_away(&self) {
        if self.mapping.is_some() {
            let _ = Command::new("dmsetup").args(["remove", "--deferred", MAPPED]).stderr(Stdio::null()).status();
        }
        let _ = Command::new("losetup").args(["--detach", &self.node]).stderr(Stdio::null()).status();
    }
}

/// What a command prints.
fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A block device's number, by the name that the kernel gives it (sysfs(5)).
fn number(device: &str) -> Result<u64> {
    let name = Path::new(device).file_name().context("a device's name")?;
    let numbers = fs::read_to_string(Path::new("/sys/class/block").join(name).join("dev"))?;
    let (major, minor) = numbers.trim().split_once(':').context("two numbers")?;
    Ok(rustix::fs::makedev(major.parse()?, minor.parse()?))
}

/// A node of a block device, wherever we like and under no telling name.
pub(crate) fn node(at: &Path, device: u64) -> Result<()> {
    let (major, minor) = (rustix::fs::major(device).to_string(), rustix::fs::minor(device).to_string());
    run(Command::new("mknod").arg(at).args(["b", &major, &minor]))?;
    ensure!(fs::metadata(at)?.file_type().is_block_device(), "no block device");
    Ok(())
}

/// The command that lays an overlay.
pub(crate) fn overlay(lower: &Path, (upper, work): (&Path, &Path), at: &Path) -> Command {
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let mut command = Command::new("mount");
    command.args(["-t", "overlay", "overlay", "-o", &options]).arg(at);
    command
}
