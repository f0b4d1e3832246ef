//! `vm`: a stock kernel under QEMU, over this machine's own root (read-only, with a memory overlay), for one command.
//!
//! Emulated throughout: a machine that is itself virtual need not be able to run another one. From start to power-off
//! takes five to ten seconds.

use std::{
    fs,
    io::{self, Write},
    os::{fd::OwnedFd, unix::net::UnixListener},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{self, Reaped, capture, is_root, quote, require},
    kernels::{self, Kernel},
    setup::{self, Need},
};

mod initramfs;

/// What `vm` is asked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// A series such as `6.1`, or `newest` (`cargo xtask kernels` lists them)
    kernel: String,
    /// Count instructions: one nanosecond of the guest's is one instruction, so that costs repeat exactly
    #[arg(long)]
    icount: bool,
    /// Words for the kernel's command line
    #[arg(long, allow_hyphen_values = true)]
    append: Vec<String>,
    /// Virtual processors
    #[arg(long, default_value_t = 1)]
    smp: u32,
    /// Memory, as QEMU writes it
    #[arg(long, default_value = "1G")]
    mem: String,
    /// A folder that the guest may write to, at the same path
    #[arg(long)]
    out: Option<PathBuf>,
    /// A fresh disk at /mnt/disk with this file system (the guest's root is an overlay)
    #[arg(long, num_args = 0..=1, default_missing_value = "ext4")]
    disk: Option<FileSystem>,
    /// Seconds that the command may take
    #[arg(long, default_value_t = 300)]
    timeout: u64,
    /// Show the guest's console as well, at the end
    #[arg(long)]
    console: bool,
    /// The command: one word is read by bash, several are its arguments
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// A file system that the guest's disk is made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FileSystem {
    /// The usual one.
    Ext4,
    /// Inode numbers beyond 32 bits.
    Xfs,
    /// Subvolumes with device numbers of their own.
    Btrfs,
}

impl FileSystem {
    fn name(self) -> &'static str {
        match self {
            Self::Ext4 => "ext4",
            Self::Xfs => "xfs",
            Self::Btrfs => "btrfs",
        }
    }

    /// A sparse file of a size that each of them accepts.
    fn make(self, image: &Path) -> Result<()> {
        let file = fs::File::create(image).with_context(|| format!("cannot create {}", image.display()))?;
        file.set_len(512 << 20).context("cannot size the guest's disk")?;
        capture(Command::new(require(&format!("mkfs.{}", self.name()))?).arg("-q").arg(image))?;
        Ok(())
    }
}

/// A guest to be, with one command.
#[derive(Clone, Debug)]
pub(crate) struct Boot {
    /// The kernel.
    pub(crate) kernel: Kernel,
    /// For bash.
    pub(crate) script: String,
    /// The folder in which it runs.
    pub(crate) folder: PathBuf,
    /// Words for the kernel's command line.
    pub(crate) append: Vec<String>,
    /// One instruction a nanosecond.
    pub(crate) icount: bool,
    /// Virtual processors; one when instructions are counted.
    pub(crate) cpus: u32,
    /// Memory, as QEMU writes it.
    pub(crate) memory: String,
    /// A folder shared for writing.
    pub(crate) out: Option<PathBuf>,
    /// A disk at /mnt/disk.
    pub(crate) disk: Option<FileSystem>,
    /// How long the command may take.
    pub(crate) timeout: Duration,
}

/// What became of a guest whose command ended.
#[derive(Debug)]
pub(crate) struct Finished {
    /// The command's exit status; [`TOO_LONG`]: it was ended at its limit.
    pub(crate) status: u8,
    /// From start to power-off.
    pub(crate) wall: Duration,
    /// The kernel's messages.
    pub(crate) console: String,
}

/// All that can be emulated, but what is slow to be: string instructions that a kernel would clear pages with a byte at a
/// time, a fifth level of page tables, vectors, and the kernel's locks on its own access to a process's memory (SMAP), which each
/// copy would open and shut, and keys of protection, which each execve(2) would set and the emulator forget all addresses for.
const CPU: &str = "max,erms=off,fsrm=off,la57=off,avx=off,avx2=off,smap=off,pku=off";

/// The status of a command that was ended by SIGTERM, which is what busybox's `timeout` leaves.
pub(crate) const TOO_LONG: u8 = 128 + 15;

/// What one attempt came to.
enum Attempt {
    Finished(Finished),
    /// The command never began; what the console shows.
    NeverBegan(String),
}

/// Boots, runs the command, answers with its status.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let kernel = kernels::obtain(&arguments.kernel)?;
    let script = match arguments.command.as_slice() {
        [one] => one.clone(),
        words => words.iter().map(|word| quote(word)).collect::<Vec<_>>().join(" "),
    };
    let boot = Boot {
        script,
        folder: std::env::current_dir().context("this folder is gone")?,
        append: arguments.append.clone(),
        icount: arguments.icount,
        cpus: arguments.smp,
        memory: arguments.mem.clone(),
        out: arguments.out.as_ref().map(std::path::absolute).transpose()?,
        disk: arguments.disk,
        timeout: Duration::from_secs(arguments.timeout),
        ..Boot::new(kernel)
    };
    let finished = boot.run(&mut io::stdout())?;
    let mut err = io::stderr();
    if arguments.console {
        err.write_all(finished.console.as_bytes())?;
    }
    writeln!(err, "vm: Linux {}, exit {}, {}", boot.kernel.release, finished.status, command::seconds(finished.wall))?;
    Ok(ExitCode::from(finished.status))
}

impl Boot {
    /// A guest with one processor and the usual memory, whose command is yet to be given.
    pub(crate) fn new(kernel: Kernel) -> Self {
        Self {
            kernel,
            script: String::new(),
            folder: PathBuf::from("/"),
            append: Vec::new(),
            icount: false,
            cpus: 1,
            memory: "1G".to_owned(),
            out: None,
            disk: None,
            timeout: Duration::from_secs(300),
        }
    }

    /// Boots and runs the command, its output (standard error among it) going to `output` as it comes.
    ///
    /// A guest that never began its command is started once more: emulated kernels have been seen to panic early, once
    /// in some hundred. A guest that dies later is an error, for the command may be what killed it.
    pub(crate) fn run(&self, output: &mut (dyn Write + Send)) -> Result<Finished> {
        setup::require(&[Need::FileSystems, Need::Guests])?;
        if !is_root() {
            bail!("a guest needs root: `virtiofsd` shares this machine's root with it");
        }
        match self.attempt(output)? {
            Attempt::Finished(finished) => return Ok(finished),
            Attempt::NeverBegan(_) => writeln!(output, "vm: the guest never began its command; once more")?,
        }
        match self.attempt(output)? {
            Attempt::Finished(finished) => Ok(finished),
            Attempt::NeverBegan(console) => {
                bail!("Linux {} never began its command, twice; its console:\n{}", self.kernel.release, tail(&console))
            }
        }
    }

    fn attempt(&self, output: &mut (dyn Write + Send)) -> Result<Attempt> {
        let start = Instant::now();
        // Not below target/: a socket's path has 108 bytes at most.
        let scratch =
            tempfile::Builder::new().prefix("dkimwatch-vm.").tempdir().context("cannot make a folder for the guest")?;
        let place = |name: &str| scratch.path().join(name);
        fs::write(place("initramfs"), initramfs::build(&self.kernel, &self.scripts())?)?;
        let mut shares = vec![Share::start("root", Path::new("/"), scratch.path(), Cache::Always)?];
        if let Some(out) = &self.out {
            command::folder(out)?;
            shares.push(Share::start("out", out, scratch.path(), Cache::Auto)?);
        }
        let mut qemu = self.machine(&place)?;
        for share in &shares {
            share.attach(&mut qemu);
        }
        let log = fs::File::create(place("qemu.log"))?;
        let mut child =
            qemu.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).spawn().context("cannot start QEMU")?;
        let mut pipe = child.stdout.take().context("QEMU has no standard output")?;
        let mut child = Reaped(child);
        // Beyond the command's own limit: booting, and switching off.
        let deadline = start + self.timeout + Duration::from_secs(90);
        let (ended, copied) = thread::scope(|scope| {
            let copy = scope.spawn(|| stream(&mut pipe, output));
            let ended = command::wait_until(&mut child.0, deadline);
            let _ = child.0.kill();
            (ended, copy.join())
        });
        copied.map_err(|_| anyhow::anyhow!("copying the guest's output failed"))??;
        let status = ended?;
        let console = read_lossy(&place("console"));
        let result = read_lossy(&place("result"));
        if let Some(status) = result.lines().find_map(|line| line.strip_prefix("exit ")?.trim().parse().ok()) {
            return Ok(Attempt::Finished(Finished { status, wall: start.elapsed(), console }));
        }
        let end = if status.is_none() { "hung" } else { "died" };
        if result.contains("begun") {
            bail!("the guest {end} while the command ran; its console:\n{}", tail(&console));
        }
        Ok(Attempt::NeverBegan(format!("{console}\n{}", read_lossy(&place("qemu.log")))))
    }

    fn machine(&self, place: &dyn Fn(&str) -> PathBuf) -> Result<Command> {
        // Behind all else that this machine does: what is tried beside it is timed by people's clocks, a guest by its own patience.
        let mut qemu = Command::new("nice");
        qemu.args(["-n", "19"]).arg(require("qemu-system-x86_64")?);
        qemu.args(["-accel", "tcg", "-cpu", CPU, "-nodefaults", "-display", "none", "-no-reboot"]);
        let cpus = if self.icount { 1 } else { self.cpus };
        qemu.args(["-m", &self.memory, "-smp", &cpus.to_string()]);
        if self.icount {
            qemu.args(["-icount", "shift=0,sleep=off"]);
        }
        // The guest's memory is shared with virtiofsd.
        qemu.arg("-object").arg(format!("memory-backend-memfd,id=memory,size={},share=on", self.memory));
        qemu.args(["-numa", "node,memdev=memory"]);
        qemu.arg("-kernel").arg(&self.kernel.image).arg("-initrd").arg(place("initramfs"));
        // Without random addresses: what the emulator has translated for one process, it can use for the next, which makes a
        // process start in a third of the time.
        let mut line = "console=ttyS0 quiet panic=-1 oops=panic rdinit=/init norandmaps".to_owned();
        for word in &self.append {
            line.push(' ');
            line.push_str(word);
        }
        qemu.args(["-append", &line]);
        if let Some(file_system) = self.disk {
            let image = place("disk");
            file_system.make(&image)?;
            qemu.arg("-drive").arg(format!("file={},if=none,id=disk,format=raw,cache=unsafe", image.display()));
            qemu.args(["-device", "virtio-blk-pci,drive=disk"]);
        }
        qemu.arg("-serial").arg(format!("file:{}", place("console").display()));
        qemu.args(["-serial", "stdio", "-serial"]).arg(format!("file:{}", place("result").display()));
        Ok(qemu)
    }

    fn scripts(&self) -> [(&'static str, String); 3] {
        // While instructions are counted, an idle guest's clock leaps to its next timer: a limit would be reached at
        // the first wait for the host. The host's own clock limits such a guest.
        let limit = if self.icount { String::new() } else { self.timeout.as_secs().to_string() };
        let path = |path: &Path| quote(&path.to_string_lossy());
        let variables = [
            ("GUEST_MODULES", path(&self.kernel.modules)),
            ("GUEST_OUT", self.out.as_deref().map(path).unwrap_or_default()),
            ("GUEST_DISK", self.disk.map(FileSystem::name).unwrap_or_default().to_owned()),
            ("GUEST_FOLDER", path(&self.folder)),
            ("GUEST_LIMIT", limit),
        ];
        let head: String = variables.iter().map(|(name, value)| format!("{name}={value}\n")).collect();
        [
            ("init", include_str!("first.sh").to_owned()),
            ("second.sh", head + include_str!("second.sh")),
            ("command.sh", self.script.clone() + "\n"),
        ]
    }
}

/// Whether this runs in a guest of ours: its scripts lie where they put themselves.
pub(crate) fn in_guest() -> bool {
    Path::new("/run/guest/second.sh").exists()
}

/// What a guest keeps in memory of a folder that it shares.
#[derive(Clone, Copy, Debug)]
enum Cache {
    /// As long as it was not opened again: with this, each program that starts is read anew, and its libraries with it.
    Auto,
    /// All of it. What the host changes while the guest runs is not seen there.
    Always,
}

impl Cache {
    fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
        }
    }
}

/// A folder of the host's, shared by a `virtiofsd` of its own.
struct Share {
    tag: &'static str,
    socket: PathBuf,
    // Ends with us; QEMU would have ended it as well.
    _daemon: Reaped,
}

impl Share {
    fn start(tag: &'static str, folder: &Path, scratch: &Path, cache: Cache) -> Result<Self> {
        let (program, older) = setup::virtiofsd()?;
        let socket = scratch.join(format!("{tag}.socket"));
        let listener = UnixListener::bind(&socket).with_context(|| format!("cannot listen at {}", socket.display()))?;
        let mut daemon = Command::new(program);
        // It inherits the socket, already listening, as its standard input: QEMU need not wait for it.
        daemon.stdin(Stdio::from(OwnedFd::from(listener))).arg("--fd=0");
        // Its default sandbox makes namespaces, which a machine that is itself confined may not.
        if older {
            let source = format!("source={},cache={},sandbox=chroot", folder.display(), cache.name());
            daemon.args(["-f", "--thread-pool-size=4", "-o", &source]);
        } else {
            daemon.arg("--shared-dir").arg(folder).arg(format!("--cache={}", cache.name()));
            daemon.args(["--sandbox=chroot", "--thread-pool-size=4"]);
        }
        let log = fs::File::create(scratch.join(format!("{tag}.virtiofsd.log")))?;
        let daemon = daemon.stdout(Stdio::null()).stderr(log).spawn().context("cannot start virtiofsd")?;
        Ok(Self { tag, socket, _daemon: Reaped(daemon) })
    }

    fn attach(&self, qemu: &mut Command) {
        qemu.arg("-chardev").arg(format!("socket,id={},path={}", self.tag, self.socket.display()));
        qemu.arg("-device").arg(format!("vhost-user-fs-pci,chardev={},tag={}", self.tag, self.tag));
    }
}

/// Copies as it comes; `io::copy` would hold back what does not fill its buffer.
fn stream(from: &mut impl io::Read, to: &mut (dyn Write + Send)) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => {
                to.write_all(buffer.get(..count).unwrap_or_default())?;
                to.flush()?;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

fn read_lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines.get(lines.len().saturating_sub(60)..).unwrap_or_default().join("\n")
}
