//! Data that a process reaches without an open of its own: the reader is told, and who had opened the file.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Events};

use crate::{
    Sentence,
    loot::{Loot, blamed, shown, stolen, thief},
    scene::{Scene, alarms, counts, is, is_open, resolved, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("who_opens_and_reads_in_any_way_is_told_once", |scene| own(scene, "who_opens_and_reads_in_any_way_is_told_once")),
    ("a_read_by_an_inherited_descriptor_is_its_readers", |s| {
        inherited(s, "a_read_by_an_inherited_descriptor_is_its_readers", "read")
    }),
    ("a_read_of_what_is_in_memory_only_is_its_readers", |s| {
        inherited(s, "a_read_of_what_is_in_memory_only_is_its_readers", "preadv2")
    }),
    ("a_direct_read_is_its_readers", |s| inherited(s, "a_direct_read_is_its_readers", "direct")),
    ("an_asynchronous_read_is_its_readers", |s| inherited(s, "an_asynchronous_read_is_its_readers", "aio")),
    ("a_mapping_of_an_inherited_descriptor_is_its_makers", |s| {
        inherited(s, "a_mapping_of_an_inherited_descriptor_is_its_makers", "map")
    }),
    ("pages_that_are_brought_in_ahead_are_an_access", |s| {
        inherited(s, "pages_that_are_brought_in_ahead_are_an_access", "populate")
    }),
    ("vmsplice_of_a_mapping_is_an_access", |s| inherited(s, "vmsplice_of_a_mapping_is_an_access", "vmsplice")),
    ("sendfile_is_an_access", |s| inherited(s, "sendfile_is_an_access", "sendfile")),
    ("splice_is_an_access", |s| inherited(s, "splice_is_an_access", "splice")),
    ("tee_is_an_access_once", |s| inherited(s, "tee_is_an_access_once", "tee")),
    ("copy_file_range_is_an_access", |s| inherited(s, "copy_file_range_is_an_access", "copy-file-range")),
    ("a_ring_reads_for_its_process", |s| inherited(s, "a_ring_reads_for_its_process", "ring")),
    ("a_rings_worker_reads_for_its_process", |s| inherited(s, "a_rings_worker_reads_for_its_process", "ring-worker")),
    ("a_rings_registered_file_is_read_by_its_process", |s| {
        inherited(s, "a_rings_registered_file_is_read_by_its_process", "ring-slot")
    }),
    ("a_ring_splices_for_its_process", |s| inherited(s, "a_ring_splices_for_its_process", "ring-splice")),
    ("a_reflink_is_an_access", |s| on_ground(s, "a_reflink_is_an_access", "xfs", "reflink")),
    ("a_comparison_with_a_guess_is_an_access", |s| {
        on_ground(s, "a_comparison_with_a_guess_is_an_access", "xfs", "comparison")
    }),
    ("a_read_from_memory_alone_is_its_readers", |s| {
        on_ground(s, "a_read_from_memory_alone_is_its_readers", "tmpfs", "pread")
    }),
    ("sendfile_from_memory_alone_is_an_access", |s| {
        on_ground(s, "sendfile_from_memory_alone_is_an_access", "tmpfs", "sendfile")
    }),
    ("an_asynchronous_read_from_memory_alone_is_its_readers", |s| {
        on_ground(s, "an_asynchronous_read_from_memory_alone_is_its_readers", "tmpfs", "aio")
    }),
    ("a_ring_reads_from_memory_alone_for_its_process", |s| {
        on_ground(s, "a_ring_reads_from_memory_alone_for_its_process", "tmpfs", "ring")
    }),
    (WRITTEN_BEHIND, written_behind),
    ("a_descriptor_kept_over_an_exec_is_read_by_another", executed),
    ("a_shell_opens_and_cat_reads", redirected),
    ("a_descriptor_passed_over_a_socket_is_read_by_another", |s| {
        handed(s, "a_descriptor_passed_over_a_socket_is_read_by_another", "passed", &[])
    }),
    ("a_descriptor_taken_out_of_a_process_is_read_by_the_taker", |s| {
        handed(s, "a_descriptor_taken_out_of_a_process_is_read_by_the_taker", "taken", &[])
    }),
    ("a_mapping_made_by_the_parent_is_read_by_the_child", |s| {
        handed(s, "a_mapping_made_by_the_parent_is_read_by_the_child", "mapped-before", &[])
    }),
    ("a_mapping_that_may_be_read_later_is_an_access_then", |s| {
        handed(s, "a_mapping_that_may_be_read_later_is_an_access_then", "uncovered", &[])
    }),
    ("a_ring_with_the_key_is_read_by_whoever_got_it", |s| {
        handed(s, "a_ring_with_the_key_is_read_by_whoever_got_it", "ring-inherited", &[])
    }),
    ("a_polled_rings_owner_is_blamed_and_not_the_kernel", |s| {
        handed(s, "a_polled_rings_owner_is_blamed_and_not_the_kernel", "ring-polled", &[])
    }),
    ("two_hundred_threads_of_one_process_read_once", |s| {
        handed(s, "two_hundred_threads_of_one_process_read_once", "storm", &["200"])
    }),
    ("a_descriptor_that_is_opened_anew_is_an_open", reopened),
    ("a_write_by_a_passed_descriptor_is_its_writers", written),
    ("an_open_by_a_ring_is_an_open", |s| by_ring(s, "an_open_by_a_ring_is_an_open", &["0"])),
    ("an_open_by_a_rings_worker_is_an_open", |s| by_ring(s, "an_open_by_a_rings_worker_is_an_open", &["1"])),
    ("an_open_into_a_rings_slot_is_an_open", into_slot),
];

/// What is no access.
pub(crate) const SILENT: &[Sentence] = &[("who_only_asks_about_a_descriptor_got_nothing", asked)];

/// Every way to read that any file system knows.
const WAYS: &[&str] = &[
    "read",
    "pread",
    "preadv2",
    "direct",
    "aio",
    "map",
    "vmsplice",
    "sendfile",
    "splice",
    "tee",
    "copy-file-range",
    "ring",
    "ring-worker",
    "ring-slot",
    "ring-splice",
];

fn own(scene: &Scene, name: &'static str) -> Result<()> {
    for (told, way) in WAYS.iter().enumerate() {
        let loot = stolen(thief(scene).args(["own", way]).arg(scene.key(name)))?;
        let events = scene.settled(&scene.key(name))?;
        let event = events.by(loot.pid).one(way)?.clone();
        is_open(&event)?;
        alarms(&event)?;
        ensure!(events.len() == told + 1, "{way}: one more:\n{events}");
    }
    Ok(())
}

fn inherited(scene: &Scene, name: &'static str, way: &str) -> Result<()> {
    let key = scene.key(name);
    let output = shown(thief(scene).args(["inherited", way]).arg(&key));
    match output {
        // Of 5.14.
        Err(error) if way == "populate" && format!("{error:#}").contains("MADV_POPULATE_READ: Invalid argument") => {
            scene.absent(name, "the kernel has no MADV_POPULATE_READ (5.14)");
            Ok(())
        }
        loot => told(scene, name, &key, &loot?),
    }
}

/// On a file system whose files can share their extents, or are nowhere but in memory.
fn on_ground(scene: &Scene, name: &'static str, ground: &str, way: &str) -> Result<()> {
    let key = scene.grounds.at(ground).join("keys/key.private");
    let mut guess = key.clone().into_os_string();
    guess.push(".guess");
    std::fs::write(&guess, crate::scene::BYTES)?;
    let loot = shown(thief(scene).args(["inherited", way]).arg(&key))?;
    // Other sentences have to do with that key, too.
    let ours = |event: &Event| loot.iter().any(|one| event.pid() == Some(one.pid));
    let events = scene.settled(&key)?.only(ours);
    judged(scene, name, &events, &loot)
}

const WRITTEN_BEHIND: &str = "a_page_of_memory_alone_that_is_written_before_it_is_read_is_its_readers";

fn written_behind(scene: &Scene) -> Result<()> {
    match on_ground(scene, WRITTEN_BEHIND, "tmpfs", "write-fault") {
        // No tracepoint tells of a fault on tmpfs.
        Err(error) if scene.backend() == "tracepoint" && format!("{error:#}").contains("the reader") => {
            ensure!(scene.unseen("data-around-cache"), "{error:#}");
            scene.limited(WRITTEN_BEHIND, "data-around-cache");
            Ok(())
        }
        told => told,
    }
}

/// An opener, and a reader that has its descriptor, its mapping or its ring.
fn handed(scene: &Scene, name: &'static str, road: &str, more: &[&str]) -> Result<()> {
    let key = scene.key(name);
    let loot = shown(thief(scene).arg(road).arg(&key).args(more))?;
    told(scene, name, &key, &loot)
}

fn told(scene: &Scene, name: &'static str, key: &std::path::Path, loot: &[Loot]) -> Result<()> {
    judged(scene, name, &scene.settled(key)?, loot)
}

/// Two facts, and no third: the opener's open, and the reader's read with the opener beside it.
fn judged(scene: &Scene, name: &'static str, events: &Events, loot: &[Loot]) -> Result<()> {
    let [opener, reader] = loot else { anyhow::bail!("an opener and a reader: {loot:?}") };
    ensure!(opener.pid != reader.pid && reader.has_key(), "{loot:?}");
    let opened = events.by(opener.pid).one("the opener")?.clone();
    is_open(&opened)?;
    counts(&opened, "process.parent.pid", opener.parent)?;
    // To take a descriptor out of a process is a deed of its own, where that process holds the key.
    let events = events.only(|event| event.action() != "signer-memory-accessed");
    let reads = events.by(reader.pid);
    events.exactly(1 + reads.len(), "the opener, the reader, and nobody else")?;
    if reads.is_empty() && scene.unseen("data-without-open") {
        scene.limited(name, "data-without-open");
        return Ok(());
    }
    let read = reads.one("the reader")?;
    is(read, "event.action", "key-read")?;
    alarms(read)?;
    counts(read, "process.parent.pid", reader.parent)?;
    is(read, "process.executable", &scene.thief().display().to_string())?;
    // The page cache knows of no descriptor; where the reader has one, its opener is known all the same.
    if scene.backend() != "tracepoint" || read.field("dkimwatch.other").is_some() {
        counts(read, "dkimwatch.other.pid", opener.pid)?;
        is(read, "dkimwatch.other.comm", "thief")?;
    }
    Ok(())
}

/// Two programs in one process, one after the other.
fn successive(scene: &Scene, name: &'static str, pid: u32, opener: &str, reader: &str) -> Result<()> {
    let events = scene.settled(&scene.key(name))?.by(pid);
    let mut told = events.iter();
    let opened = told.next().context("the open")?;
    is_open(opened)?;
    is(opened, "process.executable", opener)?;
    let Some(read) = told.next() else {
        ensure!(scene.unseen("data-without-open"), "nobody read:\n{events}");
        scene.limited(name, "data-without-open");
        return Ok(());
    };
    is(read, "event.action", "key-read")?;
    is(read, "process.executable", reader)?;
    counts(read, "dkimwatch.other.pid", pid)?;
    events.exactly(2, "two facts")?;
    Ok(())
}

fn executed(scene: &Scene) -> Result<()> {
    let name = "a_descriptor_kept_over_an_exec_is_read_by_another";
    let loot = shown(thief(scene).arg("executed").arg(scene.key(name)))?;
    let [opener, reader] = loot.as_slice() else { anyhow::bail!("an opener and a reader: {loot:?}") };
    ensure!(opener.pid == reader.pid && reader.has_key(), "{loot:?}");
    let program = scene.thief().display().to_string();
    successive(scene, name, reader.pid, &program, &program)
}

fn redirected(scene: &Scene) -> Result<()> {
    let name = "a_shell_opens_and_cat_reads";
    let pid = run(Command::new("sh").args(["-c", "exec cat < \"$0\""]).arg(scene.key(name)))?;
    successive(scene, name, pid, &resolved("sh")?, &resolved("cat")?)
}

fn reopened(scene: &Scene) -> Result<()> {
    let name = "a_descriptor_that_is_opened_anew_is_an_open";
    let loot = shown(thief(scene).arg("reopened").arg(scene.key(name)))?;
    let events = scene.settled(&scene.key(name))?;
    for one in &loot {
        is_open(events.by(one.pid).one("each one's open")?)?;
    }
    ensure!(loot.len() == 2 && events.len() == 2, "two opens:\n{events}");
    Ok(())
}

fn written(scene: &Scene) -> Result<()> {
    let name = "a_write_by_a_passed_descriptor_is_its_writers";
    let loot = shown(thief(scene).arg("written").arg(scene.key(name)))?;
    let [opener, writer, _] = loot.as_slice() else { anyhow::bail!("an opener and a writer: {loot:?}") };
    let events = scene.settled(&scene.key(name))?;
    is(events.by(opener.pid).one("the opener")?, "event.action", "key-modified")?;
    let writes = events.by(writer.pid);
    events.exactly(1 + writes.len(), "the opener, the writer, and nobody else")?;
    if writes.is_empty() && scene.unseen("written-without-open") {
        scene.limited(name, "written-without-open");
        return Ok(());
    }
    let write = writes.one("the writer")?;
    is(write, "event.action", "key-modified")?;
    counts(write, "dkimwatch.other.pid", opener.pid)
}

fn by_ring(scene: &Scene, name: &'static str, more: &[&str]) -> Result<()> {
    ring(scene, name, stolen(thief(scene).arg("ring-opens").arg(scene.key(name)).args(more))?)
}

fn into_slot(scene: &Scene) -> Result<()> {
    let name = "an_open_into_a_rings_slot_is_an_open";
    match stolen(thief(scene).arg("ring-opens-into-slot").arg(scene.key(name))) {
        Err(error) if format!("{error:#}").contains("io_uring open: Invalid argument") => {
            scene.absent(name, "the kernel opens into no slots (5.15)");
            Ok(())
        }
        loot => ring(scene, name, loot?),
    }
}

/// One event; where the open itself cannot be seen, the data may be.
fn ring(scene: &Scene, name: &'static str, loot: Loot) -> Result<()> {
    let events = scene.settled(&scene.key(name))?;
    if events.is_empty() && scene.unseen("io-uring-open") {
        scene.limited(name, "io-uring-open");
        return Ok(());
    }
    let event = events.one("the ring's owner")?;
    counts(event, "process.pid", loot.pid)?;
    counts(event, "process.parent.pid", loot.parent)?;
    alarms(event)?;
    is_open(event)
}

fn asked(scene: &Scene) -> Result<()> {
    let name = "who_only_asks_about_a_descriptor_got_nothing";
    let loot = shown(thief(scene).arg("asked").arg(scene.key(name)))?;
    let [child, parent] = loot.as_slice() else { anyhow::bail!("two processes: {loot:?}") };
    let event = blamed(scene, name, parent)?;
    is_open(&event)?;
    ensure!(child.pid != parent.pid, "{loot:?}");
    Ok(())
}
