//! Who is a stranger, in kinds that tell how bad it is.
//!
//! The verdict is the same for all of them: a kind changes severity, rule and advice, never whether the access is
//! reported. The harmless kinds are recognised by a program's path, which is no identity; they only apply to root, running
//! a file of root's in a system folder, outside any container: whoever can arrange that could read the key anyway.

use std::os::unix::ffi::OsStrExt as _;

use dkimwatch_common::record::Kind as Access;

use super::{Policy, Reader, severity};
use crate::{
    attribute::AttributedAccess,
    decode::{Args, ImageSource},
};

/// A kind of stranger.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind<'p> {
    /// A kernel thread.
    KernelThread,
    /// Its executable is not known.
    UnknownExecutable,
    /// It changed what `/proc/PID/exe` shows.
    ChangedLink,
    /// It has a reader's name and another executable.
    Namesake(&'p Reader),
    /// It runs a deleted file that was at a reader's path.
    Replaced(&'p Reader),
    /// Its executable is in memory only, deleted, or in a folder that everybody can write to.
    HiddenExecutable,
    /// In a container.
    Container,
    /// A program with a known purpose, run by root.
    Tool(&'static Tool),
    /// It runs as a signer's user.
    SignerUser(&'p Reader),
    /// Another user than root.
    User,
    /// Root, in a login session.
    Interactive,
    /// Root, without a login.
    Root,
}

/// Programs with a known purpose.
#[derive(Debug)]
pub(super) struct Tool {
    pub(super) rule: &'static str,
    severity: u8,
    /// Names of the program, or of its script.
    names: &'static [&'static str],
    /// It makes keys: only an access that writes is its purpose.
    only_writing: bool,
    /// What it is, and what to do.
    pub(super) advice: &'static str,
}

/// Programs that look into devices for what they are, and not for what is on them. No shell, no copier, no debugger is among
/// them.
static DEVICE_TOOL: Tool = Tool {
    rule: "stranger/device-tool",
    severity: severity::NOTICE,
    names: &[
        "systemd-udevd",
        "udevd",
        "udevadm",
        "blkid",
        "blockdev",
        "findfs",
        "mount",
        "umount",
        "swapon",
        "losetup",
        "dmsetup",
        "dmeventd",
        "lvm",
        "lvs",
        "pvs",
        "vgs",
        "pvscan",
        "vgscan",
        "vgchange",
        "lvchange",
        "lvcreate",
        "lvextend",
        "lvmdbusd",
        "mdadm",
        "multipath",
        "multipathd",
        "cryptsetup",
        "systemd-cryptsetup",
        "fsck",
        "e2fsck",
        "fsck.ext4",
        "fsck.ext3",
        "fsck.ext2",
        "fsck.xfs",
        "fsck.btrfs",
        "fsck.vfat",
        "systemd-fsck",
        "systemd-growfs",
        "systemd-gpt-auto-generator",
        "systemd-repart",
        "systemd-homed",
        "xfs_repair",
        "btrfs",
        "tune2fs",
        "resize2fs",
        "growpart",
        "partprobe",
        "partx",
        "kpartx",
        "fdisk",
        "sfdisk",
        "parted",
        "smartd",
        "smartctl",
        "udisksd",
        "grub-probe",
        "grub-install",
        "grub-bios-setup",
        "os-prober",
        "fwupd",
        "dmidecode",
        "biosdecode",
        "lshw",
    ],
    only_writing: false,
    advice: "It is a tool that looks after devices, and opens them to see what they are. If nobody and nothing ran it just now, find out who did",
};

static TOOLS: [Tool; 7] = [
    Tool {
        rule: "stranger/key-tool",
        severity: severity::NOTICE,
        names: &["opendkim-genkey", "rspamadm", "dknewkey", "openssl"],
        only_writing: true,
        advice: "It is a tool that makes keys. If this was a planned rotation, publish the new record and check the new file's owner and mode",
    },
    Tool {
        rule: "stranger/admin-check",
        severity: severity::NOTICE,
        names: &["opendkim-testkey", "opendkim-genkey", "rspamadm", "amavisd", "amavisd-new"],
        only_writing: false,
        advice: "It is an administrator's check of the key. If nobody ran one just now, find out who did",
    },
    Tool {
        rule: "stranger/backup",
        severity: severity::LOW,
        names: &[
            "rsync",
            "borg",
            "borgmatic",
            "restic",
            "tar",
            "bacula-fd",
            "bareos-fd",
            "duplicity",
            "rclone",
            "kopia",
        ],
        only_writing: false,
        advice: "It is a backup program: your backup holds the DKIM key from now on. Exclude the keys, or protect the backup as you protect them and declare it with [[maintenance]]",
    },
    Tool {
        rule: "stranger/integrity-check",
        severity: severity::LOW,
        names: &["aide", "tripwire", "debsums", "samhain"],
        only_writing: false,
        advice: "It is an integrity checker. Let it skip the contents of the keys, or declare it with [[maintenance]]",
    },
    Tool {
        rule: "stranger/scanner",
        severity: severity::LOW,
        names: &["clamd", "clamscan", "clamonacc", "rkhunter"],
        only_writing: false,
        advice: "It is a malware scanner. Let it skip the keys, or declare it with [[maintenance]]",
    },
    Tool {
        rule: "stranger/configuration-management",
        severity: severity::LOW,
        names: &["puppet", "chef-client", "salt-minion", "salt-call", "ansible-playbook"],
        only_writing: false,
        advice: "It is configuration management. If it deploys the keys, declare it with [[maintenance]]",
    },
    Tool {
        rule: "stranger/image-tool",
        severity: severity::HIGH,
        names: &["dockerd", "containerd", "buildkitd", "buildctl", "buildah", "podman", "skopeo"],
        only_writing: false,
        advice: "It is a container engine: the key may have been copied into an image. Look for it in the layers of what was built or committed just now",
    },
];

impl Kind<'_> {
    /// `rule.id`.
    pub(super) const fn rule(self) -> &'static str {
        match self {
            Self::KernelThread => "stranger/kernel-thread",
            Self::UnknownExecutable => "stranger/unknown-executable",
            Self::ChangedLink | Self::Namesake(_) => "stranger/disguise",
            Self::Replaced(_) => "signer-mismatch/executable-replaced",
            Self::HiddenExecutable => "stranger/hidden-executable",
            Self::Container => "stranger/container",
            Self::Tool(tool) => tool.rule,
            Self::SignerUser(_) => "stranger/signer-user",
            Self::User => "stranger/user",
            Self::Interactive => "stranger/interactive",
            Self::Root => "stranger/executable",
        }
    }

    /// Where it stands on the [ladder](severity), had it got the key; `root` is its real user.
    pub(super) const fn severity(self, root: bool) -> u8 {
        match self {
            Self::Tool(tool) => tool.severity,
            Self::Root => severity::MEDIUM,
            Self::KernelThread | Self::Replaced(_) | Self::Interactive => severity::HIGH,
            Self::UnknownExecutable | Self::Container if root => severity::HIGH,
            _ => severity::CRITICAL,
        }
    }
}

/// The kind of a process that runs no reader's program.
pub(super) fn kind<'p>(attributed: &AttributedAccess, policy: &'p Policy) -> Kind<'p> {
    let process = &attributed.access.process;
    let uid = process.creds.known().map(|creds| creds.uid);
    if process.kernel_thread {
        return Kind::KernelThread;
    }
    let Some(image) = process.image.known() else { return Kind::UnknownExecutable };
    if attributed.executable.claim_differs {
        return Kind::ChangedLink;
    }
    if let Some(reader) = replaced(attributed, policy) {
        return Kind::Replaced(reader);
    }
    if let Some(reader) = namesake(attributed, policy).filter(|_| attributed.container.is_none()) {
        return Kind::Namesake(reader);
    }
    if image.nlink == 0 || process.claimed.known().is_some_and(|exe| exe.unlinked) || in_open_folder(attributed) {
        return Kind::HiddenExecutable;
    }
    if attributed.container.is_some() {
        return Kind::Container;
    }
    if let Some(tool) = tool(attributed, policy) {
        return Kind::Tool(tool);
    }
    match uid {
        Some(0) if process.login_uid.known().copied().flatten().is_some() => Kind::Interactive,
        Some(0) => Kind::Root,
        Some(uid) => {
            policy.readers.iter().find(|reader| reader.uids.contains(&uid)).map_or(Kind::User, Kind::SignerUser)
        }
        None => Kind::User,
    }
}

/// The reader whose check of itself this is: `opendkim -n`, `amavisd testkeys`, run by root (opendkim(8), amavisd(8)).
pub(super) fn own_check(attributed: &AttributedAccess, reader: &Reader) -> bool {
    let process = &attributed.access.process;
    let root = process.creds.known().is_some_and(|creds| creds.uid == 0);
    let Some(Args { list, .. }) = process.args.known().filter(|_| root) else { return false };
    let arguments = list.get(1..).unwrap_or_default();
    match name_of(reader) {
        b"opendkim" => arguments.iter().any(|one| {
            one.strip_prefix(b"-")
                .is_some_and(|flags| flags.contains(&b'n') && flags.iter().all(|f| b"nvflq".contains(f)))
        }),
        b"amavisd" | b"amavisd-new" => arguments.iter().any(|one| matches!(one.as_slice(), b"testkeys" | b"showkeys")),
        _ => false,
    }
}

/// Whether what its arguments say can make a process a check of a signer's instead of the signer ([`own_check`]): that can
/// change while it runs.
#[must_use]
pub fn may_check_itself(attributed: &AttributedAccess, policy: &Policy) -> bool {
    let process = &attributed.access.process;
    let root = process.creds.known().is_none_or(|creds| creds.uid == 0);
    let runs = |reader: &&Reader| process.image.known().is_none_or(|image| reader.runs(image.id));
    let mut readers = policy.readers.iter().filter(runs);
    root && readers.any(|reader| matches!(name_of(reader), b"opendkim" | b"amavisd" | b"amavisd-new"))
}

/// The name by which people know a reader's program: an interpreted one's script, else the executable.
fn name_of(reader: &Reader) -> &[u8] {
    let path = reader.script.as_ref().unwrap_or(&reader.executable);
    path.file_name().unwrap_or_default().as_bytes()
}

pub(super) fn basename(path: &[u8]) -> &[u8] {
    path.rsplit(|byte| *byte == b'/').next().unwrap_or_default()
}

/// A reader that has the process's name: in `comm` (cut to 15 bytes), in the path of its executable or script, or in
/// the first argument.
fn namesake<'p>(attributed: &AttributedAccess, policy: &'p Policy) -> Option<&'p Reader> {
    let process = &attributed.access.process;
    let paths = [
        attributed.executable.path.as_deref(),
        process.image.known().map(|image| image.path.as_slice()),
        process.args.known().and_then(|args| args.list.first()).map(Vec::as_slice),
    ];
    policy.readers.iter().find(|reader| {
        let name = name_of(reader);
        let comm = name.get(..15).unwrap_or(name);
        !name.is_empty() && (process.comm == comm || paths.iter().flatten().any(|path| basename(path) == name))
    })
}

/// A reader whose executable's path is what the deleted file was called: an upgrade since the process started.
fn replaced<'p>(attributed: &AttributedAccess, policy: &'p Policy) -> Option<&'p Reader> {
    let process = &attributed.access.process;
    let claimed = process.claimed.known().filter(|claimed| claimed.unlinked && !claimed.path.cut)?;
    let image = process.image.known()?;
    if image.mnt_ns != policy.host_mnt_ns || image.source == ImageSource::AtAccess || image.uid != 0 {
        return None;
    }
    policy.readers.iter().find(|reader| {
        super::fit::user(reader, attributed) && reader.executable.as_os_str().as_bytes() == claimed.path.bytes
    })
}

/// Folders that everybody may write to.
fn in_open_folder(attributed: &AttributedAccess) -> bool {
    const OPEN: [&[u8]; 5] = [b"/tmp/", b"/var/tmp/", b"/dev/shm/", b"/run/shm/", b"/memfd:"];
    let path = attributed.executable.path.as_deref().unwrap_or_default();
    OPEN.iter().any(|folder| path.starts_with(folder))
}

fn tool(attributed: &AttributedAccess, policy: &Policy) -> Option<&'static Tool> {
    const SYSTEM: [&[u8]; 6] =
        [b"/usr/bin/", b"/usr/sbin/", b"/bin/", b"/sbin/", b"/usr/libexec/", b"/opt/puppetlabs/"];
    /// Where systemd, udev and udisks keep what is not for people to call.
    const DAEMONS: [&[u8]; 6] = [
        b"/usr/lib/systemd/",
        b"/lib/systemd/",
        b"/usr/lib/udev/",
        b"/lib/udev/",
        b"/usr/lib/udisks2/",
        b"/usr/libexec/udisks2/",
    ];
    let tools: &[Tool] = match attributed.access.kind {
        // Whoever has a signer's memory has the key.
        Access::Memory => return None,
        Access::Device => std::slice::from_ref(&DEVICE_TOOL),
        _ => &TOOLS,
    };
    let device = tools.len() == 1;
    let process = &attributed.access.process;
    let image = process.image.known()?;
    let root = process.creds.known().is_some_and(|creds| creds.uid == 0);
    let trusted = image.uid == 0
        && image.mode & 0o022 == 0
        && image.source != ImageSource::AtAccess
        && image.mnt_ns == policy.host_mnt_ns;
    // For a script `execve` was given the script; for a program its path, perhaps by a link.
    let path = if image.path.is_empty() { attributed.executable.path.as_deref()? } else { &image.path };
    let system = SYSTEM.iter().chain(DAEMONS.iter().filter(|_| device)).any(|folder| path.starts_with(folder));
    if !root || !trusted || !system {
        return None;
    }
    let name = basename(path);
    let open = attributed.access.file.open.known();
    let writes = open.is_some_and(|open| open.writes() || open.created());
    tools.iter().find(|tool| tool.only_writing <= writes && tool.names.iter().any(|one| one.as_bytes() == name))
}
