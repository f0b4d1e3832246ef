//! A key by the device that it lies on.

use std::{
    fs::{self, File},
    os::{fd::AsRawFd as _, unix::fs::MetadataExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Event, Events};

use crate::{
    Sentence,
    grounds::{self, Stack},
    loot::{Loot, names, stolen, thief},
    scene::{BYTES, Scene, alarms, is, resolved, run},
};

pub(crate) const SENTENCES: &[Sentence] = &[
    ("the_disk_that_holds_the_key_is_read_by_a_node_of_ones_own", disk),
    ("a_loop_device_that_holds_a_key_is_read", loop_device),
    ("the_image_behind_a_loop_device_is_read", image),
    ("the_mapping_that_holds_a_key_is_read", mapping),
    ("the_partition_that_holds_a_key_is_read", partition),
    ("the_whole_disk_of_a_partition_that_holds_a_key_is_read", whole_disk),
    ("the_physical_memory_is_read_by_a_node_of_ones_own", physical_memory),
    ("the_kernels_memory_is_read", kernel_memory),
    ("a_device_that_holds_a_key_is_opened_by_a_tool_for_devices", tool),
];

/// What was said of devices, by this process.
fn opened(scene: &Scene, name: &str, pid: u32) -> Result<Events> {
    scene.settled(&scene.key(name))?;
    Ok(scene.watch.events_where(|event| event.pid() == Some(pid) && event.is_access()))
}

fn blamed(scene: &Scene, name: &str, loot: &Loot) -> Result<Event> {
    let event = opened(scene, name, loot.pid)?.one("by the thief")?.clone();
    is(&event, "event.action", "device-opened")?;
    is(&event, "dkimwatch.deed", "block-device")?;
    names(&event, loot)?;
    alarms(&event)?;
    is(&event, "process.executable", &scene.thief().display().to_string())?;
    Ok(event)
}

/// A node of a device in the sentence's folder.
fn node(scene: &Scene, name: &str, device: u64) -> Result<PathBuf> {
    let node = scene.folder(name).join("innocent");
    grounds::node(&node, device)?;
    Ok(node)
}

/// Where a file's first byte lies on its device (`FS_IOC_FIEMAP`), once it lies there.
fn place(path: &Path) -> Result<u64> {
    /// `struct fiemap` with one `struct fiemap_extent` (`include/uapi/linux/fiemap.h`).
    #[repr(C)]
    #[derive(Default)]
    struct Map {
        start: u64,
        length: u64,
        flags: u32,
        mapped: u32,
        count: u32,
        reserved: u32,
        logical: u64,
        physical: u64,
        extent_length: u64,
        reserved_64: [u64; 2],
        extent_flags: u32,
        reserved_32: [u32; 3],
    }
    const FS_IOC_FIEMAP: libc::c_ulong = 0xc020_660b;
    let file = File::open(path)?;
    file.sync_all()?;
    let mut map = Map { length: u64::MAX, count: 1, ..Map::default() };
    // SAFETY: a struct with room for the one extent that it asks for.
    let answer = unsafe { libc::ioctl(file.as_raw_fd(), FS_IOC_FIEMAP, &raw mut map) };
    ensure!(answer == 0, "FIEMAP: {}", std::io::Error::last_os_error());
    ensure!(map.mapped == 1 && map.logical == 0 && map.physical != 0, "it lies nowhere");
    Ok(map.physical)
}

/// Reads the key's bytes from a device or an image.
fn raw(scene: &Scene, from: &Path, offset: u64) -> Result<Loot> {
    stolen(thief(scene).arg("raw").arg(from).args([offset.to_string(), BYTES.len().to_string()]))
}

fn disk(scene: &Scene) -> Result<()> {
    let name = "the_disk_that_holds_the_key_is_read_by_a_node_of_ones_own";
    let key = scene.key(name);
    let device = fs::metadata(&key)?.dev();
    if rustix::fs::major(device) == 0 {
        scene.absent(name, "the keys lie on no block device");
        return Ok(());
    }
    let node = node(scene, name, device)?;
    let loot = match raw(scene, &node, place(&key)?) {
        // By the cgroup that this machine is kept in.
        Err(error) if format!("{error:#}").contains("Operation not permitted") => {
            scene.absent(name, "not even root may open the disk of this machine");
            return Ok(());
        }
        other => other?,
    };
    is(&blamed(scene, name, &loot)?, "file.path", &node.display().to_string())
}

/// A key on an ext4 in a file, and where it lies there.
fn on_loop(scene: &Scene) -> Result<(u64, u64)> {
    let key = scene.grounds.at("ext4").join("keys/key.private");
    Ok((fs::metadata(&key)?.dev(), place(&key)?))
}

fn loop_device(scene: &Scene) -> Result<()> {
    let name = "a_loop_device_that_holds_a_key_is_read";
    let (device, offset) = on_loop(scene)?;
    let loot = raw(scene, &node(scene, name, device)?, offset)?;
    let event = blamed(scene, name, &loot)?;
    let key = event.text("dkimwatch.key.path").map(PathBuf::from).context("a key")?;
    ensure!(key.starts_with(scene.grounds.at("ext4")), "the key is {}\n{event}", key.display());
    Ok(())
}

fn image(scene: &Scene) -> Result<()> {
    let name = "the_image_behind_a_loop_device_is_read";
    let (_, offset) = on_loop(scene)?;
    let image = scene.grounds.at("ext4").with_extension("image");
    let loot = raw(scene, &image, offset)?;
    is(&blamed(scene, name, &loot)?, "file.path", &image.display().to_string())
}

/// Reads a key on the uppermost of several devices from one of them.
fn of_stack(scene: &Scene, name: &'static str, which: impl Fn(&Stack) -> Option<(u64, u64)>) -> Result<()> {
    let stack = match &scene.grounds.stack {
        Ok(stack) => stack,
        Err(why) => {
            scene.absent(name, why.clone());
            return Ok(());
        }
    };
    let Some((device, begins)) = which(stack) else {
        scene.absent(name, "this kernel has no device mapper");
        return Ok(());
    };
    let key = scene.grounds.at("stack").join("keys/key.private");
    let loot = raw(scene, &node(scene, name, device)?, begins + place(&key)?)?;
    is(&blamed(scene, name, &loot)?, "dkimwatch.key.path", &key.display().to_string())
}

fn whole_disk(scene: &Scene) -> Result<()> {
    of_stack(scene, "the_whole_disk_of_a_partition_that_holds_a_key_is_read", |stack| Some((stack.disk, stack.begins)))
}

fn partition(scene: &Scene) -> Result<()> {
    of_stack(scene, "the_partition_that_holds_a_key_is_read", |stack| Some((stack.partition, 0)))
}

fn mapping(scene: &Scene) -> Result<()> {
    of_stack(scene, "the_mapping_that_holds_a_key_is_read", |stack| Some((stack.mapping?, 0)))
}

/// The first bytes of a file that shows the memory of the machine. What lies where in it is the kernel's business; a key's
/// bytes are there.
fn of_machine(scene: &Scene, name: &'static str, file: &Path, begins_with: &[u8]) -> Result<()> {
    let mut command = Command::new("head");
    let child = command.args(["-c", "16"]).arg(file).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = child.id();
    let output = child.wait_with_output()?;
    if !output.status.success() {
        // `head: cannot open 'FILE' for reading: WHY`
        let said = String::from_utf8_lossy(&output.stderr);
        let why = said.trim().rsplit(": ").next().unwrap_or_default();
        scene.absent(name, format!("not to be read here: {why}"));
        return Ok(());
    }
    ensure!(output.stdout.len() == 16 && output.stdout.starts_with(begins_with), "{:?}", output.stdout);
    let event = opened(scene, name, pid)?.one("by the reader")?.clone();
    is(&event, "event.action", "device-opened")?;
    is(&event, "dkimwatch.deed", "memory-device")?;
    is(&event, "process.executable", &resolved("head")?)?;
    is(&event, "file.path", &file.display().to_string())?;
    alarms(&event)
}

fn physical_memory(scene: &Scene) -> Result<()> {
    let name = "the_physical_memory_is_read_by_a_node_of_ones_own";
    let node = scene.folder(name).join("innocent");
    // `mem(4)`.
    run(Command::new("mknod").arg(&node).args(["c", "1", "1"]))?;
    of_machine(scene, name, &node, &[])
}

fn kernel_memory(scene: &Scene) -> Result<()> {
    of_machine(scene, "the_kernels_memory_is_read", Path::new("/proc/kcore"), b"\x7fELF")
}

fn tool(scene: &Scene) -> Result<()> {
    let name = "a_device_that_holds_a_key_is_opened_by_a_tool_for_devices";
    let (device, _) = on_loop(scene)?;
    let node = node(scene, name, device)?;
    let pid = run(Command::new("blockdev").arg("--getsize64").arg(&node))?;
    let event = opened(scene, name, pid)?.one("by the tool")?.clone();
    is(&event, "event.action", "device-opened")?;
    is(&event, "rule.id", "stranger/device-tool")?;
    is(&event, "dkimwatch.severity", "notice")
}
