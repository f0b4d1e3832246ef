//! Running host commands: an error holds what the command said.

use std::{
    fs::File,
    io::{self, Read as _, Seek as _},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// Runs it to its end and returns its standard output.
///
/// # Errors
/// It could not be started, or it failed: the message holds the end of its output.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    // Files, not pipes: a daemon keeps what it was given, and a pipe would not end before it does.
    let (mut stdout, mut stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
    let status = command
        .stdin(Stdio::null())
        .stdout(stdout.try_clone()?)
        .stderr(stderr.try_clone()?)
        .status()
        .with_context(|| format!("starting {shown}"))?;
    let stdout = written(&mut stdout)?;
    if status.success() {
        return Ok(stdout);
    }
    let stderr = written(&mut stderr)?;
    let said: Vec<&str> = stdout.lines().chain(stderr.lines()).collect();
    let end = said.get(said.len().saturating_sub(30)..).unwrap_or_default().join("\n");
    bail!("{shown}: {status}\n{end}")
}

fn written(file: &mut File) -> Result<String> {
    let mut bytes = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The host programs that these tests need, with Debian's package for each.
const PROGRAMS: [(&str, &str); 7] = [
    ("debootstrap", "debootstrap"),
    ("ip", "iproute2"),
    ("mount", "mount"),
    ("unshare", "util-linux"),
    ("nsenter", "util-linux"),
    ("chroot", "coreutils"),
    ("cp", "coreutils"),
];

/// Fails with the packages to install when a program is absent, and without root.
///
/// # Errors
/// As said.
pub(crate) fn require_host_programs() -> Result<()> {
    if !rustix::process::geteuid().is_root() {
        bail!("the mail tests make Debian roots and namespaces: run them as root");
    }
    let mut packages = Vec::new();
    for (program, package) in PROGRAMS {
        match Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => packages.push(package),
            // Whatever else it says, it is there.
            _ => {}
        }
    }
    packages.dedup();
    if !packages.is_empty() {
        let packages = packages.join(" ");
        bail!("absent host packages: {packages}. Run `cargo xtask setup`, or `apt-get install {packages}`");
    }
    Ok(())
}
