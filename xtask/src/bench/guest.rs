//! The guest's half: attaches one program after the other and counts what an unrelated open and close costs each time.

use std::{
    env, fs,
    io::{BufRead as _, BufReader, Read as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::{
    figures::{AUDITD, Figures, More, PROGRAMS, Row},
    open_loop::Work,
};
use crate::{
    command::{self, Reaped, capture},
    vm,
};

/// What the host hands over.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// The built `dkimwatch`
    #[arg(long)]
    dkimwatch: PathBuf,
    /// Debian's auditd, unpacked
    #[arg(long)]
    audit: PathBuf,
    /// The file that nobody watches
    #[arg(long)]
    file: PathBuf,
    /// Where the figures go, as JSON
    #[arg(long)]
    out: PathBuf,
}

/// Measures everything and writes the figures.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    // What follows writes to /etc and turns auditing on: fit for a guest, whose root forgets.
    if !vm::in_guest() {
        bail!("this is the guest's half of the measurement: run `cargo xtask bench`");
    }
    fs::write(&arguments.file, "unrelated\n").context("cannot write the unrelated file")?;
    let release = String::from_utf8_lossy(rustix::system::uname().release().to_bytes()).into_owned();
    let baseline = measure(&arguments.file, Work::Open)?;
    println!("{release}: baseline {baseline}");
    let mut rows = Vec::new();
    let mut more = Vec::new();
    for program in PROGRAMS {
        let (row, others) =
            measured(program.name, &arguments.file, || Attached::start(&arguments.dkimwatch, program.name))?;
        println!("{}", row.line());
        rows.push(row);
        more.extend(others);
    }
    // Last, for it cannot be undone: a task born while auditing is on keeps its audit context.
    let (row, others) = measured(AUDITD, &arguments.file, || Auditing::start(&arguments.audit))?;
    println!("{}", row.line());
    rows.push(row);
    more.extend(others);
    let figures = Figures { release, baseline, rows, more };
    fs::write(&arguments.out, serde_json::to_vec_pretty(&figures)?).context("cannot write the figures")?;
    Ok(ExitCode::SUCCESS)
}

/// Before, with, and after. What did not start is told in the row; what was measured stays.
fn measured<T>(name: &str, file: &Path, start: impl FnOnce() -> Result<T>) -> Result<(Row, Vec<More>)> {
    let others = || Work::ALL.into_iter().filter(|work| *work != Work::Open);
    let before = measure(file, Work::Open)?;
    let befores = others().map(|work| measure(file, work)).collect::<Result<Vec<_>>>()?;
    let attached = match start() {
        Ok(attached) => attached,
        Err(error) => return Ok((Row::refused(name, before, format!("{error:#}")), Vec::new())),
    };
    let with = measure(file, Work::Open)?;
    let withs = others().map(|work| measure(file, work)).collect::<Result<Vec<_>>>()?;
    drop(attached);
    let after = Some(measure(file, Work::Open)?);
    let more = others().zip(befores).zip(withs).map(|((work, before), with)| {
        // The less of before and after: a kernel that has just booted has other things to do, which stop at some time
        // (on 7.3 a process costs twice as much in the first minute).
        let before = before.min(measure(file, work)?);
        Ok(More { program: name.to_owned(), work: work.name().to_owned(), before, with })
    });
    let more = more.collect::<Result<Vec<_>>>()?;
    Ok((Row { name: name.to_owned(), before, with: Some(with), after, refused: None }, more))
}

/// In a process of its own: auditing gives its context only to tasks that are born while it is on.
fn measure(file: &Path, work: Work) -> Result<u64> {
    let own = env::current_exe().context("this program has no path")?;
    let output = capture(Command::new(own).arg("guest-open-loop").args(["--work", work.name()]).arg(file))?;
    String::from_utf8_lossy(&output).trim().parse().context("the loop printed no number")
}

/// `dkimwatch bench-attach`: a program at its hook, until its standard input closes.
struct Attached {
    child: Child,
}

impl Attached {
    fn start(product: &Path, program: &str) -> Result<Self> {
        let mut command = Command::new(product);
        command.args(["bench-attach", "--program", program]);
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let mut attached = Self { child: child.with_context(|| format!("cannot start {}", product.display()))? };
        let mut line = String::new();
        let out = attached.child.stdout.as_mut().context("its standard output is a pipe")?;
        BufReader::new(out).read_line(&mut line)?;
        if line.trim() != "attached" {
            let mut why = String::new();
            attached.child.stderr.as_mut().context("its standard error is a pipe")?.read_to_string(&mut why)?;
            let status = attached.child.wait()?;
            bail!("did not attach ({status}): {}", why.trim());
        }
        Ok(attached)
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // The end of its input is the end of it.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// auditd as Debian ships it, with a watch on the folder of the keys.
struct Auditing {
    root: PathBuf,
    daemon: Reaped,
}

impl Auditing {
    fn start(root: &Path) -> Result<Self> {
        for folder in ["/etc/dkimkeys", "/var/log/audit"] {
            command::folder(Path::new(folder))?;
        }
        fs::write("/etc/dkimkeys/mail.private", "not a key\n").context("cannot write below /etc/dkimkeys")?;
        let mut daemon = program(root, "auditd");
        daemon.arg("-n").arg("-c").arg(root.join("etc/audit"));
        let daemon = daemon.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn();
        let daemon = Reaped(daemon.context("cannot start auditd")?);
        let mut auditing = Self { root: root.to_owned(), daemon };
        auditing.wait_for_daemon()?;
        capture(program(root, "auditctl").args(["-w", "/etc/dkimkeys", "-p", "rwa", "-k", "dkim"]))?;
        Ok(auditing)
    }

    /// The kernel names the daemon that it reports to.
    fn wait_for_daemon(&mut self) -> Result<()> {
        for _ in 0..200 {
            if let Some(status) = self.daemon.0.try_wait()? {
                bail!("auditd ended at once: {status}");
            }
            let status = String::from_utf8_lossy(&capture(program(&self.root, "auditctl").arg("-s"))?).into_owned();
            let field =
                |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<i64>().ok());
            if field("enabled ") == Some(1) && field("pid ").is_some_and(|pid| pid > 0) {
                return Ok(());
            }
        }
        bail!("auditd did not register with the kernel")
    }
}

impl Drop for Auditing {
    fn drop(&mut self) {
        // The guest ends soon after; a rule that stays harms nothing.
        let _ = capture(program(&self.root, "auditctl").arg("-D"));
        let _ = capture(program(&self.root, "auditctl").args(["-e", "0"]));
    }
}

/// A program of the unpacked packages, with the libraries that came with it.
fn program(root: &Path, name: &str) -> Command {
    let place = ["usr/sbin", "sbin"].iter().map(|folder| root.join(folder).join(name)).find(|path| path.exists());
    let libraries = ["usr/lib", "lib"].map(|folder| root.join(folder).join("x86_64-linux-gnu").display().to_string());
    let mut command = Command::new(place.unwrap_or_else(|| root.join("sbin").join(name)));
    command.env("LD_LIBRARY_PATH", libraries.join(":"));
    command
}
