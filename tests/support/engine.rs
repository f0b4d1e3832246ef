//! Container engines, run for real: Podman by root and by an ordinary user, and Docker, each with a store of its own.

use std::{
    ffi::OsString,
    fs,
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::daemon::Daemon;

/// Limits that no process here has to raise: engines ask for more than some hosts allow.
const LIMITS: [&str; 4] = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000"];

/// An engine.
#[derive(Debug)]
pub struct Engine {
    command: Vec<OsString>,
    /// What `run` needs beside.
    run: Vec<OsString>,
    /// Where its containers are, where that has to be said.
    store: Option<PathBuf>,
    /// Its daemon. (Dropped before the user and the folder: fields drop in order.)
    daemon: Option<Daemon>,
    /// Where the daemon is asked, and what dkimwatch calls that.
    socket: Option<(&'static str, PathBuf)>,
    user: Option<User>,
    folder: tempfile::TempDir,
}

/// A container to run.
#[derive(Clone, Copy, Debug)]
pub struct Run<'a> {
    /// Its name.
    pub name: &'a str,
    /// Its image.
    pub image: &'a str,
    /// What is mounted: a path or a volume, and where.
    pub mounts: &'a [(&'a str, &'a str)],
    /// The user within.
    pub user: &'a str,
    /// The program and its arguments.
    pub command: &'a [&'a str],
}

impl Engine {
    /// Podman, by root.
    ///
    /// # Errors
    /// No folder can be made.
    pub fn podman() -> Result<Self> {
        let mut engine = Self::podman_unknown()?;
        engine.store = Some(engine.folder.path().join("store"));
        Ok(engine)
    }

    /// Podman, by root, whose store dkimwatch is not told of, but its socket.
    ///
    /// # Errors
    /// No folder can be made, or its service does not start; the message has its log.
    pub fn podman_at_a_socket() -> Result<Self> {
        let mut engine = Self::podman_unknown()?;
        let socket = engine.folder.path().join("socket");
        let mut service = engine.command();
        service.args(["system", "service", "--time", "0"]).arg(format!("unix://{}", socket.display()));
        engine.daemon = Some(Daemon::start(service, engine.folder.path())?);
        engine.socket = Some(("podman", socket));
        Ok(engine)
    }

    /// Podman, by root, of which dkimwatch is told nothing.
    ///
    /// # Errors
    /// No folder can be made.
    pub fn podman_unknown() -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for Podman")?;
        let at = |name: &str| folder.path().join(name).into_os_string();
        let mut command = vec!["podman".into(), "--root".into(), at("store")];
        command.extend(["--runroot".into(), at("run"), "--tmpdir".into(), at("tmp")]);
        Ok(Self { command, run: podmans(), store: None, daemon: None, socket: None, user: None, folder })
    }

    /// Podman, by an ordinary user that is made for it.
    ///
    /// # Errors
    /// No user can be made.
    pub fn podman_of_a_user() -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for Podman")?;
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755))?;
        let user = User::new("dkimwatch-tests")?;
        let mut command: Vec<OsString> = vec!["setpriv".into(), "--reuid".into(), user.uid.to_string().into()];
        command.extend(["--regid".into(), user.gid.to_string().into(), "--init-groups".into()]);
        command.extend(["env".into(), "-i".into(), "PATH=/usr/sbin:/usr/bin:/sbin:/bin".into()]);
        command.extend([format!("HOME={}", user.home.display()).into()]);
        command.extend([format!("XDG_RUNTIME_DIR={}", user.runtime.display()).into(), "podman".into()]);
        Ok(Self { command, run: podmans(), store: None, daemon: None, socket: None, user: Some(user), folder })
    }

    /// Docker, with a daemon of its own.
    ///
    /// # Errors
    /// The daemon does not start; the message has its log.
    pub fn docker() -> Result<Self> {
        Self::docker_of(tempfile::tempdir().context("a folder for Docker")?, Path::new("dockerd"))
    }

    /// Docker, with a daemon that is not known by its program, and a socket that dkimwatch is told of.
    ///
    /// # Errors
    /// The daemon does not start; the message has its log.
    pub fn docker_at_a_socket() -> Result<Self> {
        let folder = tempfile::tempdir().context("a folder for Docker")?;
        let places = ["/usr/sbin/dockerd", "/usr/bin/dockerd"].map(Path::new);
        let program = folder.path().join("an-engine");
        fs::copy(places.into_iter().find(|path| path.exists()).context("dockerd")?, &program)?;
        let mut engine = Self::docker_of(folder, &program)?;
        engine.socket = Some(("docker", engine.folder.path().join("socket")));
        Ok(engine)
    }

    fn docker_of(folder: tempfile::TempDir, program: &Path) -> Result<Self> {
        let socket = format!("unix://{}", folder.path().join("socket").display());
        let daemon = Some(Daemon::start(dockerd(program, folder.path(), &socket), folder.path())?);
        let command = vec!["docker".into(), "--host".into(), socket.into()];
        Ok(Self { command, run: Vec::new(), store: None, daemon, socket: None, user: None, folder })
    }

    /// The socket that dkimwatch has to be told of, and its key in the configuration.
    #[must_use]
    pub fn socket(&self) -> Option<(&'static str, &Path)> {
        self.socket.as_ref().map(|(key, path)| (*key, path.as_path()))
    }

    /// Where dkimwatch has to be told to look.
    #[must_use]
    pub fn store(&self) -> Option<&Path> {
        self.store.as_deref()
    }

    /// The user that runs it, if that is not root.
    #[must_use]
    pub fn user(&self) -> Option<&User> {
        self.user.as_ref()
    }

    /// Makes an image of a root folder.
    ///
    /// # Errors
    /// The engine's own.
    pub fn import(&self, root: &Path, image: &str) -> Result<()> {
        let archive = self.folder.path().join("root.tar");
        let mut tar = Command::new("tar");
        tar.arg("--create").arg("--file").arg(&archive).arg("--directory").arg(root).arg(".");
        said(&mut tar)?;
        fs::set_permissions(&archive, fs::Permissions::from_mode(0o644))?;
        self.ask(&["import", archive.to_str().context("a path in UTF-8")?, image])?;
        fs::remove_file(archive).context("removing the archive")
    }

    /// Makes a volume and says where it lies.
    ///
    /// # Errors
    /// The engine's own.
    pub fn volume(&self, name: &str) -> Result<PathBuf> {
        self.ask(&["volume", "create", name])?;
        let place = self.ask(&["volume", "inspect", "--format", "{{.Mountpoint}}", name])?;
        Ok(PathBuf::from(place.trim()))
    }

    /// Runs a container to its end and says its id.
    ///
    /// # Errors
    /// The engine's own, or the program's in it.
    pub fn run(&self, run: &Run<'_>) -> Result<String> {
        let id = self.folder.path().join(format!("{}.id", run.name));
        // By its own user, in a folder of root's.
        if let Some(user) = &self.user {
            chown(self.folder.path(), Some(user.uid), Some(user.gid))?;
        }
        let mut command = self.command();
        command.args(["run", "--rm", "--network=none", "--name", run.name, "--user", run.user]);
        command.arg("--cidfile").arg(&id).args(&self.run).args(LIMITS);
        for (from, to) in run.mounts {
            command.arg("--volume").arg(format!("{from}:{to}"));
        }
        said(command.arg(run.image).args(run.command))?;
        let written = fs::read_to_string(&id).with_context(|| format!("{}", id.display()))?;
        fs::remove_file(id).context("removing the id's file")?;
        Ok(written.trim().to_owned())
    }

    /// What the engine says to some arguments.
    ///
    /// # Errors
    /// Its own.
    pub fn ask(&self, arguments: &[&str]) -> Result<String> {
        said(self.command().args(arguments))
    }

    fn command(&self) -> Command {
        let (program, arguments) =
            self.command.split_first().map_or((OsString::new(), &[][..]), |(first, rest)| (first.clone(), rest));
        let mut command = Command::new(program);
        // A user may not stand in a folder of root's.
        command.args(arguments).current_dir("/");
        command
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // A store on overlays is busy otherwise. What fails here fails as the folder is removed.
        if self.command.iter().any(|word| word == "podman") {
            self.daemon = None;
            let _ = self.ask(&["system", "reset", "--force"]);
        }
    }
}

/// crun 1.8 refuses control groups of both versions at once, which some hosts have; runc does not.
fn podmans() -> Vec<OsString> {
    ["--runtime", "runc"].map(OsString::from).to_vec()
}

/// An ordinary user, with ranges of subordinate ids, for as long as the value lives.
#[derive(Debug)]
pub struct User {
    /// Its name.
    pub name: &'static str,
    /// Its number.
    pub uid: u32,
    gid: u32,
    home: PathBuf,
    runtime: PathBuf,
}

impl User {
    fn new(name: &'static str) -> Result<Self> {
        // An interrupted run has left one.
        let _ = said(Command::new("userdel").args(["--remove", "--force", name]));
        said(Command::new("useradd").args(["--create-home", "--shell", "/bin/sh", name]))?;
        let passwd = said(Command::new("getent").args(["passwd", name]))?;
        let fields: Vec<&str> = passwd.trim().split(':').collect();
        let [_, _, uid, gid, _, home, ..] = fields.as_slice() else { bail!("getent says {passwd:?}") };
        let (uid, gid) = (uid.parse()?, gid.parse()?);
        let runtime = PathBuf::from(format!("/run/user/{uid}"));
        fs::create_dir_all(&runtime)?;
        chown(&runtime, Some(uid), Some(gid))?;
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700))?;
        Ok(Self { name, uid, gid, home: PathBuf::from(home), runtime })
    }

    /// The host's number of a user within its containers, by the ranges of `/etc/subuid`: its own is root there.
    ///
    /// # Errors
    /// It has no range.
    pub fn host_uid(&self, inner: u32) -> Result<u32> {
        let Some(behind) = inner.checked_sub(1) else { return Ok(self.uid) };
        let ranges = fs::read_to_string("/etc/subuid").context("/etc/subuid")?;
        let first = ranges.lines().find_map(|line| line.strip_prefix(self.name)?.strip_prefix(':')?.split(':').next());
        let first: u32 = first.with_context(|| format!("{} has no subordinate ids", self.name))?.parse()?;
        Ok(first + behind)
    }
}

impl Drop for User {
    fn drop(&mut self) {
        // The process that holds its namespaces.
        let _ = said(Command::new("pkill").args(["-KILL", "--uid", self.name]));
        let _ = said(Command::new("userdel").args(["--remove", "--force", self.name]));
        let _ = fs::remove_dir_all(&self.runtime);
    }
}

/// Docker's daemon, of this program, in this folder.
fn dockerd(program: &Path, folder: &Path, socket: &str) -> Command {
    let mut daemon = Command::new(program);
    daemon.arg("--data-root").arg(folder.join("data")).arg("--exec-root").arg(folder.join("exec"));
    daemon.arg("--pidfile").arg(folder.join("pid")).args(["--host", socket]);
    // It is to leave this host's network alone.
    daemon.args(["--iptables=false", "--ip6tables=false", "--bridge=none"]);
    daemon
}

/// Runs it to its end and returns its standard output.
pub(super) fn said(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("starting {command:?}"))?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}\n{stderr}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
