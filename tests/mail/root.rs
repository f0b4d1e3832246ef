//! Debian roots with a mail server inside, made once and kept below `target/mail-roots/`.
//!
//! Debian's postfix and exim4 exclude each other, hence one root for each server.

use std::{
    fs::{self, File, OpenOptions, Permissions},
    os::unix::fs::{PermissionsExt as _, chown},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{
    archive::Archive,
    command::{require_host_programs, run},
};

/// Which server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stack {
    /// OpenDKIM, a milter, with Postfix.
    OpenDkim,
    /// Rspamd, a milter, with Postfix.
    Rspamd,
    /// Exim signs by itself.
    Exim,
    /// dkimpy-milter, a script, with Postfix.
    Dkimpy,
}

impl Stack {
    const fn name(self) -> &'static str {
        match self {
            Self::OpenDkim => "opendkim",
            Self::Rspamd => "rspamd",
            Self::Exim => "exim",
            Self::Dkimpy => "dkimpy",
        }
    }

    const fn packages(self) -> &'static [&'static str] {
        match self {
            Self::OpenDkim => &["postfix", "opendkim", "opendkim-tools", "logrotate"],
            Self::Rspamd => &["postfix", "rspamd", "logrotate"],
            Self::Exim => &["exim4-daemon-heavy", "openssl", "logrotate"],
            Self::Dkimpy => &["postfix", "dkimpy-milter", "openssl", "logrotate"],
        }
    }

    /// The package of the signer itself, which is kept in [`KEPT`].
    const fn signer(self) -> &'static str {
        match self {
            Self::OpenDkim => "opendkim",
            Self::Rspamd => "rspamd",
            Self::Exim => "exim4-daemon-heavy",
            Self::Dkimpy => "dkimpy-milter",
        }
    }
}

/// Where the signer's package lies in a root, so that it can be installed again where there is no network.
pub(crate) const KEPT: &str = "/var/local/packages";

/// A root, for this process alone as long as the value lives.
#[derive(Debug)]
pub(crate) struct MailRoot {
    path: PathBuf,
    /// Locked: two test runs that share `target/` take turns.
    _lock: File,
}

impl MailRoot {
    /// The root of one server, made when it is absent or its recipe has changed.
    ///
    /// # Errors
    /// A host program is absent, or the archive cannot be reached.
    pub(crate) fn of(stack: Stack) -> Result<Self> {
        require_host_programs()?;
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("mail-roots");
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        let archive = Archive::of_this_host()?;

        let base = Recipe {
            path: folder.join("base"),
            text: format!("{} {}\n{}{SETTINGS:?}\n", archive.release, archive.components, archive.sources),
        };
        let packages = stack.packages();
        let own = Recipe {
            path: folder.join(stack.name()),
            text: format!("{}{packages:?} {} in {KEPT}\n", base.text, stack.signer()),
        };
        let lock = lock(&own.path)?;
        own.make_unless_present(|unfinished| {
            let _base_lock = crate::root::lock(&base.path)?;
            base.make_unless_present(|unfinished| make_base(unfinished, &archive))?;
            run(Command::new("cp").args(["-a", "--reflink=auto"]).arg(&base.path).arg(unfinished))?;
            install(unfinished, &archive, packages)?;
            keep(unfinished, &archive, stack.signer())
        })?;
        Ok(Self { path: own.path, _lock: lock })
    }

    /// Where it lies on the host.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// A file in it, as the host sees it.
    pub(crate) fn at(&self, inside: &str) -> PathBuf {
        self.path.join(inside.trim_start_matches('/'))
    }

    /// Writes a file in it, readable by all.
    pub(crate) fn write(&self, inside: &str, text: &str) -> Result<()> {
        let path = self.at(inside);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        }
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(0o644))
            .with_context(|| format!("the mode of {}", path.display()))
    }

    /// An empty folder in it, whatever was there before.
    pub(crate) fn empty_folder(&self, inside: &str, owner: Account, mode: u32) -> Result<()> {
        let path = self.at(inside);
        if path.exists() {
            fs::remove_dir_all(&path).with_context(|| format!("emptying {}", path.display()))?;
        }
        fs::create_dir_all(&path).with_context(|| format!("making {}", path.display()))?;
        self.give(inside, owner, mode)
    }

    /// Sets owner, group and mode.
    pub(crate) fn give(&self, inside: &str, owner: Account, mode: u32) -> Result<()> {
        let path = self.at(inside);
        chown(&path, Some(owner.uid), Some(owner.gid)).with_context(|| format!("the owner of {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))
            .with_context(|| format!("the mode of {}", path.display()))
    }

    /// An account of the root's own passwd(5): packages get their numbers as they are installed.
    pub(crate) fn account(&self, name: &str) -> Result<Account> {
        let passwd = fs::read_to_string(self.at("/etc/passwd")).context("the root's passwd")?;
        passwd
            .lines()
            .find_map(|line| {
                let mut fields = line.split(':');
                (fields.next()? == name).then_some(())?;
                let (uid, gid) = (fields.nth(1)?, fields.next()?);
                Some(Account { uid: uid.parse().ok()?, gid: gid.parse().ok()? })
            })
            .with_context(|| format!("no {name} in {}", self.at("/etc/passwd").display()))
    }
}

/// A user and its own group, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Account {
    /// User.
    pub(crate) uid: u32,
    /// Its group.
    pub(crate) gid: u32,
}

impl Account {
    /// The superuser.
    pub(crate) const ROOT: Self = Self { uid: 0, gid: 0 };

    /// The form that chroot(1) takes as `--userspec`.
    pub(crate) fn spec(self) -> String {
        format!("{}:{}", self.uid, self.gid)
    }
}

/// What a root is made from; kept beside it, so that a change makes it anew.
struct Recipe {
    path: PathBuf,
    text: String,
}

impl Recipe {
    fn beside(&self, ending: &str) -> PathBuf {
        self.path.with_extension(ending)
    }

    fn make_unless_present(&self, make: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
        let stamp = self.beside("recipe");
        if self.path.is_dir() && fs::read_to_string(&stamp).is_ok_and(|text| text == self.text) {
            return Ok(());
        }
        let unfinished = self.beside("unfinished");
        for old in [&unfinished, &self.path] {
            if old.exists() {
                fs::remove_dir_all(old).with_context(|| format!("removing {}", old.display()))?;
            }
        }
        make(&unfinished).with_context(|| format!("making the mail root {}", self.path.display()))?;
        fs::rename(&unfinished, &self.path).with_context(|| format!("finishing {}", self.path.display()))?;
        fs::write(&stamp, &self.text).with_context(|| format!("writing {}", stamp.display()))
    }
}

fn lock(root: &Path) -> Result<File> {
    let path = root.with_extension("lock");
    let lock = OpenOptions::new().create(true).truncate(false).write(true).open(&path);
    let lock = lock.with_context(|| format!("opening {}", path.display()))?;
    lock.lock().with_context(|| format!("locking {}", path.display()))?;
    Ok(lock)
}

/// Files that a root has before anything is installed into it.
const SETTINGS: [(&str, &str, u32); 3] = [
    // invoke-rc.d asks it (Debian Policy 9.3.3.1): nothing is started when it is installed.
    ("usr/sbin/policy-rc.d", "#!/bin/sh\nexit 101\n", 0o755),
    // A root is made anew after a crash; no need to wait for the disk at each file.
    ("etc/dpkg/dpkg.cfg.d/unsafe-io", "force-unsafe-io\n", 0o644),
    ("etc/apt/apt.conf.d/90lean", "APT::Install-Recommends \"false\";\n", 0o644),
];

fn make_base(root: &Path, archive: &Archive) -> Result<()> {
    let components = format!("--components={}", archive.components);
    let mut debootstrap = Command::new("debootstrap");
    debootstrap.args(["--variant=minbase", &components, &archive.release]).arg(root).arg(&archive.mirror);
    run(archive.through_proxy(&mut debootstrap))?;
    for (inside, text, mode) in SETTINGS {
        let path = root.join(inside);
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        fs::set_permissions(&path, Permissions::from_mode(mode))?;
    }
    fs::write(root.join("etc/apt/sources.list"), &archive.sources).context("the root's sources.list")?;
    apt(root, archive, &["update"])
}

fn install(root: &Path, archive: &Archive, packages: &[&str]) -> Result<()> {
    apt(root, archive, &[&["install", "-y"], packages].concat())?;
    apt(root, archive, &["clean"])
}

/// Downloads a package and leaves it in the root.
fn keep(root: &Path, archive: &Archive, package: &str) -> Result<()> {
    let folder = root.join(KEPT.trim_start_matches('/'));
    fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    apt(root, archive, &["install", "-y", "--reinstall", "--download-only", package])?;
    let cache = root.join("var/cache/apt/archives");
    for entry in fs::read_dir(&cache).with_context(|| format!("listing {}", cache.display()))? {
        let file = entry?;
        if file.file_name().to_string_lossy().ends_with(".deb") {
            fs::rename(file.path(), folder.join(file.file_name())).context("keeping a package")?;
        }
    }
    Ok(())
}

fn apt(root: &Path, archive: &Archive, arguments: &[&str]) -> Result<()> {
    let mut command = Command::new("chroot");
    command
        .arg(root)
        .args(["apt-get", "-q"])
        .args(arguments)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .env("LC_ALL", "C")
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
    run(archive.through_proxy(&mut command)).map(drop)
}
