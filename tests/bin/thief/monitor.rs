//! Hands on the watch itself: its memory, and what it has in the kernel.

use std::{ffi::OsString, fs, os::fd::AsRawFd as _, os::fd::OwnedFd};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{Road, loot, number, raw};

pub(crate) const ROADS: &[Road] = &[
    ("own-trace", trace),
    ("own-map", alter_map),
    ("own-ring", map_ring),
    ("own-link", detach_link),
    ("own-list", list),
];

/// Commands of bpf(2) (`include/uapi/linux/bpf.h`).
const MAP_UPDATE_ELEM: usize = 2;
const MAP_GET_FD_BY_ID: usize = 14;
const OBJ_GET_INFO_BY_FD: usize = 15;
const LINK_GET_FD_BY_ID: usize = 30;
const LINK_DETACH: usize = 34;

/// Its attributes: as many words as any of these takes.
type Attributes = [u64; 16];

fn bpf(command: usize, attributes: &mut Attributes) -> Result<usize> {
    // SAFETY: the attributes outlive the call, and so does what they point to, as each caller sees to.
    unsafe {
        raw::call(libc::SYS_bpf, [command, attributes.as_mut_ptr() as usize, size_of::<Attributes>()])
            .with_context(|| format!("bpf command {command}"))
    }
}

/// Fields of each descriptor of a process that has a field `wanted` (`/proc/PID/fdinfo`).
fn described(pid: u32, wanted: &str) -> Result<Vec<Vec<(String, u32)>>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        let Ok(text) = fs::read_to_string(entry?.path()) else { continue };
        let fields: Vec<(String, u32)> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .filter_map(|(name, value)| Some((name.to_owned(), value.trim().parse().ok()?)))
            .collect();
        if fields.iter().any(|(name, _)| name == wanted) {
            found.push(fields);
        }
    }
    ensure!(!found.is_empty(), "process {pid} has no {wanted}");
    Ok(found)
}

fn field(fields: &[(String, u32)], wanted: &str) -> Option<u32> {
    fields.iter().find(|(name, _)| name == wanted).map(|(_, value)| *value)
}

fn by_id(command: usize, id: u32) -> Result<OwnedFd> {
    let mut attributes = Attributes::default();
    attributes[0] = u64::from(id);
    raw::descriptor(bpf(command, &mut attributes)?)
}

/// A descriptor's word in attributes.
fn word(fd: &OwnedFd) -> Result<u64> {
    Ok(u64::try_from(fd.as_raw_fd())?)
}

fn done() -> Result<()> {
    loot::show(loot::Reader::this_thread()?, b"")
}

/// Seizes it as a debugger does, and lets it go: `own-trace PID`.
fn trace(arguments: &[OsString]) -> Result<()> {
    let pid = usize::try_from(number(arguments, 0)?)?;
    for request in [libc::PTRACE_SEIZE, libc::PTRACE_INTERRUPT] {
        // SAFETY: these requests take integers.
        unsafe { raw::call(libc::SYS_ptrace, [usize::try_from(request)?, pid, 0, 0]) }.context("ptrace")?;
    }
    let mut status = 0;
    // SAFETY: `status` outlives the call.
    ensure!(unsafe { libc::waitpid(i32::try_from(pid)?, &raw mut status, libc::__WALL) } > 0, "waitpid");
    // SAFETY: this request takes integers.
    unsafe { raw::call(libc::SYS_ptrace, [usize::try_from(libc::PTRACE_DETACH)?, pid, 0, 0]) }.context("detach")?;
    done()
}

/// Writes an entry into a map of its that is asked by 24 bytes and holds eight: `own-map PID`.
fn alter_map(arguments: &[OsString]) -> Result<()> {
    let maps = described(number(arguments, 0)?, "map_id")?;
    let fits = |map: &&Vec<_>| field(map, "key_size") == Some(24) && field(map, "value_size") == Some(8);
    let id = maps.iter().find(fits).and_then(|map| field(map, "map_id")).context("a map of that kind")?;
    let map = by_id(MAP_GET_FD_BY_ID, id)?;
    let (key, value) = ([0xee_u8; 24], [0_u8; 8]);
    let mut attributes = Attributes::default();
    attributes[0] = word(&map)?;
    attributes[1] = key.as_ptr() as u64;
    attributes[2] = value.as_ptr() as u64;
    bpf(MAP_UPDATE_ELEM, &mut attributes)?;
    done()
}

/// Maps the page of a ring that says how far it was read, to be written: `own-ring PID`.
fn map_ring(arguments: &[OsString]) -> Result<()> {
    /// `BPF_MAP_TYPE_RINGBUF`.
    const RING: u32 = 27;
    let maps = described(number(arguments, 0)?, "map_id")?;
    let id = maps.iter().find(|map| field(map, "map_type") == Some(RING)).and_then(|map| field(map, "map_id"));
    let ring = by_id(MAP_GET_FD_BY_ID, id.context("a ring")?)?;
    // SAFETY: a new mapping, of a page that is there, which is not written.
    let page = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED,
            ring.as_raw_fd(),
            0,
        )
    };
    ensure!(page != libc::MAP_FAILED, "mmap: {}", std::io::Error::last_os_error());
    done()
}

/// Tries to detach a link of its, which the kernel knows no way to for a tracing link: `own-link PID`.
fn detach_link(arguments: &[OsString]) -> Result<()> {
    let links = described(number(arguments, 0)?, "link_id")?;
    let id = links.first().and_then(|link| field(link, "link_id")).context("a link")?;
    let link = by_id(LINK_GET_FD_BY_ID, id)?;
    let mut attributes = Attributes::default();
    attributes[0] = word(&link)?;
    match bpf(LINK_DETACH, &mut attributes) {
        Ok(_) => bail!("it was detached"),
        Err(_) => done(),
    }
}

/// Lists all its maps as bpftool(8) does: `own-list PID`.
fn list(arguments: &[OsString]) -> Result<()> {
    for map in described(number(arguments, 0)?, "map_id")? {
        let map = by_id(MAP_GET_FD_BY_ID, field(&map, "map_id").context("its id")?)?;
        let mut info = [0_u64; 16];
        let mut attributes = Attributes::default();
        attributes[0] = word(&map)? | u64::try_from(size_of_val(&info))? << 32;
        attributes[1] = info.as_mut_ptr() as u64;
        bpf(OBJ_GET_INFO_BY_FD, &mut attributes)?;
    }
    done()
}
