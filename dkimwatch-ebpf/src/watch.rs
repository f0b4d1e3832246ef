//! The first question of every hook: is it ours?

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST},
    helpers::generated::bpf_get_current_task,
};
use dkimwatch_common::{
    filter,
    identity::FileId,
    tally::Exit,
    watch::{DirWatch, FileWatch, NestName, Refusal, Tag, dir_watch, file_watch, refusal},
};

use crate::{
    elsewhere,
    maps::{BACKING, DIRS, FILES, FILTER, NAMES, WAYS},
    memory::{Memory, Probed, Ptr, copy_str, number, offset, pointer, present, u32_at, u64_at},
    process, recent,
};

/// Type bits of `i_mode` (inode(7)).
const S_IFMT: u32 = 0o17_0000;
const S_IFREG: u32 = 0o10_0000;
const S_IFLNK: u32 = 0o12_0000;
const S_IFDIR: u32 = 0o04_0000;

/// Parent levels, beyond the first, at which the tracepoint backend looks for a watched folder: it sees no folder being
/// made. The other backends mark a new subfolder when it gets its inode, and walk none.
pub const WALK_UP: u32 = 3;

/// A watched file that was found.
#[derive(Clone, Copy)]
pub struct Found {
    /// Its inode.
    pub inode: Ptr,
    /// Identity.
    pub file: FileId,
    /// Identity of the folder it was reached through; zero when there is none (a data access).
    pub dir: FileId,
    /// Why it is watched.
    pub watch: FileWatch,
}

/// Whether anything with this inode number is watched.
#[inline(always)]
pub fn may_be_watched(ino: u64) -> bool {
    match FILTER.get(filter::slot(ino)) {
        Some(slot) => *slot != 0,
        None => false,
    }
}

/// Whether this open file is watched: by its own identity, by the folder as a whole, or by an awaited name. `WALK` is how
/// many levels beyond the parent are looked at.
#[inline(always)]
pub fn file<M: Memory, const WALK: u32>(file: Ptr) -> Result<Found, Exit> {
    // SAFETY: pointers.
    let (inode, dentry) =
        unsafe { (M::read::<Ptr>(file, offset!(file_f_inode)), M::read::<Ptr>(file, offset!(file_dentry))) };
    // SAFETY: an integer.
    let ino = unsafe { M::read::<u64>(inode, offset!(inode_i_ino)) };
    // SAFETY: a pointer.
    let parent = unsafe { M::read::<Ptr>(dentry, offset!(dentry_d_parent)) };
    // SAFETY: a pointer.
    let dir = unsafe { M::read::<Ptr>(parent, offset!(dentry_d_inode)) };
    // SAFETY: an integer.
    let dir_ino = unsafe { M::read::<u64>(dir, offset!(inode_i_ino)) };

    if !may_be_watched(ino) && !may_be_watched(dir_ino) && !above::<WALK>(parent) {
        return Err(Exit::Unrelated);
    }
    related::<WALK>(inode, dentry, parent, dir)
}

/// Whether a folder further up may be watched.
#[inline(always)]
fn above<const WALK: u32>(parent: Ptr) -> bool {
    let mut parent = parent;
    let mut level = 0;
    while level < WALK {
        parent = pointer(parent, offset!(dentry_d_parent));
        let dir = pointer(parent, offset!(dentry_d_inode));
        if may_be_watched(u64_at(dir, offset!(inode_i_ino))) {
            return true;
        }
        level += 1;
    }
    false
}

/// The filter let it through: now the tables.
#[inline(always)]
fn related<const WALK: u32>(inode: Ptr, dentry: Ptr, parent: Ptr, dir: Ptr) -> Result<Found, Exit> {
    if kind(inode) != S_IFREG {
        return Err(Exit::FilterMiss);
    }
    let file = identity(inode);
    let dir_id = identity(dir);
    // SAFETY: a value is only copied out; an entry replaced meanwhile yields one of both values.
    let known = match unsafe { FILES.get(file) } {
        Some(watch) => *watch,
        // Not an `Option`: its empty half has no value, and the compiler may spill it where the verifier minds.
        None => FileWatch { tag: 0, kind: file_watch::NONE, generation: 0, pad: 0 },
    };
    if known.kind != file_watch::NONE && known.generation == generation(inode) {
        return Ok(Found { inode, file, dir: dir_id, watch: known });
    }
    // overlayfs opens a second file for the first one's data, with the first one's path and the lower inode
    // (`open_with_fake_path()`, 6.1): the path says nothing of it, and the first open was told already.
    if known.kind == file_watch::NONE && pointer(dentry, offset!(dentry_d_inode)) != inode {
        return Err(Exit::FilterMiss);
    }
    // SAFETY: a value is only copied out.
    let backing = unsafe { BACKING.get(file) };
    if known.kind == file_watch::NONE
        && let Some(tag) = backing
    {
        let watch = FileWatch { tag: *tag, kind: file_watch::BACKING, generation: generation(inode), pad: 0 };
        return Ok(Found { inode, file, dir: dir_id, watch });
    }
    match placed::<WALK>(parent, dir_id, dentry) {
        // New here, or the inode number of a former key was reused for one.
        Some(tag) => {
            let watch = FileWatch { tag, kind: file_watch::BORN, generation: generation(inode), pad: 0 };
            enrol_file(file, watch);
            Ok(Found { inode, file, dir: dir_id, watch })
        }
        None if known.kind == file_watch::NONE => Err(Exit::FilterMiss),
        // Another generation, and nothing else says that it is a key: userspace decides, see `FileWatch::generation`.
        None => Ok(Found { inode, file, dir: dir_id, watch: known }),
    }
}

/// The tag that a file has by the place it is opened at.
#[inline(always)]
fn placed<const WALK: u32>(parent: Ptr, dir: FileId, name: Ptr) -> Option<Tag> {
    let watch = folder::<WALK>(parent, dir)?;
    tag(watch, dir, name)
}

/// The watch that the folder is under: its own, or, where the tracepoint backend walks up, that of a folder above it.
#[inline(always)]
fn folder<const WALK: u32>(parent: Ptr, dir: FileId) -> Option<DirWatch> {
    // SAFETY: a value is only copied out.
    if let Some(watch) = unsafe { DIRS.get(dir) } {
        return Some(*watch);
    }
    let mut parent = parent;
    let mut level = 0;
    while level < WALK {
        parent = pointer(parent, offset!(dentry_d_parent));
        let above = pointer(parent, offset!(dentry_d_inode));
        let id = identity(above);
        // SAFETY: a value is only copied out.
        if let Some(watch) = unsafe { DIRS.get(id) } {
            if watch.kind != dir_watch::FOLDER {
                return None;
            }
            // From now on this folder is found without walking.
            enrol_dir(dir, *watch);
            return Some(*watch);
        }
        level += 1;
    }
    None
}

/// The tag of a file born in a watched folder: that of its name, where it is awaited, or of the folder as a whole.
#[inline(always)]
fn tag(watch: DirWatch, dir: FileId, name: Ptr) -> Option<Tag> {
    // SAFETY: a value is only copied out.
    match unsafe { NAMES.get(NestName { dir, name: name_hash(name) }) } {
        Some(tag) => Some(*tag),
        None if watch.kind == dir_watch::FOLDER => Some(watch.tag),
        None => None,
    }
}

/// A watched file by its inode alone, for hooks on its data.
#[inline(always)]
pub fn inode<M: Memory>(inode: Ptr) -> Result<Found, Exit> {
    // SAFETY: an integer.
    let ino = unsafe { M::read::<u64>(inode, offset!(inode_i_ino)) };
    if !may_be_watched(ino) {
        return Err(Exit::Unrelated);
    }
    let file = identity(inode);
    // SAFETY: a value is only copied out.
    match unsafe { FILES.get(file) } {
        Some(watch) => Ok(Found { inode, file, dir: FileId::new(0, 0), watch: *watch }),
        None => Err(Exit::FilterMiss),
    }
}

/// What a deed is done to.
#[derive(Clone, Copy)]
pub struct Object {
    /// It. The folder that it is in is `dir`.
    pub found: Found,
    /// Whether it is a folder.
    pub is_folder: bool,
}

impl Object {
    /// What to tell of, of two.
    #[inline(always)]
    pub fn weight(&self) -> u32 {
        if self.is_folder {
            2
        } else if self.found.watch.kind == file_watch::BORN {
            0
        } else {
            1
        }
    }

    /// Whether it seems to be another file than the one that was enrolled: its inode number was used again. It need not be, see
    /// [`FileWatch::generation`].
    #[inline(always)]
    pub fn is_another(&self) -> bool {
        !self.is_folder && self.found.watch.generation != generation(self.found.inode)
    }
}

/// A watched file or folder at a name, for deeds to it; where `ways`, also a folder that leads to one.
#[inline(always)]
pub fn object(entry: Ptr, ways: bool) -> Result<Object, Exit> {
    let inode = pointer(entry, offset!(dentry_d_inode));
    let ino = u64_at(inode, offset!(inode_i_ino));
    let dir = pointer(pointer(entry, offset!(dentry_d_parent)), offset!(dentry_d_inode));
    let kind = kind(inode);
    if (kind == S_IFREG || kind == S_IFLNK) && may_be_watched(ino) {
        let mut found = self::inode::<Probed>(inode)?;
        if found.watch.kind == file_watch::CANARY {
            return Err(Exit::FilterMiss);
        }
        found.dir = identity(dir);
        return Ok(Object { found, is_folder: false });
    }
    if inode.is_null() || kind != S_IFDIR || !(ways || may_be_watched(ino)) {
        return Err(Exit::Unrelated);
    }
    let file = identity(inode);
    let mut tag = None;
    // SAFETY: values are only copied out.
    if let Some(watch) = unsafe { DIRS.get(file) } {
        tag = Some(watch.tag);
    } else if ways
        // SAFETY: as above.
        && let Some(way) = unsafe { WAYS.get(file) }
    {
        tag = Some(*way);
    }
    let Some(tag) = tag else { return Err(Exit::FilterMiss) };
    let watch = FileWatch { tag, kind: file_watch::NONE, generation: generation(inode), pad: 0 };
    Ok(Object { found: Found { inode, file, dir: identity(dir), watch }, is_folder: true })
}

/// What is about to be given a name, which makes it a key by that name or by that name's folder.
#[inline(always)]
pub fn placed_at(inode: Ptr, name: Ptr) -> Result<Object, Exit> {
    let dir = pointer(pointer(name, offset!(dentry_d_parent)), offset!(dentry_d_inode));
    if !may_be_watched(u64_at(dir, offset!(inode_i_ino))) {
        return Err(Exit::Unrelated);
    }
    let dir_id = identity(dir);
    // SAFETY: a value is only copied out.
    let Some(watch) = (unsafe { DIRS.get(dir_id) }) else { return Err(Exit::FilterMiss) };
    let watch = *watch;
    let kind = kind(inode);
    let tag = match kind {
        S_IFREG | S_IFLNK => tag(watch, dir_id, name),
        S_IFDIR if watch.kind == dir_watch::FOLDER => Some(watch.tag),
        _ => None,
    };
    let Some(tag) = tag else { return Err(Exit::FilterMiss) };
    let watch = FileWatch { tag, kind: file_watch::BORN, generation: generation(inode), pad: 0 };
    Ok(Object { found: Found { inode, file: identity(inode), dir: dir_id, watch }, is_folder: kind == S_IFDIR })
}

/// What an open that was refused had got to: a watched file, or a folder, behind which there may be one. A folder that is
/// not known to lead to a key can do so by a link or a mount: it is told once a moment, and userspace follows the path. In
/// another mount namespace what is mounted below it is known by its tag, and told each time: there the path may lead nowhere
/// by then.
#[inline(always)]
pub fn refused(inode: Ptr) -> Result<Found, Exit> {
    let ino = u64_at(inode, offset!(inode_i_ino));
    let kind = kind(inode);
    if kind == S_IFREG {
        return self::inode::<Probed>(inode);
    }
    if kind != S_IFDIR {
        return Err(Exit::Unrelated);
    }
    let dir = identity(inode);
    // SAFETY: the entries are only asked for.
    let known = unsafe { WAYS.get(dir).is_some() || DIRS.get(dir).is_some() };
    if !known {
        if let Some(tag) = elsewhere::below(dir) {
            let watch = FileWatch { tag, kind: file_watch::NONE, generation: 0, pad: 0 };
            return Ok(Found { inode: core::ptr::null(), file: FileId::new(0, 0), dir, watch });
        }
        // SAFETY: a helper without arguments.
        let namespace = process::mount_namespace(unsafe { bpf_get_current_task() } as Ptr);
        let whom = u64::from(dir.dev) << 32 | u64::from(namespace);
        if recent::repeated(&Refusal { what: ino, whom, kind: refusal::FOLDER, id: 0 }) {
            return Err(Exit::AlreadySeen);
        }
    }
    let watch = FileWatch { tag: Tag::MAX, kind: file_watch::NONE, generation: 0, pad: 0 };
    Ok(Found { inode: core::ptr::null(), file: FileId::new(0, 0), dir, watch })
}

/// A name got an inode in a folder (it was created, looked up, or moved there): enrol what is born in a watched one.
/// `name` is the entry that holds the name, which is not the inode's own yet when it is being renamed.
#[inline(always)]
pub fn born(dir: Ptr, name: Ptr, inode: Ptr) -> Exit {
    let dir_ino = u64_at(dir, offset!(inode_i_ino));
    if inode.is_null() || !may_be_watched(dir_ino) {
        return Exit::Unrelated;
    }
    let dir_id = identity(dir);
    // SAFETY: a value is only copied out.
    let Some(watch) = (unsafe { DIRS.get(dir_id) }) else { return Exit::FilterMiss };
    let watch = *watch;
    let file = identity(inode);
    let kind = kind(inode);
    if kind == S_IFDIR && watch.kind == dir_watch::FOLDER {
        return enrol_dir(file, watch);
    }
    if kind != S_IFREG && kind != S_IFLNK {
        return Exit::FilterMiss;
    }
    let Some(tag) = tag(watch, dir_id, name) else { return Exit::FilterMiss };
    let generation = generation(inode);
    // SAFETY: a value is only compared.
    if unsafe { FILES.get(file) }.is_some_and(|known| known.generation == generation) {
        // Known already, perhaps as a key of its own, which says more than the folder.
        return Exit::Enrolled;
    }
    enrol_file(file, FileWatch { tag, kind: file_watch::BORN, generation, pad: 0 })
}

#[inline(always)]
fn enrol_file(file: FileId, watch: FileWatch) -> Exit {
    // The slot first: an entry without its slot would not be found.
    fill_slot(file.ino);
    enrolled(FILES.insert(file, watch, u64::from(BPF_ANY)))
}

#[inline(always)]
fn enrol_dir(dir: FileId, watch: DirWatch) -> Exit {
    fill_slot(dir.ino);
    enrolled(DIRS.insert(dir, watch, u64::from(BPF_NOEXIST)))
}

/// A folder is no more: the next one that gets its inode number is another, and whoever has it open can put nothing in it. Where a key's
/// name is awaited, it still is: mostly it is made anew at once, with that number.
#[inline(always)]
pub fn forget_folder(dir: FileId) {
    // SAFETY: a value is only copied out.
    if unsafe { DIRS.get(dir) }.is_some_and(|watch| watch.kind == dir_watch::FOLDER) {
        let _ = DIRS.remove(dir);
    }
    let _ = WAYS.remove(dir);
}

#[inline(always)]
fn enrolled(result: Result<(), i32>) -> Exit {
    const EEXIST: i32 = -17;
    match result {
        Ok(()) | Err(EEXIST) => Exit::Enrolled,
        Err(_) => Exit::TableFull,
    }
}

#[inline(always)]
fn fill_slot(ino: u64) {
    if let Some(slot) = FILTER.get_ptr_mut(filter::slot(ino)) {
        // SAFETY: a plain store of the one value that is ever stored.
        unsafe { *slot = 1 };
    }
}

/// The inode's identity: the only way to one, as every map must be asked by the same.
#[inline(always)]
pub fn identity(inode: Ptr) -> FileId {
    /// `BTRFS_SUPER_MAGIC` (`include/uapi/linux/magic.h`).
    const BTRFS: u64 = 0x9123_683e;
    let file_system = pointer(inode, offset!(inode_i_sb));
    let birth = if u64_at(file_system, offset!(super_s_magic)) == BTRFS { generation(inode) } else { 0 };
    FileId { ino: u64_at(inode, offset!(inode_i_ino)), dev: u32_at(file_system, offset!(super_s_dev)), birth }
}

/// The inode's generation, zero on a kernel without one.
#[inline(always)]
pub fn generation(inode: Ptr) -> u32 {
    let at = offset!(inode_i_generation);
    if present(at) { u32_at(inode, at) } else { 0 }
}

/// Whether an inode of this mode is a symbolic link.
#[inline(always)]
pub fn is_link(mode: u16) -> bool {
    u32::from(mode) & S_IFMT == S_IFLNK
}

/// Whether an inode of this mode is a folder.
#[inline(always)]
pub fn is_folder(mode: u16) -> bool {
    u32::from(mode) & S_IFMT == S_IFDIR
}

/// The type bits of the inode's mode.
#[inline(always)]
fn kind(inode: Ptr) -> u32 {
    // SAFETY: an integer; `umode_t` is 16 bits wide.
    let mode = unsafe { Probed::read::<u16>(inode, offset!(inode_i_mode)) };
    u32::from(mode) & S_IFMT
}

/// The first seven bytes of a directory entry's name, and a NUL.
#[inline(always)]
pub fn short_name(dentry: Ptr) -> u64 {
    let mut bytes = [0_u8; 8];
    // SAFETY: eight bytes of eight, the NUL that the helper writes included.
    unsafe { copy_str(bytes.as_mut_ptr(), 8, pointer(dentry, offset!(dentry_name))) };
    u64::from_le_bytes(bytes)
}

/// The hash of a directory entry's name.
#[inline(always)]
fn name_hash(dentry: Ptr) -> u64 {
    name_hash_at(number(pointer(dentry, offset!(dentry_name))))
}

/// A global function, so that the ways out of its loop are no ways through what follows it: the hash of a name, read word by
/// word, as the stack has no room for the whole.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn name_hash_at(name: u64) -> u64 {
    let name = name as Ptr;
    filter::name_hash(|i| {
        let mut bytes = [0_u8; 16];
        // SAFETY: nine bytes of sixteen: eight of the name and the NUL that the helper writes.
        unsafe { copy_str(bytes.as_mut_ptr(), 9, name.wrapping_add(8 * i as usize)) };
        // SAFETY: any eight bytes are a `u64`; the array begins on the stack's alignment or is read unaligned.
        unsafe { core::ptr::read_unaligned(bytes.as_ptr().cast::<u64>()) }
    })
}
