//! File systems for keys to lie on, mounted before the watch begins and unmounted with the scene.

use std::{
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result};

use crate::scene::{BYTES, run};

/// What is mounted, and the keys on it.
pub(crate) struct Grounds {
    root: PathBuf,
    /// In the order in which they were mounted.
    mounted: Vec<PathBuf>,
    keys: Vec<PathBuf>,
}

/// Sizes that each one accepts; the images are sparse.
const IMAGES: [(&str, u64); 3] = [("ext4", 16 << 20), ("btrfs", 128 << 20), ("xfs", 320 << 20)];

impl Grounds {
    /// Makes and mounts them below the scene's folder.
    ///
    /// # Errors
    /// This machine cannot make or mount one of them.
    pub(crate) fn prepare(root: &Path) -> Result<Self> {
        let mut grounds = Self { root: root.join("grounds"), mounted: Vec::new(), keys: Vec::new() };
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
        // Each subvolume numbers its files from the same number on.
        for subvolume in ["keys", "twin", "other"] {
            let folder = grounds.at("btrfs").join(subvolume);
            run(Command::new("btrfs").args(["-q", "subvolume", "create"]).arg(&folder))?;
            match subvolume {
                "other" => fs::write(folder.join("plain"), BYTES)?,
                _ => grounds.key(&folder)?,
            }
            // What is made in one transaction has one generation.
            run(Command::new("btrfs").args(["filesystem", "sync"]).arg(&folder))?;
        }
        grounds.layers()?;
        grounds.keys.push(grounds.layer("merged").join("keys"));
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

    /// An overlay whose lower layer holds two keys.
    fn layers(&mut self) -> Result<()> {
        for name in ["lower/keys", "upper", "work", "merged"] {
            fs::create_dir_all(self.layer(name))?;
        }
        for key in ["key.private", "copied.private"] {
            fs::write(self.layer("lower/keys").join(key), BYTES)?;
        }
        let at = self.layer("merged");
        run(&mut overlay(&self.layer("lower"), (&self.layer("upper"), &self.layer("work")), &at))?;
        self.mounted.push(at);
        Ok(())
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
            // Lazily: whoever still looks at it must not keep the folder from being removed. What fails has failed a test.
            let _ = Command::new("umount").arg("--lazy").arg(at).status();
        }
    }
}

/// The command that lays an overlay.
pub(crate) fn overlay(lower: &Path, (upper, work): (&Path, &Path), at: &Path) -> Command {
    let options = format!("lowerdir={},upperdir={},workdir={}", lower.display(), upper.display(), work.display());
    let mut command = Command::new("mount");
    command.args(["-t", "overlay", "overlay", "-o", &options]).arg(at);
    command
}
