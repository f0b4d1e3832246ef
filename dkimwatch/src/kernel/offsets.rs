//! Field offsets, from the running kernel's own description of its types (BTF).

use std::{collections::HashMap, fs, path::Path};

use btf_rs::{Btf, Struct, Type};
use dkimwatch_common::offsets::{ABSENT, Need, Offsets};

use super::KernelError;

/// Where the kernel describes its types.
pub(super) const VMLINUX: &str = "/sys/kernel/btf/vmlinux";

/// What the running kernel looks like.
#[derive(Debug)]
pub(super) struct Resolved {
    /// Where each field is.
    pub(super) offsets: Offsets,
    /// 1 where the `vfs_*` functions take a mount's id map (5.12; then called `mnt_userns`) before the dentry.
    pub(super) idmap: u32,
    /// 1 where `bpf_task_pt_regs()` is a helper (5.15).
    pub(super) task_regs: u32,
    /// 1 where the tracepoint `io_uring_complete` is given the completion itself (6.14).
    pub(super) io_uring_cqe: u32,
    /// Controllers of control groups, a byte each: its number and one more, zero for none.
    pub(super) controllers: u32,
}

/// Resolves every field of the contract.
///
/// # Errors
/// When the description cannot be read, or lacks a field that is needed.
pub(super) fn resolve(path: &Path) -> Result<Resolved, KernelError> {
    let unreadable = |reason: String| KernelError::Btf { path: path.to_owned(), reason };
    // At once: read piece by piece, it takes a hundred thousand system calls.
    let bytes = fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let btf = Btf::from_bytes(&bytes).map_err(|error| unreadable(error.to_string()))?;
    let mut missing = None;
    let offsets = Offsets::resolve(|field| {
        let offset = field.paths.iter().find_map(|path| offset_of(&btf, path));
        if offset.is_none() && field.need == Need::Required && missing.is_none() {
            missing = Some(field.paths);
        }
        offset.filter(|offset| *offset != ABSENT)
    });
    match missing {
        Some(paths) => Err(KernelError::FieldMissing { paths }),
        None => Ok(Resolved {
            offsets,
            idmap: u32::from(takes_idmap(&btf)),
            task_regs: u32::from(has_function(&btf, "bpf_task_pt_regs")),
            io_uring_cqe: u32::from(completes_with_cqe(&btf)),
            controllers: controllers(&btf),
        }),
    }
}

/// Whether the kernel has a function of this name.
fn has_function(btf: &Btf, name: &str) -> bool {
    let found = btf.resolve_types_by_name(name).unwrap_or_default();
    found.iter().any(|kind| matches!(kind, Type::Func(_)))
}

/// Whether `notify_change()` has its dentry second.
fn takes_idmap(btf: &Btf) -> bool {
    let functions = btf.resolve_types_by_name("notify_change").unwrap_or_default();
    functions.into_iter().any(|kind| {
        let Type::Func(function) = kind else { return false };
        let Ok(Type::FuncProto(proto)) = btf.resolve_chained_type(&function) else { return false };
        proto.parameters.get(1).and_then(|second| btf.resolve_name(second).ok()).is_some_and(|name| name == "dentry")
    })
}

/// Whether `io_uring_complete` has three arguments (and, as every tracepoint's function, one before them).
fn completes_with_cqe(btf: &Btf) -> bool {
    let tracepoints = btf.resolve_types_by_name("btf_trace_io_uring_complete").unwrap_or_default();
    tracepoints.into_iter().any(|kind| {
        let Type::Typedef(typedef) = kind else { return false };
        let Ok(Type::Ptr(function)) = btf.resolve_chained_type(&typedef) else { return false };
        let Ok(Type::FuncProto(proto)) = btf.resolve_chained_type(&function) else { return false };
        proto.parameters.len() == 4
    })
}

/// Those that each runtime makes a container's control group for, where there are hierarchies of version 1.
const CONTROLLERS: [&str; 4] = ["pids_cgrp_id", "memory_cgrp_id", "devices_cgrp_id", "freezer_cgrp_id"];

/// Their numbers, see [`Resolved::controllers`].
fn controllers(btf: &Btf) -> u32 {
    let known = btf.resolve_types_by_name("cgroup_subsys_id").unwrap_or_default();
    let numbers: HashMap<String, u8> = known
        .into_iter()
        .filter_map(|kind| if let Type::Enum(found) = kind { Some(found.members) } else { None })
        .flatten()
        .filter_map(|member| Some((btf.resolve_name(&member).ok()?, u8::try_from(member.val()).ok()?)))
        .collect();
    u32::from_le_bytes(CONTROLLERS.map(|name| numbers.get(name).map_or(0, |number| number.saturating_add(1))))
}

/// The offset in bytes of `struct.member[.member…]`.
pub(super) fn offset_of(btf: &Btf, path: &str) -> Option<u32> {
    let mut names = path.split('.');
    let name = names.next()?;
    let mut current = btf.resolve_types_by_name(name).ok()?.into_iter().find_map(|kind| match kind {
        Type::Struct(found) if !found.members.is_empty() => Some(found),
        _ => None,
    })?;
    let mut bits = 0;
    let mut names = names.peekable();
    while let Some(name) = names.next() {
        let (at, kind) = member(btf, &current, name)?;
        bits += at;
        if names.peek().is_some() {
            current = as_struct(btf, kind)?;
        }
    }
    Some(bits / 8)
}

/// A member's offset in bits and its type, looked for in anonymous structs and unions as well.
fn member(btf: &Btf, within: &Struct, name: &str) -> Option<(u32, Type)> {
    for member in &within.members {
        let kind = btf.resolve_chained_type(member).ok()?;
        let named = btf.resolve_name(member).unwrap_or_default();
        if named == name {
            return Some((member.bit_offset(), kind));
        }
        if named.is_empty()
            && let Some(inner) = as_struct(btf, kind)
            && let Some((at, kind)) = self::member(btf, &inner, name)
        {
            return Some((member.bit_offset() + at, kind));
        }
    }
    None
}

/// The struct or union behind typedefs and qualifiers.
fn as_struct(btf: &Btf, mut kind: Type) -> Option<Struct> {
    loop {
        kind = match kind {
            Type::Struct(found) | Type::Union(found) => return Some(found),
            Type::Typedef(typedef) => btf.resolve_chained_type(&typedef).ok()?,
            Type::Const(inner) | Type::Volatile(inner) | Type::Restrict(inner) => {
                btf.resolve_chained_type(&inner).ok()?
            }
            Type::TypeTag(tag) => btf.resolve_chained_type(&tag).ok()?,
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_running_kernel_has_every_field_and_no_two_alike_in_one_struct() {
        let Resolved { offsets, controllers, .. } =
            resolve(Path::new(VMLINUX)).expect("this kernel describes its types");
        assert_ne!(offsets.file_f_inode, offsets.file_f_flags);
        assert_eq!(offsets.cred_gid, offsets.cred_uid + 4);
        assert_ne!(offsets.mount_mnt, ABSENT);
        assert_ne!(controllers, 0, "this kernel has none of {CONTROLLERS:?}");
    }

    #[test]
    fn a_missing_description_names_the_file_and_the_remedy() {
        let error = resolve(Path::new("/nonexistent/vmlinux")).expect_err("there is none");
        assert!(error.to_string().contains("/nonexistent/vmlinux"), "{error}");
        assert!(error.to_string().contains("CONFIG_DEBUG_INFO_BTF"), "{error}");
    }
}
