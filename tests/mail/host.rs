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
};

use anyhow::{Context as _, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::{command::run, root::MailRoot, syslog::Syslog};

/// Tells its pid (as this process's /proc numbers it, before the new one is mounted), once it is in its root: whoever enters
/// it from then on is in there too, and not on the host. Then it waits for the pipe to close.
/// Ignoring SIGCHLD, it reaps the daemons' orphans.
const FIRST_PROCESS: &str = r#"
set -e
trap '' CHLD
read -r pid rest < /proc/self/stat
mount -t proc proc "$1/proc"
mount -t tmpfs -o mode=755 tmpfs "$1/run"
mkdir -p -m 1777 "$1/run/lock"
ip link set lo up
hostname mail.example.org
cd /
exec chroot "$1" /bin/sh -c 'echo "$0"; exec cat' "$pid"
"#;

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
    pub(crate) fn boot(root: MailRoot) -> Result<Self> {
        root.write("/etc/hosts", "127.0.0.1 localhost mail.example.org mail\n")?;
        root.write("/etc/mailname", "mail.example.org\n")?;
        // Nobody answers there: a look-up fails at once instead of timing out.
        root.write("/etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")?;
        let syslog = Syslog::listen(&root)?;
        let mut unshare = Command::new("unshare")
            .args([
                "--net",
                "--pid",
                "--mount",
                "--uts",
                "--ipc",
                "--fork",
                "--kill-child",
                "sh",
                "-c",
                FIRST_PROCESS,
                "sh",
            ])
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
