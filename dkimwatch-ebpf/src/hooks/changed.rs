//! What is watched was changed: unlinked, renamed, linked, truncated, written, or its attributes were set.
//!
//! Where trampolines are refused, an inode that changes is seen by the time that it gets for it, whatever its file system,
//! and what was done by the system call that this happens in.

use aya_ebpf::{
    bindings::BPF_ANY,
    helpers::generated::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_boot_ns, bpf_probe_read_user},
    macros::{btf_tracepoint, raw_tracepoint, tracepoint},
    programs::{BtfTracePointContext, RawTracePointContext, TracePointContext},
};
use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    limits,
    record::{Kind, mark},
    tally::{Exit, Hook},
    watch::{FileWatch, Refusal, file_watch, is_own, refusal},
};

use super::{asked, refused::is_refusal};
use crate::{
    call::{self, Call, Registers},
    change::{
        self, Change, Changed, Place, SLOT_FILE, SLOT_FOLDER, SLOT_NOW, SLOT_OTHER_FILE, SLOT_OTHER_FOLDER, Told,
    },
    itself,
    maps::{CHANGES, DIRS, FILES, RECENT, WAYS},
    memory::{Memory, Probed, Ptr, Typed, offset, pointer},
    seen, slots,
    subject::Subject,
    syscall, tally, watch,
};

/// `inode_set_ctime_to_ts(struct inode *inode, struct timespec64 *ctime)`, 6.13 and later: every change sets the change time,
/// in this way or one of the next two.
#[btf_tracepoint(function = "inode_set_ctime_to_ts")]
fn inode_set_ctime_to_ts(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::InodeDirty, changed::<Typed, true>(ctx.arg(0)));
    0
}

/// `ctime_ns_xchg(struct inode *inode, u32 old, u32 new, u32 cur)`, 6.13 and later: on file systems with fine time stamps.
#[btf_tracepoint(function = "ctime_ns_xchg")]
fn ctime_ns_xchg(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::InodeDirty, changed::<Typed, true>(ctx.arg(0)));
    0
}

/// `ctime_xchg_skip(struct inode *inode, struct timespec64 *ctime)`, 6.13 and later: there, a change that comes so soon after
/// another, of a file whose time nobody asked for in between, that the time stands.
#[btf_tracepoint(function = "ctime_xchg_skip")]
fn ctime_xchg_skip(ctx: BtfTracePointContext) -> i32 {
    tally::count(&ctx, Hook::InodeDirty, changed::<Typed, true>(ctx.arg(0)));
    0
}

/// `ext4_mark_inode_dirty(struct inode *inode, unsigned long IP)`: for kernels without the three above. A raw tracepoint, as
/// ext4 can be a module, whose types the kernel's own BTF does not have.
#[raw_tracepoint(tracepoint = "ext4_mark_inode_dirty")]
fn ext4_mark_inode_dirty(ctx: RawTracePointContext) -> i32 {
    tally::count(&ctx, Hook::InodeDirty, changed::<Probed, false>(ctx.arg::<u64>(0) as Ptr));
    0
}

/// `BY_TIME`: the inode gets a change time. Without, it is only about to be written down, which a worker of the kernel's does
/// again when the data gets its place on the disk.
#[inline(always)]
fn changed<M: Memory, const BY_TIME: bool>(inode: Ptr) -> Exit {
    // SAFETY: an integer.
    let ino = unsafe { M::read::<u64>(inode, offset!(inode_i_ino)) };
    let maybe = watch::may_be_watched(ino);
    // SAFETY: an integer; `umode_t` is 16 bits wide.
    let mode = unsafe { M::read::<u16>(inode, offset!(inode_i_mode)) };
    let is_folder = watch::is_folder(mode);
    if !maybe && !is_folder {
        return Exit::Unrelated;
    }
    // Who only passes by a link has it written down as well, for the time of its last use.
    if !BY_TIME && watch::is_link(mode) {
        return Exit::FilterMiss;
    }
    let found = if is_folder { folder(inode, maybe) } else { file(inode) };
    match found {
        Some(changed) => within_a_call::<BY_TIME>(&changed),
        None if maybe => Exit::FilterMiss,
        None => Exit::Unrelated,
    }
}

/// The watched file that an inode is.
#[inline(always)]
fn file(inode: Ptr) -> Option<Changed> {
    let file = watch::identity(inode);
    // SAFETY: a value is only copied out.
    let watch = *unsafe { FILES.get(file) }?;
    // What changes in a layer is for the most part what is done by the overlay, which is told of its own file.
    if itself::does_to_its_own(watch.tag) {
        itself::forget_gone(file, inode);
        return None;
    }
    if matches!(watch.kind, file_watch::CANARY | file_watch::LAYER) {
        return None;
    }
    Some(Changed { inode, file, watch, folder: false })
}

/// The folder that an inode is: a watched one, which `maybe` it is, or one above what is watched. That has no slot in the filter, into
/// which the opens of other files would fall.
#[inline(always)]
fn folder(inode: Ptr, maybe: bool) -> Option<Changed> {
    let file = watch::identity(inode);
    let mut watch = FileWatch { tag: 0, kind: file_watch::BORN, generation: watch::generation(inode), pad: 0 };
    // SAFETY: a value is only copied out.
    if maybe && let Some(folder) = unsafe { DIRS.get(file) } {
        watch.tag = folder.tag;
    } else {
        // SAFETY: as above.
        watch.tag = *unsafe { WAYS.get(file) }?;
        watch.kind = file_watch::NONE;
    }
    if itself::does_to_its_own(watch.tag) {
        return None;
    }
    Some(Changed { inode, file, watch, folder: true })
}

#[inline(always)]
fn within_a_call<const BY_TIME: bool>(changed: &Changed) -> Exit {
    if change::first_name(changed.inode).is_null() {
        return Exit::FilterMiss;
    }
    let subject = Subject::current();
    let call = Call::current(subject.task);
    // A worker of the kernel's that writes down what the watcher wrote.
    if call.unsure && subject.is_kernel_thread() && is_own(changed.watch.tag) {
        return Exit::FilterMiss;
    }
    let way = change::is_way(&changed.watch);
    let mut doubt = false;
    match call.deed {
        Deed::None => return Exit::FilterMiss,
        // Of a folder above, only its name says where the key's path leads. A file server does not say what it does.
        Deed::Rename if way && call.ends => {}
        Deed::Rename if way => doubt = true,
        Deed::Changed if way && subject.is_kernel_thread() => doubt = true,
        _ if way => return Exit::FilterMiss,
        // What is done to a name is done to the folder that holds it as well, which is not told.
        Deed::Write | Deed::Size if changed.folder => return Exit::FilterMiss,
        Deed::Link if changed.folder && !call.ends => return Exit::FilterMiss,
        Deed::Unlink | Deed::Rename if changed.folder && !call.ends => doubt = true,
        _ => {}
    }
    if call.ends {
        return until_it_ends(changed, &call, subject);
    }
    let deed = if doubt && call.deed as u32 == Deed::Changed as u32 { Deed::Rename } else { call.deed };
    let marks = if doubt { mark::IN_DOUBT } else { 0 };
    at_once(changed, &Call { deed, ..call }, subject, marks, call.unsure && !BY_TIME && !doubt)
}

/// The call's end is seen: it is told then.
#[inline(always)]
fn until_it_ends(changed: &Changed, call: &Call, subject: Subject) -> Exit {
    let tid = subject.tid;
    let Some(slot) = slots::of(tid, changed, call.number) else { return Exit::FilterMiss };
    match change::begin(Place { tid, slot: slot.number }, changed, call.number) {
        Some(change) => {
            // SAFETY: the entry is this thread's, which runs this hook.
            unsafe { (*change).marks |= slot.marks };
            Exit::Enrolled
        }
        None => Exit::TableFull,
    }
}

/// The call's end is not seen, or is not worth a program at it. `marks`: [`mark::IN_DOUBT`] where it may have been done to what
/// lies in the folder. `perhaps_not`: only what can be seen to have changed has.
#[inline(always)]
fn at_once(changed: &Changed, call: &Call, subject: Subject, marks: u32, perhaps_not: bool) -> Exit {
    let mut descriptor: Ptr = core::ptr::null();
    if call.descriptor >= 0 {
        descriptor = call::file(subject.task, call.descriptor);
        // A file that is read has its times set by the same call as the one that is written.
        if pointer(descriptor, offset!(file_f_inode)) != changed.inode {
            return Exit::FilterMiss;
        }
    }
    let writes = call.deed as u32 == Deed::Write as u32;
    if writes && perhaps_not {
        return Exit::FilterMiss;
    }
    if writes || call.deed as u32 == Deed::Size as u32 {
        if writes {
            change::forget(changed.file);
        }
        if !seen::first_write(subject, changed.file) {
            return Exit::AlreadySeen;
        }
    }
    let place = Place { tid: subject.tid, slot: SLOT_NOW };
    let Some(change) = change::begin(place, changed, call.number) else { return Exit::TableFull };
    let exit = if perhaps_not && !change::changes_attributes(change) {
        Exit::FilterMiss
    } else if !writes
        && told_already(change, call, subject, if marks == 0 { limits::RECENT_NS } else { limits::DOUBT_NS })
    {
        Exit::AlreadySeen
    } else {
        let (kind, deed) = if writes {
            (Kind::Data, Deed::Write)
        } else if call.deed as u32 == Deed::Rename as u32 && !changed.folder && change::lost_a_name(change) {
            (Kind::Tamper, Deed::Replace)
        } else {
            (Kind::Tamper, call.deed)
        };
        let (file, other) = (descriptor as u64, call.other as u64);
        let (kind, deed) = (kind as u32, deed as u32);
        change::tell(place, change, &Told { file, other, text: 0, kind, deed, outcome: 0, marks })
    };
    let _ = CHANGES.remove(place);
    exit
}

/// Whether this very change was told within a time: one call can change an inode's time more than once.
#[inline(always)]
fn told_already(change: *const Change, call: &Call, subject: Subject, within: u64) -> bool {
    // SAFETY: the entry is this thread's.
    let (file, after) = unsafe { ((*change).file, (*change).after) };
    let what = file.ino
        ^ u64::from(file.dev) << 8
        ^ u64::from(after.mode) << 48
        ^ u64::from(after.nlink) << 32
        ^ u64::from(after.flags) << 24;
    let whom = subject.start ^ u64::from(call.number) << 32 ^ after.size;
    let refusal = Refusal { what, whom, kind: refusal::CHANGE, id: subject.tgid };
    // SAFETY: a helper without arguments.
    let now = unsafe { bpf_ktime_get_boot_ns() };
    // SAFETY: a value is only compared.
    if let Some(at) = unsafe { RECENT.get(refusal) }
        && now.wrapping_sub(*at) < within
    {
        return true;
    }
    let _ = RECENT.insert(refusal, now, u64::from(BPF_ANY));
    false
}

/// `syscalls:sys_exit_*` of the calls in [`call::ending`]: `long ret` is zero or a negative errno.
#[tracepoint]
fn sys_exit_change(ctx: TracePointContext) -> u32 {
    tally::count(&ctx, Hook::InodeDirty, ended(&ctx));
    0
}

#[inline(always)]
fn ended(ctx: &TracePointContext) -> Exit {
    let Some(syscall::Ended { number, result }) = syscall::ended(ctx) else { return Exit::Unrelated };
    let result = result as i32;
    // SAFETY: a helper without arguments.
    let tid = (unsafe { bpf_get_current_pid_tgid() }) as u32;
    let at = |slot| Place { tid, slot };
    if !change::has_begun(tid) {
        return if is_refusal(i64::from(result)) { refused(number, result) } else { Exit::Unrelated };
    }
    let (slot, deed) = chosen(number, tid);
    let exit = if deed as u32 != Deed::None as u32 {
        match CHANGES.get_ptr_mut(at(slot)) {
            Some(change) => {
                let another = result == 0 && change::is_another(change);
                let exit = told(at(slot), change, deed, number, result);
                // SAFETY: the entry is this thread's.
                let (marks, file) = unsafe { ((*change).marks, (*change).file) };
                if result == 0 && marks & mark::FOLDER != 0 && change::removed(change) {
                    watch::forget_folder(file);
                }
                // What has the number of a former key can become one by the name that it gets.
                if another {
                    placed(number, true, asked::NO_FOLDERS);
                }
                exit
            }
            None => Exit::FilterMiss,
        }
    } else if result == 0 {
        let folders = [slots::folder(at(SLOT_FOLDER)), slots::folder(at(SLOT_OTHER_FOLDER))];
        placed(number, slots::holds(at(SLOT_FOLDER)) || slots::holds(at(SLOT_OTHER_FOLDER)), folders)
    } else {
        Exit::FilterMiss
    };
    // The slots of this call, and what an earlier one may have left.
    change::forget_call(tid);
    exit
}

/// What a call did to the file or folder in a slot; [`Deed::None`] for an empty slot, and for a folder that only holds what it
/// was done to.
#[inline(always)]
fn role(number: u32, place: Place) -> Deed {
    let Some(change) = CHANGES.get_ptr(place) else { return Deed::None };
    // SAFETY: the entry is this thread's.
    if unsafe { (*change).number } != number {
        return Deed::None;
    }
    let folder = place.slot == SLOT_FOLDER || place.slot == SLOT_OTHER_FOLDER;
    let deed = call::ending(number);
    match deed {
        Deed::Rename => change::renamed(change),
        Deed::Unlink if folder && !change::removed(change) => Deed::None,
        Deed::Link if folder => Deed::None,
        _ => deed,
    }
}

/// One call is one deed: which of the things that it changed it is told of, and as what.
#[inline(always)]
fn chosen(number: u32, tid: u32) -> (u32, Deed) {
    let role = |slot: u32| role(number, Place { tid, slot });
    let is = |one: Deed, other: Deed| one as u32 == other as u32;
    let (file, other) = (role(SLOT_FILE), role(SLOT_OTHER_FILE));
    if !exchanges(number) {
        // Of the two files of a rename, the one whose name was taken.
        if is(other, Deed::Replace) {
            return (SLOT_OTHER_FILE, other);
        }
        if !is(file, Deed::None) {
            // What is done on an overlay is done to the file in its layer as well, which can have the number of a former key.
            let is_former = !is(other, Deed::None) && is_another(Place { tid, slot: SLOT_FILE });
            return if is_former { (SLOT_OTHER_FILE, other) } else { (SLOT_FILE, file) };
        }
    }
    // Of two things that change places, a folder: what lies in it goes with it. And a key rather than what lies beside keys, which
    // may be a public record.
    let folder = role(SLOT_FOLDER);
    if !is(folder, Deed::None) {
        return (SLOT_FOLDER, if exchanges(number) { Deed::Exchange } else { folder });
    }
    let folder = role(SLOT_OTHER_FOLDER);
    if !is(folder, Deed::None) {
        return (SLOT_OTHER_FOLDER, if exchanges(number) { Deed::Exchange } else { folder });
    }
    if !exchanges(number) || is(file, Deed::None) {
        return (SLOT_FILE, Deed::None);
    }
    let is_beside = slots::is_of_kind(Place { tid, slot: SLOT_FILE }, file_watch::BORN);
    (if is_beside && !is(other, Deed::None) { SLOT_OTHER_FILE } else { SLOT_FILE }, Deed::Exchange)
}

/// Whether what is in a slot seems to be another file than the one that was enrolled.
#[inline(always)]
fn is_another(place: Place) -> bool {
    match CHANGES.get_ptr(place) {
        Some(change) => change::is_another(change),
        None => false,
    }
}

/// Whether two names change places.
#[inline(always)]
fn exchanges(number: u32) -> bool {
    const RENAMEAT2: u32 = 316;
    const RENAME_EXCHANGE: u64 = 1 << 1;
    number == RENAMEAT2 && Registers::current().fifth() & RENAME_EXCHANGE != 0
}

/// Something happened in a watched folder (`holds`) or in one above, and to nothing that is watched: perhaps a file was given a name
/// there. Or two names changed places, which some file systems (XFS, F2FS) do not write down at what bears them.
#[inline(always)]
fn placed(number: u32, holds: bool, folders: [FileId; 2]) -> Exit {
    let exchanges = exchanges(number);
    if !holds && !exchanges {
        return Exit::FilterMiss;
    }
    let deed = call::ending(number);
    if deed as u32 != Deed::Rename as u32 && deed as u32 != Deed::Link as u32 {
        return Exit::FilterMiss;
    }
    let registers = Registers::current();
    let (dfd, path) = registers.new_path(number);
    let other = match registers.path(number) {
        Some((_, other)) => other,
        None => 0,
    };
    let deed = if exchanges { Deed::Exchange } else { Deed::Place };
    asked::tell(&asked::Asked { deed, hook: Hook::InodeDirty, outcome: 0, dfd, path, other, folders })
}

/// A change was refused, before anything changed: what it was about is told as it was asked for.
#[inline(always)]
fn refused(number: u32, result: i32) -> Exit {
    let registers = Registers::current();
    let deed = call::ending(number);
    match registers.path(number) {
        Some((dfd, path)) => {
            if super::refused::repeated(path, u64::from(number)) {
                return Exit::AlreadySeen;
            }
            asked::tell(&asked::Asked {
                deed,
                hook: Hook::InodeDirty,
                outcome: result,
                dfd,
                path,
                other: 0,
                folders: asked::NO_FOLDERS,
            })
        }
        None => Exit::Unrelated,
    }
}

#[inline(always)]
fn told(place: Place, change: *mut Change, deed: Deed, number: u32, result: i32) -> Exit {
    let registers = Registers::current();
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() } as Ptr;
    let (mut deed, mut descriptor, mut text): (Deed, Ptr, u64) = (deed, core::ptr::null(), 0);
    match number {
        // ftruncate: a write, which is no news of somebody who opened the file for that.
        77 => {
            descriptor = call::file(task, i64::from(registers.first() as u32));
            // SAFETY: the entry is this thread's.
            if !seen::first_write(Subject::current(), unsafe { (*change).file }) {
                return Exit::AlreadySeen;
            }
        }
        188 | 189 | 190 | 197 | 198 | 199 => text = registers.second(),
        463 | 466 => text = registers.fourth(),
        // The inode of what is renamed over a key is not watched, and its former name is as it was asked for.
        82 if deed as u32 == Deed::Replace as u32 => text = registers.first(),
        264 | 316 if deed as u32 == Deed::Replace as u32 => text = registers.second(),
        _ => {}
    }
    if deed as u32 == Deed::Xattr as u32 && is_acl(text) {
        deed = Deed::Acl;
    }
    let (kind, deed, file, outcome) = (Kind::Tamper as u32, deed as u32, descriptor as u64, result.min(0));
    change::tell(place, change, &Told { file, other: 0, text, kind, deed, outcome, marks: 0 })
}

/// Whether an attribute's name begins with `system.posix_acl`.
#[inline(always)]
fn is_acl(name: u64) -> bool {
    let mut head = [0_u64; 2];
    // SAFETY: the helper writes sixteen bytes and takes any address.
    unsafe { bpf_probe_read_user((&raw mut head).cast(), 16, name as *const _) };
    head[0] == u64::from_le_bytes(*b"system.p") && head[1] == u64::from_le_bytes(*b"osix_acl")
}
