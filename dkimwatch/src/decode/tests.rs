//! decode on anything: random bytes, damaged records, and every record that the builder can make.

use std::mem::offset_of;

use dkimwatch_common::{
    deed::DEEDS,
    identity::FileId,
    limits,
    record::{KINDS, Kind, RawRecord, VERSION, Via, fact},
    tally::HOOKS,
};

use super::{
    fields::{EXTENDED, SIZE},
    *,
};

/// SplitMix64 (Steele, Lea, Flood 2014): seeded, so that a failure can be run again.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::try_from(self.next() % limit as u64).expect("below a usize")
    }

    fn u32(&mut self) -> u32 {
        u32::try_from(self.next() >> 32).expect("32 bits")
    }

    fn chance(&mut self) -> bool {
        self.next() & 1 == 0
    }

    fn fill(&mut self, bytes: &mut [u8]) {
        for chunk in bytes.chunks_mut(8) {
            let word = self.next().to_le_bytes();
            chunk.copy_from_slice(&word[..chunk.len()]);
        }
    }

    /// A name without NUL and `/`: any other byte, invalid UTF-8 included.
    fn name(&mut self, longest: usize) -> Vec<u8> {
        (0..=self.below(longest))
            .map(|_| match self.next().to_le_bytes()[0] {
                0 | b'/' => b'_',
                other => other,
            })
            .collect()
    }

    fn path(&mut self, depth: usize, longest: usize, cut: bool) -> Vec<u8> {
        let names: Vec<Vec<u8>> = (0..self.below(depth + 1)).map(|_| self.name(longest)).collect();
        let mut path = if cut { CUT_PREFIX.to_vec() } else { b"/".to_vec() };
        path.extend(names.join(&b'/'));
        path
    }

    fn fact<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Fact<T> {
        match self.below(8) {
            0 => Fact::Unreadable,
            1 => Fact::NotAsked,
            _ => Fact::Known(make(self)),
        }
    }

    fn file_id(&mut self) -> FileId {
        FileId { dev: self.u32(), ino: self.next() | 1, birth: self.u32() }
    }

    pub(crate) fn access(&mut self) -> Access {
        let login = self.fact(|random| (random.next(), random.next()));
        let kind = if self.chance() { Kind::Open } else { KINDS[self.below(KINDS.len())] };
        let deed = DEEDS[self.below(DEEDS.len())];
        let extended = kind != Kind::Open;
        Access {
            kind,
            deed,
            via: [Via::Lsm, Via::Fentry, Via::Tracepoint][self.below(3)],
            hook: HOOKS[self.below(HOOKS.len())],
            ring: [Ring::Signer, Ring::Stranger, Ring::Attempt][self.below(3)],
            boot_ns: self.next(),
            sequence: self.next(),
            cpu: self.u32(),
            outcome: self.fact(|random| {
                if random.chance() { Ok(()) } else { Err(i32::try_from(random.below(4095)).expect("small") + 1) }
            }),
            file: OpenedFile {
                id: self.file_id(),
                dir: self.file_id(),
                generation: self.u32(),
                watch_generation: self.u32(),
                mode: self.u32(),
                uid: self.u32(),
                gid: self.u32(),
                nlink: self.u32(),
                path: self.fact(|random| {
                    let cut = random.chance();
                    KernelPath { bytes: random.path(limits::PATH_DEPTH, 40, cut), cut }
                }),
                path_in_fs: self.chance(),
                is_folder: self.chance(),
                in_doubt: self.chance(),
                unlinked: self.chance(),
                tag: self.u32(),
                watch_kind: self.u32(),
                open: self.fact(|random| OpenMode { flags: random.u32(), mode: random.u32() }),
            },
            process: Process {
                pid: self.u32(),
                tid: self.u32(),
                inner_pid: self.fact(Self::u32),
                start_ns: self.next(),
                creds: self.fact(|random| Creds {
                    uid: random.u32(),
                    euid: random.u32(),
                    suid: random.u32(),
                    fsuid: random.u32(),
                    gid: random.u32(),
                    egid: random.u32(),
                    sgid: random.u32(),
                    fsgid: random.u32(),
                    cap_effective: random.next(),
                }),
                login_uid: login.clone().map(|(uid, _)| u32::try_from(uid >> 33).ok()),
                session: login.map(|(_, session)| if session & 1 == 0 { None } else { Some(7) }),
                namespaces: self.fact(|random| Namespaces {
                    mnt: random.u32(),
                    pid: random.u32(),
                    net: random.u32(),
                    uts: random.u32(),
                    ipc: random.u32(),
                    cgroup: random.u32(),
                    user: random.u32(),
                }),
                id_maps: self.fact(|random| IdMaps { users: random.id_map(), groups: random.id_map() }),
                cgroup: self.fact(|random| {
                    let cut = random.chance();
                    Cgroup { id: random.next(), path: random.path(limits::CGROUP_DEPTH, 60, cut), cut }
                }),
                comm: self.name(limits::COMM - 1),
                image: self.fact(|random| Image {
                    id: random.file_id(),
                    uid: random.u32(),
                    gid: random.u32(),
                    mode: random.u32(),
                    nlink: random.u32(),
                    ctime: random.next(),
                    executed_ns: random.next(),
                    marks: random.u32(),
                    mnt_ns: random.u32(),
                    path: random.name(limits::EXEC_PATH - 1),
                    source: [ImageSource::Exec, ImageSource::OlderThanWatch, ImageSource::AtAccess][random.below(3)],
                }),
                claimed: {
                    let cut = self.chance();
                    let unlinked = self.chance();
                    self.fact(|random| ClaimedExe {
                        id: random.file_id(),
                        path: KernelPath { bytes: random.path(limits::PATH_DEPTH, 40, cut), cut },
                        unlinked,
                    })
                },
                args: self.fact(|random| Args {
                    list: (0..random.below(10))
                        .map(|_| if random.chance() { random.name(70) } else { Vec::new() })
                        .collect(),
                    cut: random.chance(),
                }),
                kernel_thread: self.chance(),
                io_worker: self.chance(),
                traced: self.chance(),
                tracer: self.u32(),
                ancestors: (0..self.below(limits::ANCESTORS + 1)).map(|_| self.ancestor()).collect(),
                ancestors_cut: self.chance(),
            },
            other: if extended { self.fact(Self::ancestor) } else { Fact::NotAsked },
            record: bytes::Bytes::new(),
            guise: self.next(),
            core_limited: self.chance(),
            device: if extended { self.u32() } else { 0 },
            signal: (extended && self.chance())
                .then(|| super::Signal { number: self.u32().max(1), code: self.u32().cast_signed() }),
            by_parent: self.chance(),
            change: if extended {
                self.fact(|random| Change { before: random.attributes(), after: random.attributes() })
            } else {
                Fact::NotAsked
            },
            second: if extended {
                self.fact(|random| {
                    let cut = random.chance();
                    let bytes = if deed.second_is_path() {
                        random.path(limits::PATH_DEPTH, 40, cut)
                    } else {
                        random.name(limits::PATH_BYTES - 1)
                    };
                    KernelPath { bytes, cut }
                })
            } else {
                Fact::NotAsked
            },
        }
    }

    fn ancestor(&mut self) -> Ancestor {
        Ancestor {
            pid: self.u32(),
            start_ns: self.next(),
            uid: self.u32(),
            comm: self.name(limits::COMM - 1),
            exe: self.chance().then(|| self.file_id()),
        }
    }

    fn id_map(&mut self) -> IdMap {
        let range = |random: &mut Self| IdRange { inner: random.u32(), host: random.u32(), count: random.u32() };
        IdMap((0..self.below(limits::ID_EXTENTS + 1)).map(|_| range(self)).collect())
    }

    fn attributes(&mut self) -> Attributes {
        Attributes {
            size: self.next(),
            mode: self.u32(),
            uid: self.u32(),
            gid: self.u32(),
            nlink: self.u32(),
            flags: self.u32(),
        }
    }
}

fn encode(access: &Access) -> Vec<u8> {
    RecordBuilder::new(access).expect("the access fits a record").finish()
}

#[test]
fn what_was_encoded_is_decoded_alike() {
    let mut random = Random(1);
    for round in 0..20_000 {
        let access = random.access();
        let bytes = encode(&access);
        assert_eq!(bytes.len(), if access.kind == Kind::Open { SIZE } else { EXTENDED });
        assert_eq!(decode(&bytes).as_ref(), Ok(&access), "round {round}");
    }
}

#[test]
fn a_million_random_byte_strings_are_survived() {
    let mut random = Random(2);
    let mut buffer = [0_u8; 2 * EXTENDED];
    let (mut accepted, mut refused) = (0, 0);
    // Plain noise: short, long, and with a true version and length in front, so that more than the first check is tried.
    for round in 0..500_000_usize {
        let length = match round % 8 {
            0 if round % 16 == 0 => SIZE,
            0 => EXTENDED,
            1 => random.below(2 * EXTENDED),
            _ => random.below(64),
        };
        let bytes = &mut buffer[..length];
        random.fill(bytes);
        if length >= 8 && round % 2 == 0 {
            bytes[..2].copy_from_slice(&VERSION.to_le_bytes());
            bytes[4..8].copy_from_slice(&u32::try_from(length).expect("small").to_le_bytes());
        }
        match decode(bytes) {
            Ok(_) => accepted += 1,
            Err(_) => refused += 1,
        }
    }
    // True records with a few bytes changed, lengths, counts and fact bits more often than their share.
    let delicate = [
        offset_of!(RawRecord, known),
        offset_of!(RawRecord, unreadable),
        offset_of!(RawRecord, marks),
        offset_of!(RawRecord, outcome),
        offset_of!(RawRecord, ancestor_count),
        offset_of!(RawRecord, path_len),
        offset_of!(RawRecord, claimed_path_len),
        offset_of!(RawRecord, args_len),
        offset_of!(RawRecord, cgroup_len),
        offset_of!(RawRecord, image.path_len),
        offset_of!(RawRecord, image.source),
    ];
    let mut record = Vec::new();
    for round in 0..500_000_usize {
        if round % 64 == 0 {
            record = encode(&random.access());
        }
        for _ in 0..4 {
            let at = if random.chance() { delicate[random.below(delicate.len())] } else { random.below(SIZE - 4) };
            let value = match random.below(3) {
                0 => u32::MAX,
                1 => random.u32(),
                _ => u32::try_from(random.below(2048)).expect("small"),
            };
            // The header stays whole in most rounds, or nothing behind it would be tried.
            if at >= 8 || round % 16 == 0 {
                record[at..at + 4].copy_from_slice(&value.to_le_bytes());
            }
        }
        match decode(&record) {
            Ok(access) => {
                accepted += 1;
                assert!(access.process.ancestors.len() <= limits::ANCESTORS);
            }
            Err(_) => refused += 1,
        }
    }
    // Both ways were really taken.
    assert!(accepted > 50_000, "{accepted} accepted");
    assert!(refused > 400_000, "{refused} refused");
}

#[test]
fn each_refusal_names_what_is_wrong() {
    let mut random = Random(3);
    let mut access = random.access();
    access.kind = Kind::Open;
    let good = encode(&access);
    let with = |at: usize, value: u16| {
        let mut bytes = good.clone();
        bytes[at..at + 2].copy_from_slice(&value.to_le_bytes());
        decode(&bytes)
    };
    assert_eq!(decode(&[]), Err(DecodeError::Size { got: 0 }));
    assert_eq!(decode(&good[..SIZE - 1]), Err(DecodeError::Size { got: SIZE - 1 }));
    assert_eq!(with(offset_of!(RawRecord, header.version), 1), Err(DecodeError::Version { got: 1 }));
    assert_eq!(with(offset_of!(RawRecord, header.kind), 0), Err(DecodeError::Kind { got: 0 }));
    assert_eq!(with(offset_of!(RawRecord, via), 4), Err(DecodeError::Via { got: 4 }));
    assert_eq!(with(offset_of!(RawRecord, hook), 99), Err(DecodeError::Hook { got: 99 }));
    assert_eq!(with(offset_of!(RawRecord, deed), 99), Err(DecodeError::Deed { got: 99 }));
    let length = with(offset_of!(RawRecord, header.len), 7);
    assert!(matches!(length, Err(DecodeError::Length { got: SIZE, .. })), "{length:?}");
}

#[test]
fn a_damaged_fact_costs_that_fact_only() {
    let mut random = Random(4);
    let mut access = random.access();
    access.process.args = Fact::Known(Args { list: vec![b"cat".to_vec()], cut: false });
    let mut bytes = encode(&access);
    let beyond = u32::try_from(limits::ARGS + 1).expect("small");
    bytes[offset_of!(RawRecord, args_len)..][..4].copy_from_slice(&beyond.to_le_bytes());
    access.process.args = Fact::Unreadable;
    assert_eq!(decode(&bytes), Ok(access));
}

#[test]
fn too_many_ancestors_are_cut_and_said_so() {
    let mut random = Random(5);
    let mut bytes = encode(&random.access());
    bytes[offset_of!(RawRecord, ancestor_count)..][..4].copy_from_slice(&9_u32.to_le_bytes());
    let access = decode(&bytes).expect("decodes");
    assert_eq!(access.process.ancestors.len(), limits::ANCESTORS);
    assert!(access.process.ancestors_cut);
}

#[test]
fn a_fact_both_known_and_unreadable_is_not_trusted() {
    let mut random = Random(6);
    let mut bytes = encode(&random.access());
    for at in [offset_of!(RawRecord, known), offset_of!(RawRecord, unreadable)] {
        bytes[at..at + 4].copy_from_slice(&fact::CREDS.to_le_bytes());
    }
    assert_eq!(decode(&bytes).expect("decodes").process.creds, Fact::Unreadable);
}

#[test]
fn what_does_not_fit_is_refused_by_the_builder() {
    let mut access = Random(7).access();
    access.process.comm = vec![b'a'; limits::COMM + 1];
    assert!(matches!(RecordBuilder::new(&access), Err(EncodeError::TooLong { field: "comm", .. })));
}
