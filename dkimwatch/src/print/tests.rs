//! The schema, and the watch's own lines. Lines of accesses are tested as golden stories.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use dkimwatch_common::{
    record::{Kind, Via},
    tally::Hook,
    watch::{is_own, own_tag},
};
use serde_json::Value;
use uuid::Uuid;

use super::*;
use crate::{
    attribute::{Attributor, Mapped, Surroundings},
    decode::tests::Random,
    judge::{Guarded, JudgedKey, Part, Policy, Verdict, judge},
    record::Notice,
    summary::{Group, Place, Summed},
};

fn host() -> HostFacts {
    HostFacts {
        boot_id: Uuid::from_u128(7),
        machine_id: None,
        hostname: "mx1".to_owned(),
        architecture: "x86_64".to_owned(),
        kernel: "6.1.0".to_owned(),
        os_name: None,
        os_version: None,
        pid_ns: None,
    }
}

/// Of a watch that keeps a journal.
fn journal_states() -> Vec<State> {
    let unix_ns = 1_000_000_000;
    let notices = [
        Notice::Cut { segment: 3, bytes: 17 },
        Notice::Damaged { segment: 3, bytes: 17 },
        Notice::Missing { first: 5, last: 9 },
        Notice::Unproven { first: 5 },
        Notice::SealGone { segment: 3 },
        Notice::Gap { count: 12, alerts: 1, since_unix_ns: 1, until_unix_ns: 2, why: "the disk is full".to_owned() },
        Notice::Trimmed { first: 1, last: 2 },
    ];
    let counts = Counts { expected: 1_000, ..Counts::default() };
    let heartbeat = State::Heartbeat(Heartbeat { unix_ns, ran: Duration::from_secs(60), counts });
    let noted = notices.into_iter().map(|notice| State::Journal(JournalNoted { unix_ns, notice }));
    let resumed = WatchResumed { unix_ns, since_unix_ns: 5, count: 14, known: 1, whole: true };
    let stopped = WatchStopped { unix_ns, ran: Duration::from_secs(9), counts, goes_on: true };
    let rest = [State::Resumed(resumed), State::Stopped(stopped)];
    [heartbeat, State::Summarised(Box::new(summed()))].into_iter().chain(noted).chain(rest).collect()
}

fn summed() -> Summed {
    let group = Group {
        path: "/etc/dkimkeys/a.private".to_owned(),
        domain: Some("example.org".to_owned()),
        selector: Some("sel1".to_owned()),
        signer: Some("opendkim".to_owned()),
        rule: "signer/opendkim".to_owned(),
        executable: Some("/usr/sbin/opendkim".to_owned()),
        uid: Some(105),
        user: Some("opendkim".to_owned()),
        place: Place {
            cgroup: Some("/system.slice/opendkim.service".to_owned()),
            unit: Some("opendkim.service".to_owned()),
            ..Place::default()
        },
    };
    let second = 1_000_000_000;
    let (first_unix_ns, last_unix_ns) = (10 * second, 69 * second);
    Summed { unix_ns: second, group, count: 600_000, first_unix_ns, last_unix_ns, processes: 3 }
}

fn states() -> [State; 3] {
    let second = 1_000_000_000;
    [
        State::Started(WatchStarted {
            unix_ns: second,
            backend: Via::Lsm,
            hooks: vec![Hook::LsmFileOpen],
            keys: vec![JudgedKey {
                path: PathBuf::from("/etc/dkimkeys/a\nb"),
                domain: Some("example.org".to_owned()),
                selector: Some("sel1".to_owned()),
                signer: None,
            }],
            folders: vec![PathBuf::from("/srv/keys")],
            signers: vec!["opendkim".to_owned()],
            blind_spots: vec!["data read through a raw device".to_owned()],
        }),
        State::Lost(EventsLost {
            unix_ns: 9 * second,
            why: Loss::RingFull,
            hook: Some(Hook::LsmFileOpen),
            cpu: Some(1),
            count: 12,
            since_unix_ns: 3 * second,
            until_unix_ns: 5 * second,
        }),
        State::Stopped(WatchStopped {
            unix_ns: 20 * second,
            ran: Duration::from_secs(19),
            counts: Counts { expected: 1_000, maintenance: 0, unexpected: 1, lost: 12, passed_by: 3 },
            goes_on: false,
        }),
    ]
}

#[test]
fn the_field_list_is_sorted_and_each_field_stands_once() {
    let names: Vec<&str> = FIELDS.iter().map(|(name, _)| *name).collect();
    let sorted: BTreeSet<&str> = names.iter().copied().collect();
    assert_eq!(names, sorted.into_iter().collect::<Vec<_>>());
}

#[test]
fn the_watchs_own_events_are_one_json_object_a_line() {
    let mut printer = Ecs::new(Vec::new(), host());
    for state in states().into_iter().chain(journal_states()) {
        printer.state(&state).expect("written");
    }
    let text = String::from_utf8(printer.into_inner()).expect("UTF-8");
    let documents: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(documents.len(), 14);
    let ids: BTreeSet<String> = documents.iter().map(|one| one["event"]["id"].to_string()).collect();
    assert_eq!(ids.len(), 14, "ids are unique");
    assert_eq!(documents[0]["event"]["action"], "watch-started");
    assert_eq!(documents[0]["dkimwatch"]["keys"][0]["path"], r"/etc/dkimkeys/a\x0ab");
    assert_eq!(documents[1]["event"]["kind"], "alert");
    assert_eq!(documents[1]["dkimwatch"]["lost"]["count"], 12);
    assert_eq!(documents[1]["event"]["start"], "1970-01-01T00:00:03.000000000Z");
    assert_eq!(documents[2]["dkimwatch"]["summary"]["expected"], 1_000);
    assert_eq!(documents[4]["dkimwatch"]["summarised"]["count"], 600_000);
    assert_eq!(documents[4]["event"]["start"], "1970-01-01T00:00:10.000000000Z");
    assert_eq!(documents[4]["event"]["kind"], "event");
    for document in &documents {
        check_schema(document).expect("known fields only");
    }
}

#[test]
fn the_watchs_own_lines_for_people() {
    let mut printer = Pretty::new(Vec::new(), Colour::Never);
    for state in states() {
        printer.state(&state).expect("written");
    }
    let text = String::from_utf8(printer.into_inner()).expect("UTF-8");
    let expected = concat!(
        "1970-01-01 00:00:01.000Z    watch-started  The lsm backend is live: it saw the canary. Watching 1 key and 1 folder for readers other than opendkim.\n",
        "                          key     example.org/sel1         /etc/dkimkeys/a\\x0ab\n",
        "                          folder  /srv/keys\n",
        "                          unseen  data read through a raw device\n",
        "1970-01-01 00:00:09.000Z !! events-lost  12 accesses could not be handed over by lsm/file_open, as the ring was full, between 1970-01-01T00:00:03.000000000Z and 1970-01-01T00:00:05.000000000Z: a reader in that time may be unknown. Look for what opened keys so often.\n",
        "1970-01-01 00:00:20.000Z    watch-stopped  The watch has ended after 19 s; nobody sees the keys now. It saw 1000 accesses by expected signers, 0 by maintenance, 1 by others, and lost 12. 3 calls passed a hook by.\n",
    );
    assert_eq!(text, expected);
}

#[test]
fn the_journals_lines_are_golden() {
    let mut printer = Pretty::new(Vec::new(), Colour::Never);
    for state in journal_states() {
        printer.state(&state).expect("written");
    }
    let text = String::from_utf8(printer.into_inner()).expect("UTF-8");
    let expected = concat!(
        "1970-01-01 00:00:01.000Z    watch-heartbeat  The watch goes on after 60 s. It saw 1000 accesses by expected signers, 0 by maintenance, 0 by others, and lost 0.\n",
        "1970-01-01 00:00:01.000Z    key-opens-summarised  example.org/sel1 was opened 600000 times by 3 processes of /usr/sbin/opendkim, as is expected, between 1970-01-01T00:00:10.000000000Z and 1970-01-01T00:01:09.000000000Z. The first open of each process is an event of its own.\n",
        "1970-01-01 00:00:01.000Z    journal-cut  The last 17 bytes of segment 3 were no whole entry and were cut off: the power went, or dkimwatch was killed, as it was written. What was confirmed before it is there.\n",
        "1970-01-01 00:00:01.000Z !! journal-damaged  17 bytes of segment 3 are no entry of this journal: a disk that forgets, or somebody altered it. They stay as they are, and a new segment is begun. See dkimwatch journal verify.\n",
        "1970-01-01 00:00:01.000Z !! journal-missing  Entries 5 to 9 were on the disk, by the seal's state, and are gone: somebody cut the journal, or the disk lost them. See dkimwatch journal verify.\n",
        "1970-01-01 00:00:01.000Z !! journal-unproven  Entry 5 and what follows it does not carry the seal: it was written by somebody who had not its key. See dkimwatch journal verify.\n",
        "1970-01-01 00:00:01.000Z !! journal-seal-gone  The journal was sealed up to segment 3, and the seal's state is gone: somebody removed it. It goes on unsealed until `dkimwatch journal setup-sealing --renew`. See dkimwatch journal verify.\n",
        "1970-01-01 00:00:01.000Z !! journal-gap  12 events, 1 of them alerts, are not in the journal, as it could not be written: the disk is full. They were told all the same.\n",
        "1970-01-01 00:00:01.000Z    journal-trimmed  Segments 1 to 2 were removed, as journal.keep_size and journal.keep_age want it.\n",
        "1970-01-01 00:00:01.000Z    watch-resumed  The kernel went on watching since 1970-01-01T00:00:00.000000005Z: 14 records that it held were read, and what came of them stands before this. 1 record was in the journal already.\n",
        "1970-01-01 00:00:01.000Z    watch-stopped  The watch has ended after 9 s; the kernel goes on watching, and holds what it sees until dkimwatch run is started again. It saw 1000 accesses by expected signers, 0 by maintenance, 0 by others, and lost 0.\n",
    );
    assert_eq!(text, expected);
}

#[test]
fn colours_come_only_when_told() {
    let lines = |colour| {
        let mut printer = Pretty::new(Vec::new(), colour);
        printer.state(&states()[1]).expect("written");
        printer.into_inner()
    };
    assert!(!lines(Colour::Never).contains(&0x1b));
    assert!(lines(Colour::Always).contains(&0x1b));
}

/// Surroundings that know nobody.
struct Nowhere;

impl Surroundings for Nowhere {
    fn unowned(&mut self, _path: &[u8]) -> Option<bool> {
        None
    }
    fn code(&mut self, _pid: u32, _start_ns: u64) -> Option<(Vec<Mapped>, u32)> {
        None
    }
    fn command_line(&mut self, _pid: u32, _start_ns: u64) -> Option<Vec<Vec<u8>>> {
        None
    }
    fn user(&mut self, _uid: u32) -> Option<String> {
        None
    }

    fn group(&mut self, _gid: u32) -> Option<String> {
        None
    }

    fn package(&mut self, _path: &[u8]) -> Option<String> {
        None
    }

    fn executable(
        &mut self,
        _pid: u32,
        _start_ns: u64,
        _exe: Option<dkimwatch_common::identity::FileId>,
    ) -> Option<PathBuf> {
        None
    }

    fn mnt_ns(&self) -> Option<u32> {
        None
    }

    fn pid_ns(&self) -> Option<u32> {
        None
    }

    fn boot_unix_ns(&self) -> i128 {
        0
    }
}

#[test]
fn any_access_is_one_line_that_keeps_the_schema() {
    let mut random = Random(8);
    let mut attributor = Attributor::new(Nowhere);
    let guarded = [Part::Configuration, Part::Journal, Part::Pins].map(|part| Guarded { part, path: "/own".into() });
    let policy = Policy { guarded: guarded.into(), ..Policy::default() };
    let mut own = 0;
    for round in 0..3_000 {
        let mut access = random.access();
        let is_fact = access.kind == Kind::Library;
        // A quarter of all numbers.
        let is_own = is_own(access.file.tag);
        if is_own {
            access.file.tag = own_tag(round % 3);
        }
        let Some(judged) = judge(attributor.attribute(access), &policy) else {
            assert!(is_fact || is_own, "nothing is public");
            continue;
        };
        own += u32::from(judged.part.is_some());
        let mut ecs = Ecs::new(Vec::new(), host());
        ecs.access(&judged).expect("written");
        let line = String::from_utf8(ecs.into_inner()).expect("UTF-8");
        assert_eq!(line.find('\n'), Some(line.len() - 1));
        let document: Value = serde_json::from_str(&line).expect("JSON");
        check_schema(&document).expect("known fields only");
        // What was escaped comes back.
        if let Some(path) = judged.attributed.access.file.path.known() {
            let shown = document["file"]["path"].as_str().expect("a path");
            assert_eq!(crate::escape::bytes(shown).as_ref(), Some(&path.bytes));
        }
        let mut pretty = Pretty::new(Vec::new(), Colour::Never);
        pretty.access(&judged).expect("written");
        let text = String::from_utf8(pretty.into_inner()).expect("UTF-8");
        let has_args = judged.attributed.access.process.args.known().is_some();
        let lines = if has_args && judged.verdict == Verdict::Unexpected { 3 } else { 2 };
        assert_eq!(text.matches('\n').count(), lines, "the line, its reason, its command line: {text}");
        assert!(!text.chars().any(|c| c.is_control() && c != '\n'));
    }
    assert!(own > 100, "{own} deeds to the watch itself");
}
