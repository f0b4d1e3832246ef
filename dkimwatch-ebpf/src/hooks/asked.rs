//! What was done to a path, where no hook has what the path leads to: it is told as it was asked for, and userspace finds out
//! whether it leads to what is watched.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use dkimwatch_common::{
    deed::Deed,
    identity::FileId,
    limits,
    record::{Kind, fact, mark},
    tally::{Exit, Hook},
};

use super::refused::{base, user};
use crate::{emit, watch::Found};

/// What was asked for.
pub struct Asked {
    /// What was done.
    pub deed: Deed,
    /// The hook.
    pub hook: Hook,
    /// Zero or a negative errno.
    pub outcome: i32,
    /// The descriptor of the folder that a relative path begins at.
    pub dfd: i32,
    /// The path, in the caller's memory.
    pub path: u64,
    /// Another path, zero where there is none.
    pub other: u64,
    /// The folders that it was done in, where that is known; else zeros.
    pub folders: [FileId; 2],
}

/// Nothing is known of the folders.
pub const NO_FOLDERS: [FileId; 2] = [FileId::new(0, 0); 2];

/// Records it, through the ring for attempts: anybody may try, and mount in a namespace of his own, as often as he likes.
#[inline(always)]
pub fn tell(asked: &Asked) -> Exit {
    let Asked { deed, hook, outcome, dfd, path, other, folders: [file, dir] } = *asked;
    let (dentry, mnt) = base(user::<u8>(path), dfd);
    let (kind, via, name) = (Kind::Tamper, emit::shared_via(), emit::Name::Path(dentry, mnt));
    let access = emit::Access { kind, deed, hook, via, name, outcome: Some(outcome) };
    emit::attempt(&access, &Found { file, dir, ..emit::no_file() }, |extended| {
        const HALF: usize = limits::SECOND_ASKED;
        // SAFETY: the draft is this thread's alone until it is submitted; each half of the text has room for a path.
        unsafe {
            let record = &raw mut (*extended).record;
            (*record).marks |= mark::AS_ASKED;
            let to: *mut u8 = (&raw mut (*extended).second).cast();
            let room = if other == 0 { limits::PATH_BYTES } else { HALF } as u32;
            let written = bpf_probe_read_user_str(to.cast(), room, path as *const _);
            if written <= 0 {
                (*record).unreadable |= fact::SECOND;
                return;
            }
            (*extended).second_len = written as u32 - 1;
            if written as u32 >= room {
                (*record).marks |= mark::SECOND_CUT;
            }
            (*record).known |= fact::SECOND;
            if other != 0 {
                let written = bpf_probe_read_user_str(to.add(HALF).cast(), room, other as *const _);
                if written > 1 {
                    (*extended).second_len = HALF as u32 + written as u32 - 1;
                }
            }
        }
    })
}
