//! Sizes and offsets: what the kernel side was compiled with, and what this side reads by.

use std::{
    collections::BTreeMap,
    mem::{offset_of, size_of},
};

use btf_rs::{Btf, Struct, Type};
use dkimwatch_common::{
    exec::ExecImage,
    identity::{FileId, Identified},
    offsets::Offsets,
    record::{
        Creds, Header, Namespaces, RawAncestor, RawAttributes, RawChange, RawExtended, RawIdExtent, RawIdMap, RawRecord,
    },
    summary::{Guise, Summary, SummaryKey},
    watch::{DirWatch, FileWatch, Holder, Itself, NestName, Opener, Refusal, SeenBy},
};

use super::own_types;

/// A struct's size, and its members' offsets in bytes.
#[derive(Debug, PartialEq, Eq)]
struct Layout {
    size: usize,
    members: BTreeMap<String, usize>,
}

/// This side's layout. The pattern without `..` keeps the list of members complete.
macro_rules! layout {
    ($kind:ident { $($member:ident),+ $(,)? }) => {{
        #[expect(dead_code, reason = "compiling it is the test")]
        fn every_member(it: &$kind) {
            let $kind { $($member: _),+ } = it;
        }
        (stringify!($kind), Layout {
            size: size_of::<$kind>(),
            members: BTreeMap::from([$((stringify!($member).to_owned(), offset_of!($kind, $member))),+]),
        })
    }};
}

fn on_this_side() -> Vec<(&'static str, Layout)> {
    vec![
        layout!(Header { version, kind, len }),
        layout!(FileId { ino, dev, birth }),
        layout!(Identified { file, ctime, fd, mode, uid, gid, nlink, generation }),
        layout!(ExecImage {
            start,
            executed,
            file,
            ctime,
            uid,
            gid,
            mode,
            nlink,
            mnt_ns,
            source,
            path_len,
            marks,
            path
        }),
        layout!(Creds { uid, euid, suid, fsuid, gid, egid, sgid, fsgid, cap_effective }),
        layout!(Namespaces { mnt, pid, net, uts, ipc, cgroup, user, pad }),
        layout!(RawIdExtent { first, lower_first, count }),
        layout!(RawIdMap { count, extents }),
        layout!(RawAncestor { start, exe, pid, uid, comm }),
        layout!(RawAttributes { size, mode, uid, gid, nlink, flags, pad }),
        layout!(RawChange { before, after }),
        layout!(RawExtended { record, other, change, second_len, device, signal, signal_code, second }),
        layout!(RawRecord {
            header,
            boot_ns,
            sequence,
            cpu,
            hook,
            via,
            known,
            unreadable,
            marks,
            outcome,
            file,
            dir,
            file_generation,
            watch_generation,
            file_mode,
            file_uid,
            file_gid,
            file_nlink,
            watch_kind,
            watch_tag,
            open_flags,
            open_mode,
            tgid,
            tid,
            inner_pid,
            tracer,
            start,
            login_uid,
            session,
            creds,
            namespaces,
            uid_map,
            gid_map,
            cgroup_id,
            guise,
            comm,
            image,
            claimed,
            ancestor_count,
            path_len,
            claimed_path_len,
            args_len,
            cgroup_len,
            deed,
            ancestors,
            path,
            claimed_path,
            args,
            cgroup,
        }),
        layout!(FileWatch { tag, kind, generation, pad }),
        layout!(DirWatch { tag, kind }),
        layout!(NestName { dir, name }),
        layout!(SeenBy { file, start, exec, tgid, how }),
        layout!(Opener { file, process }),
        layout!(Holder { file, start, exec, tag, kind }),
        layout!(Refusal { what, whom, kind, id }),
        layout!(Itself { start, noted, tgid, pad }),
        layout!(Guise {
            number,
            start,
            exec,
            executed,
            cgroup,
            cgroup_names,
            place,
            policy,
            code,
            claimed,
            creds,
            namespaces,
            marks,
            pad
        }),
        layout!(SummaryKey { file, guise, tgid, pad }),
        layout!(Summary { count, first, last, span, tag, kind, generation, pad }),
        ("Offsets", offsets()),
    ]
}

/// The field list is the struct's member list, four bytes each.
fn offsets() -> Layout {
    let members = (0..).step_by(size_of::<u32>()).zip(Offsets::FIELDS);
    Layout { size: size_of::<Offsets>(), members: members.map(|(at, field)| (field.name.to_owned(), at)).collect() }
}

fn in_the_object(types: &Btf, name: &str) -> Layout {
    let structs: Vec<Struct> = types
        .resolve_types_by_name(name)
        .unwrap_or_default()
        .into_iter()
        .filter_map(|found| if let Type::Struct(found) = found { Some(found) } else { None })
        .collect();
    let [found] = structs.as_slice() else {
        panic!("the object describes {} structs {name}, not one: see the kernel side's `CONTRACT`", structs.len());
    };
    let members = found.members.iter().map(|member| {
        let name = types.resolve_name(member).expect("a member has a name");
        (name, usize::try_from(member.bit_offset() / 8).expect("an offset"))
    });
    Layout { size: found.size(), members: members.collect() }
}

#[test]
fn both_sides_lay_out_the_contract_alike() {
    let types = own_types();
    for (name, here) in on_this_side() {
        assert_eq!(in_the_object(&types, name), here, "left: the object, right: this side, of {name}");
    }
}

#[test]
fn every_struct_that_the_object_describes_is_compared() {
    let types = own_types();
    let compared: Vec<&str> = on_this_side().into_iter().map(|(name, _)| name).collect();
    let contract = types.resolve_types_by_name("Contract").expect("the kernel side's `CONTRACT`");
    let [Type::Struct(contract)] = contract.as_slice() else { panic!("not one struct: {contract:?}") };
    let mut found = 0;
    for member in &contract.members {
        if let Type::Array(array) = types.resolve_chained_type(member).expect("a member has a type") {
            let element = types.resolve_chained_type(&array).expect("an array has elements");
            let name = types.resolve_name(element.as_btf_type().expect("a named type")).expect("a name");
            assert!(compared.contains(&name.as_str()), "{name} is in `CONTRACT` and is not compared here");
            found += 1;
        }
    }
    assert!(found >= 8, "{found} types in `CONTRACT`");
}
