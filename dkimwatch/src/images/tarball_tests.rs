//! Tape archives: whole, cut and hostile.

use std::io::Write as _;

use super::*;

fn header(name: &str, entry_type: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(entry_type);
    header.set_mode(0o100_640);
    header.set_uid(7);
    header.set_gid(8);
    header.set_size(size);
    header.set_cksum();
    header
}

fn members(bytes: &[u8]) -> (Vec<(String, Kind)>, Option<Fault>) {
    let mut archive = Tarball::new(Stream(bytes));
    let mut members = Vec::new();
    loop {
        match archive.next() {
            Ok(Some(member)) => members.push((String::from_utf8_lossy(&member.name).into_owned(), member.kind)),
            Ok(None) => return (members, None),
            Err(fault) => return (members, Some(fault)),
        }
    }
}

fn sample() -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    archive.append(&header("./etc/", EntryType::Directory, 0), &b""[..]).unwrap();
    archive.append(&header("./etc/x", EntryType::Regular, 700), &[b'x'; 700][..]).unwrap();
    let mut link = header("y", EntryType::Link, 0);
    archive.append_link(&mut link, "z".repeat(150), "./etc/x").unwrap();
    let long = format!("{}/name", "f/".repeat(120));
    archive.append_data(&mut header("x", EntryType::Regular, 3), &long, &b"abc"[..]).unwrap();
    archive.append_pax_extensions([("path", &b"p\xff\nq"[..]), ("uid", b"4000000000"), ("size", b"5")]).unwrap();
    archive.append(&header("short", EntryType::Regular, 5), &b"hello"[..]).unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn names_of_every_form() {
    let (members, fault) = members(&sample());
    assert!(fault.is_none(), "{fault:?}");
    let long = format!("{}/name", "f/".repeat(120));
    let expected = [
        ("etc/".to_owned(), Kind::Folder),
        ("etc/x".to_owned(), Kind::File(700)),
        ("z".repeat(150), Kind::HardLink(b"./etc/x".to_vec())),
        (long, Kind::File(3)),
        ("p\u{fffd}\nq".to_owned(), Kind::File(5)),
    ];
    assert_eq!(members, expected);
}

#[test]
fn data_is_where_the_member_says() {
    let bytes = sample();
    let mut archive = Tarball::new(Stream(&bytes[..]));
    while let Some(member) = archive.next().unwrap() {
        let mut head = Vec::new();
        archive.head(&mut head, 4).unwrap();
        let mut rest = Vec::new();
        archive.data().read_to_end(&mut rest).unwrap();
        let Kind::File(size) = member.kind else { continue };
        assert_eq!((head.len() + rest.len()) as u64, size);
        let at = usize::try_from(member.at).unwrap();
        assert!(bytes[at..].starts_with(&[head, rest].concat()));
        if member.name.starts_with(b"p") {
            assert_eq!((member.mode, member.uid, member.gid), (Some(0o640), Some(4_000_000_000), Some(8)));
        }
    }
}

#[test]
fn cut_anywhere_it_is_told_with_its_offset() {
    let whole = sample();
    for length in (0..whole.len()).step_by(37).chain((0..whole.len()).step_by(512)).chain([whole.len() - 1]) {
        let (_, fault) = members(&whole[..length]);
        assert!(matches!(fault, Some(Fault::Cut { at, .. }) if at == length as u64), "{length}: {fault:?}");
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&whole[..length]).unwrap();
        file.seek(SeekFrom::Start(0)).unwrap();
        let mut archive = Tarball::new(file);
        let fault = loop {
            match archive.next() {
                Ok(Some(_)) => {}
                Ok(None) => break None,
                Err(fault) => break Some(fault),
            }
        };
        assert!(matches!(fault, Some(Fault::Cut { at, .. }) if at == length as u64), "{length} of a file: {fault:?}");
    }
}

#[test]
fn hostile_headers_are_corrupt_and_cost_nothing() {
    let mut size = header("x", EntryType::Regular, 0);
    size.as_old_mut().size = [0xff; 12];
    size.as_old_mut().size[0] = 0x80;
    size.set_cksum();
    let name = header("././@LongLink", EntryType::GNULongName, 8 << 30);
    let pax = header("x", EntryType::XHeader, 8 << 30);
    let mut sum = header("x", EntryType::Regular, 0);
    sum.as_old_mut().name[0] = b'y';
    for (header, says) in [(size, "bytes"), (name, "name"), (pax, "record"), (sum, "check sum")] {
        let (members, fault) = members(&[&header.as_bytes()[..], &[0; 1024]].concat());
        assert_eq!(members, []);
        let fault = fault.unwrap();
        assert!(matches!(&fault, Fault::Corrupt { what, .. } if what.contains(says)), "{fault:?}");
    }
    for record in ["", "3", "5 a=b\n", "99 path=x\n", "9 path=xx!", "0 a=b\n", "1 a=b\n", "8 noequal\n"] {
        let mut bytes = header("x", EntryType::XHeader, record.len() as u64).as_bytes().to_vec();
        bytes.extend(record.as_bytes());
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        bytes.extend(header("y", EntryType::Regular, 0).as_bytes());
        bytes.extend([0; 1024]);
        let (members, fault) = members(&bytes);
        assert_eq!(
            (members.len(), fault.is_some()),
            if record.is_empty() { (1, false) } else { (0, true) },
            "{record}"
        );
    }
}

#[test]
fn a_link_has_no_data_whatever_its_header_says() {
    let mut bytes = header("l", EntryType::Symlink, 512).as_bytes().to_vec();
    bytes.extend(header("next", EntryType::Regular, 0).as_bytes());
    bytes.extend([0; 1024]);
    assert_eq!(members(&bytes).0.len(), 2);
}

#[test]
fn a_sparse_members_map_is_no_data() {
    let mut sparse = header("s", EntryType::GNUSparse, 3);
    sparse.as_gnu_mut().unwrap().isextended = [1];
    sparse.set_cksum();
    let mut bytes = sparse.as_bytes().to_vec();
    bytes.extend([0; 512]);
    bytes.extend(b"abc");
    bytes.resize(1536, 0);
    bytes.extend(header("next", EntryType::Regular, 0).as_bytes());
    bytes.extend([0; 1024]);
    let (members, fault) = members(&bytes);
    assert_eq!(members, [("s".to_owned(), Kind::File(3)), ("next".to_owned(), Kind::File(0))]);
    assert!(fault.is_none());
}
