//! The maps that say what is watched.

use aya::maps::{Array, HashMap, MapData, MapError};
use dkimwatch_common::{
    filter,
    identity::FileId,
    names::maps,
    watch::{self, Tag, signer},
};

use super::{KernelError, pod};

/// Writes what is watched into the kernel's maps. Arming twice is harmless.
pub struct WatchSet {
    pub(super) files: HashMap<MapData, pod::File, pod::FileWatch>,
    pub(super) dirs: HashMap<MapData, pod::File, pod::DirWatch>,
    pub(super) names: HashMap<MapData, pod::NestName, u32>,
    pub(super) filter: Array<MapData, u64>,
    pub(super) signers: HashMap<MapData, pod::File, u32>,
    pub(super) scripts: HashMap<MapData, u64, u32>,
    pub(super) libraries: HashMap<MapData, pod::File, u64>,
    pub(super) ways: HashMap<MapData, pod::File, u32>,
    pub(super) backing: HashMap<MapData, pod::File, u32>,
    pub(super) layers: HashMap<MapData, pod::File, pod::File>,
    /// A signer's program was met for the first time.
    pub(super) routed_anew: bool,
}

impl WatchSet {
    /// Watches a file.
    ///
    /// # Errors
    /// When the map is full or refuses.
    pub fn arm_file(&mut self, file: FileId, watch: watch::FileWatch) -> Result<(), KernelError> {
        // The slot first: an entry without its slot would not be found.
        self.fill_slot(file.ino)?;
        self.files.insert(pod::File(file), pod::FileWatch(watch), 0).map_err(KernelError::map(maps::FILES))
    }

    /// The entry that a file is watched for, if it is.
    #[must_use]
    pub fn tag(&self, file: FileId) -> Option<Tag> {
        self.files.get(&pod::File(file), 0).ok().map(|watch| watch.0.tag)
    }

    /// Stops watching a file: its inode number was reused.
    ///
    /// # Errors
    /// When the map refuses for another reason than that it is not there.
    pub fn disarm_file(&mut self, file: FileId) -> Result<(), KernelError> {
        removed(self.files.remove(&pod::File(file))).map_err(KernelError::map(maps::FILES))
    }

    /// Forgets the canary and its slot. A memfd has a small inode number, as have files on every tmpfs: a slot left behind
    /// would send their opens to the hash tables, four times the cost. Nothing else may be armed yet: a slot is shared.
    ///
    /// # Errors
    /// When the maps refuse.
    pub(super) fn disarm_canary(&mut self, file: FileId) -> Result<(), KernelError> {
        self.disarm_file(file)?;
        self.filter.set(filter::slot(file.ino), 0, 0).map_err(KernelError::map(maps::FILTER))
    }

    /// Watches a folder, as a whole or for awaited names (`watch::dir_watch`).
    ///
    /// # Errors
    /// When the map is full or refuses.
    pub fn arm_dir(&mut self, dir: FileId, watch: watch::DirWatch) -> Result<(), KernelError> {
        self.fill_slot(dir.ino)?;
        self.dirs.insert(pod::File(dir), pod::DirWatch(watch), 0).map_err(KernelError::map(maps::DIRS))
    }

    /// Awaits a name in a folder.
    ///
    /// # Errors
    /// When the map is full or refuses.
    pub fn await_name(&mut self, dir: FileId, name: &[u8], tag: Tag) -> Result<(), KernelError> {
        let name = filter::name_hash(|i| word(name, i as usize));
        self.names.insert(pod::NestName(watch::NestName { dir, name }), tag, 0).map_err(KernelError::map(maps::NAMES))
    }

    /// Sends what runs this executable through the signers' ring, and has what it maps as code reported; for an
    /// interpreter only where it runs the script.
    ///
    /// # Errors
    /// When a map is full or refuses.
    pub fn route_signer(&mut self, executable: FileId, script: Option<&[u8]>) -> Result<(), KernelError> {
        // A program that is a signer by itself as well stays one.
        let before = self.signers.get(&pod::File(executable), 0);
        self.routed_anew |= before.is_err();
        let is_program = matches!(before, Ok(signer::PROGRAM));
        let kind = if script.is_some() && !is_program { signer::INTERPRETER } else { signer::PROGRAM };
        if let Some(script) = script {
            let path = filter::name_hash(|i| word(script, i as usize));
            self.scripts.insert(path, 1, 0).map_err(KernelError::map(maps::SCRIPTS))?;
        }
        self.signers.insert(pod::File(executable), kind, 0).map_err(KernelError::map(maps::SIGNERS))
    }

    /// Has a file of code that is the system's no longer reported. A table that is full forgets nothing and costs records.
    pub fn know_library(&mut self, file: FileId, ctime: u64) {
        if let Err(error) = self.libraries.insert(pod::File(file), ctime, 0) {
            tracing::debug!(%error, "a library is not kept");
        }
    }

    /// A folder leads to what is watched, of which this is one: every open that is refused there is told, and what is done
    /// to the folder's name.
    ///
    /// # Errors
    /// When the map is full or refuses.
    pub fn leads(&mut self, folder: FileId, tag: Tag) -> Result<(), KernelError> {
        self.ways.insert(pod::File(folder), tag, 0).map_err(KernelError::map(maps::WAYS))
    }

    /// A folder no longer does: its inode number was reused.
    ///
    /// # Errors
    /// When the map refuses for another reason than that it is not there.
    pub fn leads_no_more(&mut self, folder: FileId) -> Result<(), KernelError> {
        removed(self.ways.remove(&pod::File(folder))).map_err(KernelError::map(maps::WAYS))
    }

    /// Watches the file behind a loop device whose file system holds a key.
    ///
    /// # Errors
    /// When the map is full or refuses.
    pub fn arm_backing(&mut self, file: FileId, tag: Tag) -> Result<(), KernelError> {
        self.fill_slot(file.ino)?;
        self.backing.insert(pod::File(file), tag, 0).map_err(KernelError::map(maps::BACKING))
    }

    /// Watches the file in a layer below that `user`, a key on an overlay, has its data in.
    ///
    /// # Errors
    /// When a map is full or refuses.
    pub fn arm_layer(&mut self, file: FileId, watch: watch::FileWatch, user: FileId) -> Result<(), KernelError> {
        // Whose it is first: else what the overlay itself does with it would be told.
        self.layers.insert(pod::File(file), pod::File(user), 0).map_err(KernelError::map(maps::LAYERS))?;
        self.arm_file(file, watch)
    }

    /// At each look anew, whatever was filled before: who may write to the maps may have emptied it, and what is not found in its
    /// slot is not seen.
    fn fill_slot(&mut self, ino: u64) -> Result<(), KernelError> {
        self.filter.set(filter::slot(ino), 1, 0).map_err(KernelError::map(maps::FILTER))
    }
}

/// What is not there need not be removed.
fn removed(answer: Result<(), MapError>) -> Result<(), MapError> {
    match answer {
        Err(MapError::KeyNotFound) => Ok(()),
        Err(MapError::SyscallError(error)) if error.io_error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        answer => answer,
    }
}

/// The `i`-th 64-bit word of a NUL-padded name, as the kernel side reads it.
fn word(name: &[u8], i: usize) -> u64 {
    let mut bytes = [0; 8];
    for (to, from) in bytes.iter_mut().zip(name.iter().skip(8 * i)) {
        *to = *from;
    }
    u64::from_le_bytes(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(name: &[u8]) -> u64 {
        filter::name_hash(|i| word(name, i as usize))
    }

    #[test]
    fn names_of_every_length_hash_apart() {
        let mut seen = std::collections::HashSet::new();
        for length in 1..=255 {
            assert!(seen.insert(hash(&vec![b'a'; length])), "length {length}");
        }
        assert_ne!(hash(b"mail.private"), hash(b"mail.privatf"));
        assert_ne!(hash(b"12345678"), hash(b"1234567"));
    }
}
