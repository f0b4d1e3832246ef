//! `setup`: what the other verbs need, installed once. Running it again changes nothing.

use std::{
    env, fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result, bail};

use crate::{
    command::{self, capture, find, is_root},
    workspace,
};

/// The linker of the kernel side. 0.10.3 loads the pinned compiler's own LLVM; later ones want an LLVM of the system's.
const BPF_LINKER: &str = "0.10.3";

/// What `setup` is asked.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// A group of things that some verbs need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Compiling both sides: rust-src, bpf-linker, a C linker.
    Build,
    /// The formatter and the linter.
    Lint,
    /// Making file systems, for the keys that the tests put on them.
    FileSystems,
    /// Fetching and booting kernels.
    Guests,
    /// The real mail servers.
    Mail,
    /// Container engines.
    Containers,
    /// A browser, for the page of `dkimwatch report`.
    Browser,
    /// Signers and keys for the demonstration.
    Demonstration,
}

const ALL: [Need; 8] = [
    Need::Build,
    Need::Lint,
    Need::FileSystems,
    Need::Guests,
    Need::Mail,
    Need::Containers,
    Need::Browser,
    Need::Demonstration,
];

/// A program, where it lies, and the Debian packages that may carry it: the first one that the archive knows is taken.
struct Program {
    need: Need,
    name: &'static str,
    paths: &'static [&'static str],
    packages: &'static [&'static str],
}

const PROGRAMS: [Program; 26] = [
    Program { need: Need::Build, name: "cc", paths: &[], packages: &["gcc"] },
    Program { need: Need::Lint, name: "git", paths: &[], packages: &["git"] },
    Program { need: Need::Guests, name: "qemu-system-x86_64", paths: &[], packages: &["qemu-system-x86"] },
    Program { need: Need::Guests, name: "virtiofsd", paths: VIRTIOFSD, packages: &["virtiofsd", "qemu-system-common"] },
    Program { need: Need::Guests, name: "busybox", paths: &[], packages: &["busybox-static"] },
    Program { need: Need::Guests, name: "depmod", paths: &[], packages: &["kmod"] },
    Program { need: Need::Guests, name: "xz", paths: &[], packages: &["xz-utils"] },
    Program { need: Need::FileSystems, name: "mkfs.ext4", paths: &[], packages: &["e2fsprogs"] },
    Program { need: Need::FileSystems, name: "mkfs.btrfs", paths: &[], packages: &["btrfs-progs"] },
    Program { need: Need::FileSystems, name: "mkfs.xfs", paths: &[], packages: &["xfsprogs"] },
    Program { need: Need::Mail, name: "debootstrap", paths: &[], packages: &["debootstrap"] },
    Program { need: Need::Mail, name: "unshare", paths: &[], packages: &["util-linux"] },
    Program { need: Need::Mail, name: "swaks", paths: &[], packages: &["swaks"] },
    Program { need: Need::Mail, name: "openssl", paths: &[], packages: &["openssl"] },
    Program { need: Need::Containers, name: "podman", paths: &[], packages: &["podman"] },
    Program { need: Need::Containers, name: "runc", paths: &["/usr/sbin/runc"], packages: &["runc"] },
    Program { need: Need::Containers, name: "newuidmap", paths: &[], packages: &["uidmap"] },
    Program { need: Need::Containers, name: "dockerd", paths: &["/usr/sbin/dockerd"], packages: &["docker.io"] },
    Program { need: Need::Containers, name: "containerd", paths: &[], packages: &["containerd"] },
    Program { need: Need::Containers, name: "ctr", paths: &[], packages: &["containerd"] },
    Program { need: Need::Containers, name: "lxc-execute", paths: &[], packages: &["lxc"] },
    Program { need: Need::Containers, name: "useradd", paths: &["/usr/sbin/useradd"], packages: &["passwd"] },
    Program { need: Need::Containers, name: "pkill", paths: &[], packages: &["procps"] },
    Program { need: Need::Containers, name: "busybox", paths: &[], packages: &["busybox-static"] },
    Program { need: Need::Browser, name: "chromium", paths: &[], packages: &["chromium"] },
    Program { need: Need::Demonstration, name: "openssl", paths: &[], packages: &["openssl"] },
];

/// Where Debian puts `virtiofsd`, which is on nobody's `PATH`: the one in Rust (trixie), the one in C (bookworm).
const VIRTIOFSD: &[&str] = &["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"];

/// Installs everything, one line a thing.
pub(crate) fn main(_: &Arguments) -> Result<ExitCode> {
    install(&ALL, &mut |line| println!("{line}"))?;
    Ok(ExitCode::SUCCESS)
}

/// Makes sure of what `needs` name; says a line only for what it had to install.
pub(crate) fn require(needs: &[Need]) -> Result<()> {
    install(needs, &mut |line| {
        if !line.starts_with(OK) {
            println!("{line}");
        }
    })
}

const OK: &str = "ok";

fn install(needs: &[Need], say: &mut dyn FnMut(&str)) -> Result<()> {
    let toolchain = Toolchain::pinned()?;
    if needs.contains(&Need::Build) {
        toolchain.component("rust-src", "lib/rustlib/src/rust/library/core/Cargo.toml", say)?;
    }
    if needs.contains(&Need::Lint) {
        toolchain.component("clippy", "bin/cargo-clippy", say)?;
        toolchain.component("rustfmt", "bin/cargo-fmt", say)?;
    }
    programs(needs, say)?;
    // After the packages: it is compiled, and needs the C linker.
    if needs.contains(&Need::Build) {
        bpf_linker(say)?;
    }
    Ok(())
}

/// The compiler that `rust-toolchain.toml` names.
struct Toolchain {
    channel: String,
    sysroot: PathBuf,
}

impl Toolchain {
    fn pinned() -> Result<Self> {
        let path = workspace::root().join("rust-toolchain.toml");
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let channel = channel(&text).with_context(|| format!("{} names no toolchain.channel", path.display()))?;
        // Straight to the pinned compiler where rustup says which one runs us; else through rustup's proxy.
        let mut rustc = Command::new("rustc");
        rustc.args(["--print", "sysroot"]).current_dir(workspace::root());
        let sysroot = capture(&mut rustc)
            .with_context(|| format!("the compiler {channel} is missing: run `rustup toolchain install {channel}`"))?;
        let sysroot =
            PathBuf::from(String::from_utf8(sysroot).context("the compiler's folder is not UTF-8")?.trim_end());
        Ok(Self { channel, sysroot })
    }

    /// A component is there when one of its files is; asking rustup would take longer than all the rest.
    fn component(&self, name: &str, file: &str, say: &mut dyn FnMut(&str)) -> Result<()> {
        if self.sysroot.join(file).exists() {
            say(&format!("{OK}         {name} of Rust {}", self.channel));
            return Ok(());
        }
        command::run(Command::new("rustup").args(["component", "add", "--toolchain", &self.channel, name]))
            .with_context(|| format!("cannot add {name} to the toolchain {}", self.channel))?;
        say(&format!("installed  {name} of Rust {}", self.channel));
        Ok(())
    }
}

fn channel(toolchain: &str) -> Option<String> {
    let table: toml::Table = toolchain.parse().ok()?;
    Some(table.get("toolchain")?.get("channel")?.as_str()?.to_owned())
}

fn bpf_linker(say: &mut dyn FnMut(&str)) -> Result<()> {
    let root = workspace::target().join("tools");
    let ours = root.join("bin/bpf-linker");
    if linker_version(&ours).as_deref() == Some(BPF_LINKER) {
        say(&format!("{OK}         bpf-linker {BPF_LINKER}"));
        return Ok(());
    }
    // Who has it need not compile it once more. A link to it, as what builds the kernel side looks in one place.
    if let Some(theirs) = find("bpf-linker").filter(|theirs| linker_version(theirs).as_deref() == Some(BPF_LINKER)) {
        command::folder(&root.join("bin"))?;
        // What lies there is of another version, or leads nowhere.
        let _ = fs::remove_file(&ours);
        symlink(&theirs, &ours).with_context(|| format!("cannot link {} to {}", ours.display(), theirs.display()))?;
        say(&format!("{OK}         bpf-linker {BPF_LINKER}, {}", theirs.display()));
        return Ok(());
    }
    say(&format!("installing bpf-linker {BPF_LINKER} into {} (one to four minutes)", root.display()));
    let mut cargo = command::cargo(["install", "bpf-linker", "--version", BPF_LINKER, "--locked", "--force", "--root"]);
    // In a folder of its own, so that an interrupted installation goes on where it was.
    let build = root.join("build");
    cargo.arg(&root).arg("--target-dir").arg(&build);
    // Most of its work is LLVM's, which comes with the compiler: optimising the rest takes longer than it ever saves.
    cargo.env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1").env("CARGO_PROFILE_RELEASE_LTO", "off");
    cargo.env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16").env("CARGO_PROFILE_RELEASE_DEBUG", "none");
    command::run(&mut cargo).context("cannot install bpf-linker, which builds the kernel side")?;
    // A third of a gigabyte; should it stay, it only takes room.
    let _ = fs::remove_dir_all(build);
    say(&format!("installed  bpf-linker {BPF_LINKER}"));
    Ok(())
}

/// The version that is installed: what the program itself says, as cargo's own record may be of a build that was copied.
fn linker_version(program: &Path) -> Option<String> {
    let output = capture(Command::new(program).arg("--version")).ok()?;
    let text = String::from_utf8(output).ok()?;
    text.split_whitespace().nth(1).map(str::to_owned)
}

fn programs(needs: &[Need], say: &mut dyn FnMut(&str)) -> Result<()> {
    let wanted = PROGRAMS.iter().filter(|program| needs.contains(&program.need));
    let (here, missing): (Vec<_>, Vec<_>) = wanted.partition(|program| program.place().is_some());
    for program in here {
        say(&format!("{OK}         {}", program.name));
    }
    if missing.is_empty() {
        return Ok(());
    }
    let names = missing.iter().map(|program| program.name).collect::<Vec<_>>().join(", ");
    if find("apt-get").is_none() {
        bail!(
            "{names}: not installed, and there is no apt-get to install them with; install them by this system's own means"
        );
    }
    if !is_root() {
        let packages =
            missing.iter().filter_map(|program| program.packages.last().copied()).collect::<Vec<_>>().join(" ");
        bail!(
            "{names}: not installed; run `cargo xtask setup` as root, or: apt-get install --no-install-recommends {packages}"
        );
    }
    capture(apt_get().args(["-qq", "update"]))?;
    let packages = missing.iter().map(|program| program.package()).collect::<Result<Vec<_>>>()?;
    capture(apt_get().args(["-qq", "install", "-y", "--no-install-recommends"]).args(&packages))?;
    for program in missing {
        if program.place().is_none() {
            bail!("{} is still missing after its package was installed: install it by hand", program.name);
        }
        say(&format!("installed  {}", program.name));
    }
    Ok(())
}

fn apt_get() -> Command {
    let mut apt = Command::new("apt-get");
    apt.env("DEBIAN_FRONTEND", "noninteractive");
    apt
}

impl Program {
    fn place(&self) -> Option<PathBuf> {
        self.paths.iter().map(PathBuf::from).find(|path| path.exists()).or_else(|| find(self.name))
    }

    fn package(&self) -> Result<&'static str> {
        let known = |package: &&&str| {
            capture(Command::new("apt-cache").args(["show", "--no-all-versions", package]))
                .is_ok_and(|text| !text.is_empty())
        };
        self.packages.iter().find(known).copied().with_context(|| {
            format!("this system's archive has no package {} for {}", self.packages.join(" or "), self.name)
        })
    }
}

/// Where `virtiofsd` lies, and whether it is the older one, in C, whose options differ.
pub(crate) fn virtiofsd() -> Result<(PathBuf, bool)> {
    let older = |path: &Path| path.starts_with("/usr/lib/qemu");
    VIRTIOFSD
        .iter()
        .map(PathBuf::from)
        .find(|path| path.exists())
        .or_else(|| find("virtiofsd"))
        .map(|path| (path.clone(), older(&path)))
        .context("`virtiofsd` is not installed: run `cargo xtask setup`")
}

/// The machine's architecture as Debian names it; kernels are booted for this one only, as the guest runs the host's programs.
pub(crate) fn debian_architecture() -> Result<&'static str> {
    match env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        other => bail!("guests run this machine's own programs, and only x86-64 is set up for that, not {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_pinned_channel_is_read_from_the_toolchain_file() {
        let file = workspace::root().join("rust-toolchain.toml");
        let text = fs::read_to_string(file).expect("the workspace pins its toolchain");
        assert_eq!(channel(&text).as_deref(), Some("1.95.0"));
        assert_eq!(channel("[toolchain]\n"), None);
    }

    #[test]
    fn every_need_is_part_of_the_whole() {
        for program in PROGRAMS {
            assert!(ALL.contains(&program.need), "{} would never be installed", program.name);
            assert!(!program.packages.is_empty(), "{} comes from nowhere", program.name);
        }
    }

    #[test]
    fn a_linker_that_is_not_there_has_no_version() {
        assert_eq!(linker_version(Path::new("/nonexistent")), None);
    }
}
