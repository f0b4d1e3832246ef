//! A mail root, running: namespaces of its own for processes, network, mounts and the host's name.
//!
//! Everything in it ends with the first process of its pid namespace, and that one ends when a pipe from this test closes.
//! So nothing is left behind, whether the test succeeds, panics or is killed.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::fd::AsFd as _,
    process::{Child, ChildStdin, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{command::run, root::MailRoot, syslog::Syslog};

/// Tells its pid (as this process's /proc numbers it, before the new one is mounted), once it is in its root: whoever enters
/// it from then on is in there too, and not on the host. Then it waits for the pipe to close.
/// Ignoring SIGCHLD, it reaps the daemons' orphans. (A shell's `trap '' CHLD` is not handed on to what it executes.)
const FIRST_PROCESS: &str = r#"
set -e
read -r pid rest < /proc/self/stat
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=755 tmpfs "$1/run"
mkdir -p -m 1777 "$1/run/lock"
ip link set lo up
hostname mail.example.org
cd /
exec chroot "$1" /bin/sh -c 'echo "$0"; exec env --ignore-signal=CHLD cat' "$pid"
"#;

/// The same in the mounts of the machine that the test runs on, of which it adds none.
const FIRST_PROCESS_AMONG_THE_MACHINES_MOUNTS: &str = r#"
set -e
read -r pid rest < /proc/self/stat
ip link set lo up
hostname mail.example.org
cd /
exec chroot "$1" /bin/sh -c 'echo "$0"; exec env --ignore-signal=CHLD cat' "$pid"
"#;

/// Whose mounts a mail host has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mounts {
    /// Its own.
    Own,
    /// Those of the machine that the test runs on. A script is a signer's only there, as only there its path means what it
    /// means to the watch.
    Machine,
}

/// A running mail host.
#[derive(Debug)]
pub(crate) struct MailHost {
    root: MailRoot,
    /// What the daemons log to `/dev/log`.
    pub(crate) syslog: Syslog,
    /// Pid of the first process, in this process's pid namespace.
    first: u32,
    /// Closing it ends everything inside.
    pipe: Option<ChildStdin>,
    unshare: Child,
}

impl MailHost {
    /// Starts the namespaces; no daemon runs yet.
    ///
    /// # Errors
    /// This kernel or this user may not make namespaces.
    pub(crate) fn boot(root: MailRoot, mounts: Mounts) -> Result<Self> {
        let (own, script) = match mounts {
            Mounts::Own => (Some("--mount"), FIRST_PROCESS),
            Mounts::Machine => (None, FIRST_PROCESS_AMONG_THE_MACHINES_MOUNTS),
        };
        root.write("/etc/hosts", "127.0.0.1 localhost mail.example.org mail\n")?;
        root.write("/etc/mailname", "mail.example.org\n")?;
        // Nobody answers there: a look-up fails at once instead of timing out.
        root.write("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
        let syslog = Syslog::listen(&root)?;
        let mut unshare = Command::new("unshare")
            .args(["--net", "--pid", "--uts", "--ipc", "--fork", "--kill-child"])
            .args(own)
            .args(["sh", "-c", script, "sh"])
            .arg(root.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting unshare")?;
        let pipe = unshare.stdin.take();
        let mut told = String::new();
        if let Some(stdout) = unshare.stdout.take() {
            BufReader::new(stdout).read_line(&mut told).context("reading the first process's pid")?;
        }
        let first = told.trim().parse();
        let mut host = Self { root, syslog, first: 0, pipe, unshare };
        // From here on `host` cleans up whatever happens.
        host.first = first.map_err(|_| anyhow!("the namespaces did not come up (their messages are above)"))?;
        Ok(host)
    }

    /// The root.
    pub(crate) fn root(&self) -> &MailRoot {
        &self.root
    }

    /// A command to be run inside, as root.
    pub(crate) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.first.to_string(),
                "--net",
                "--pid",
                "--mount",
                "--uts",
                "--ipc",
                "--root",
                "--wd",
            ])
            .arg(program)
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("LC_ALL", "C")
            .env("HOME", "/root");
        command
    }

    /// Runs a command inside to its end, as root, and returns its standard output.
    ///
    /// # Errors
    /// It failed; the message holds what it and the daemons said.
    pub(crate) fn run(&self, program: &str, arguments: &[&str]) -> Result<String> {
        run(self.command(program).args(arguments)).with_context(|| self.syslog.tail())
    }

    /// Ends a daemon by the file that holds its pid, and waits until it is gone.
    pub(crate) fn end(&self, pid_file: &str) -> Result<()> {
        const END: &str = r#"read -r pid < "$0"; kill "$pid"; for i in $(seq 300); do
            kill -0 "$pid" 2> /dev/null || exit 0; sleep 0.1; done; echo "$pid is still there"; exit 1"#;
        self.run("sh", &["-c", END, pid_file]).map(drop)
    }

    /// Waits until somebody listens on a port of its loopback interface.
    #[expect(clippy::disallowed_methods, reason = "nobody tells when a daemon begins to listen")]
    pub(crate) fn wait_for_port(&self, port: u16, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        loop {
            match self.connect(port) {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }

    /// Connects to a port of its loopback interface.
    pub(crate) fn connect(&self, port: u16) -> Result<TcpStream> {
        self.in_network(move || TcpStream::connect((Ipv4Addr::LOCALHOST, port)))
            .with_context(|| format!("connecting to port {port} of the mail host\n{}", self.syslog.tail()))
    }

    /// Listens on a port of its loopback interface.
    pub(crate) fn listen(&self, port: u16) -> Result<TcpListener> {
        self.in_network(move || TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
            .with_context(|| format!("listening on port {port} of the mail host"))
    }

    /// Makes a socket in the host's network: on a thread of its own, which is gone with the namespace it entered.
    fn in_network<T: Send>(&self, make: impl FnOnce() -> std::io::Result<T> + Send) -> Result<T> {
        let network = File::open(format!("/proc/{}/ns/net", self.first)).context("the mail host's network")?;
        std::thread::scope(|scope| {
            let socket = scope.spawn(|| {
                move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))?;
                make()
            });
            socket.join().map_err(|_| anyhow!("the socket's thread panicked"))?.map_err(Into::into)
        })
    }
}

impl Drop for MailHost {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It ends as its child does; it cannot fail otherwise than by having been waited for.
        let _ = self.unshare.wait();
    }
}
