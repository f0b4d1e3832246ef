//! Stock Debian kernels: which there are, fetched once, ready to boot.
//!
//! A series is pinned (`6.1`), its point version is found in the archive when it is fetched: old ones leave the archive.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};

use crate::{
    command::{self, capture},
    setup::{self, Need},
    workspace,
};

mod archive;
mod sources;

pub(crate) use archive::unpack_from_system;
use archive::{Client, Package};

/// Which kernels to fetch.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Series such as `6.1`, or `newest`; without any, those that can be had are listed
    names: Vec<String>,
}

/// A kernel, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Kernel {
    /// As `uname -r` prints it.
    pub(crate) release: String,
    /// The image that boots.
    pub(crate) image: PathBuf,
    /// Its modules, with `modules.dep`.
    pub(crate) modules: PathBuf,
}

/// A name and the suites that may carry its kernels.
struct Series {
    name: &'static str,
    suites: &'static [&'static str],
    about: &'static str,
}

/// The kernels of mail hosts: Debian's releases, the one between, and whatever is newest.
const SERIES: [Series; 5] = [
    Series {
        name: "5.10",
        suites: &["bullseye", "bullseye-security"],
        about: "bullseye: `bpf` is not in its LSM list",
    },
    Series { name: "6.1", suites: &["bookworm", "bookworm-security"], about: "bookworm" },
    Series { name: "6.12", suites: &["trixie", "trixie-security"], about: "trixie" },
    Series { name: "6.18", suites: &["trixie-backports"], about: "trixie's backports" },
    Series { name: NEWEST, suites: &["trixie-backports", "sid"], about: "the newest to be had" },
];

const NEWEST: &str = "newest";

/// How long a found point version stands before the archive is asked again.
const FRESH: Duration = Duration::from_secs(7 * 24 * 3600);

/// Fetches the kernels that are named.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    if arguments.names.is_empty() {
        for series in SERIES {
            let here = Found::read(series.name).map_or("not fetched yet".to_owned(), |found| found.release);
            println!("{:8} {:40} {here}", series.name, series.about);
        }
        return Ok(ExitCode::SUCCESS);
    }
    for name in &arguments.names {
        let kernel = obtain(name)?;
        println!("{name}: {} at {}", kernel.release, kernel.image.display());
    }
    Ok(ExitCode::SUCCESS)
}

/// What was found last for a series.
#[derive(Deserialize, Serialize)]
struct Found {
    release: String,
    when: SystemTime,
}

impl Found {
    fn path(series: &str) -> PathBuf {
        folder().join(format!("{series}.json"))
    }

    fn read(series: &str) -> Option<Self> {
        serde_json::from_slice(&fs::read(Self::path(series)).ok()?).ok()
    }
}

fn folder() -> PathBuf {
    workspace::target().join("kernels")
}

/// The kernel of a series, fetched when it is not here, or when what is here is a week old and the archive has a later
/// one. An archive that cannot be reached is no obstacle while a kernel is here.
pub(crate) fn obtain(name: &str) -> Result<Kernel> {
    let series = SERIES.iter().find(|series| series.name == name).with_context(|| {
        let names = SERIES.map(|series| series.name).join(", ");
        format!("no kernel series is called `{name}`; there are {names}")
    })?;
    setup::require(&[Need::Guests])?;
    command::folder(&folder())?;
    // Two guests of one series may start at once.
    let lock = fs::File::create(folder().join("lock")).context("cannot make the lock of the kernels")?;
    lock.lock().context("cannot lock the folder of the kernels")?;
    let before = Found::read(name).and_then(|found| Some((locate(&found.release).ok()?, found.when)));
    if let Some((kernel, when)) = &before
        && when.elapsed().is_ok_and(|age| age < FRESH)
    {
        return Ok(kernel.clone());
    }
    match (fetch(series), before) {
        (Ok(kernel), _) => Ok(kernel),
        (Err(error), Some((kernel, _))) => {
            println!("the archive was not asked for a later {name} ({error:#}); {} it is", kernel.release);
            Ok(kernel)
        }
        (Err(error), None) => Err(error.context(format!("no kernel {name} to boot"))),
    }
}

fn fetch(series: &Series) -> Result<Kernel> {
    let architecture = setup::debian_architecture()?;
    let client = Client::new(&folder().join("apt").join(series.name), series.suites, architecture)?;
    client.update()?;
    // `-cloud` is the flavour with the drivers of virtual machines only; `-unsigned` and `-dbg` end otherwise.
    let flavour = format!("-cloud-{architecture}");
    let packages = client.packages(|name| name.starts_with("linux-") && name.ends_with(&flavour))?;
    let choice = choose(series.name, &flavour, &packages)
        .with_context(|| format!("{} has no kernel {}", series.suites.join(", "), series.name))?;
    let release = choice.release.to_owned();
    if locate(&release).is_err() {
        println!("fetching Linux {release}");
        let unpacked = folder().join(format!("{release}.unpacking"));
        let _ = fs::remove_dir_all(&unpacked);
        client.unpack(&choice.packages, &unpacked)?;
        prepare(&unpacked, &release)?;
        let place = folder().join(&release);
        let _ = fs::remove_dir_all(&place);
        fs::rename(&unpacked, &place).with_context(|| format!("cannot move the kernel to {}", place.display()))?;
    }
    let kernel = locate(&release)?;
    let found = Found { release, when: SystemTime::now() };
    fs::write(Found::path(series.name), serde_json::to_vec(&found)?).context("cannot note which kernel was found")?;
    Ok(kernel)
}

struct Choice<'a> {
    release: &'a str,
    packages: Vec<&'a Package>,
}

/// The latest kernel of a series, with the packages that hold its parts: one until 6.18, three and an empty one from 6.19.
fn choose<'a>(series: &str, flavour: &str, packages: &'a [Package]) -> Option<Choice<'a>> {
    let release = |package: &'a Package| {
        let release = package.name.strip_prefix("linux-image-")?;
        // `linux-image-cloud-amd64` names no version: it only depends on the latest.
        release.starts_with(|c: char| c.is_ascii_digit() && release.len() > flavour.len()).then_some(release)
    };
    let of_series = |package: &Package| {
        series == NEWEST || package.version.strip_prefix(series).is_some_and(|rest| rest.starts_with('.'))
    };
    let image = packages
        .iter()
        .filter(|package| release(package).is_some() && of_series(package))
        .max_by_key(|package| numbers(&package.version))?;
    let parts = ["linux-base-", "linux-binary-", "linux-modules-"];
    let needed = image.depends.split([',', '|']).filter_map(|dependency| {
        let name = dependency.split_whitespace().next()?;
        if !parts.iter().any(|part| name.starts_with(part)) {
            return None;
        }
        packages.iter().find(|package| package.name == name && package.version == image.version)
    });
    Some(Choice { release: release(image)?, packages: std::iter::once(image).chain(needed).collect() })
}

/// A version's numbers in their order, which is order enough among the kernels of one distribution.
fn numbers(version: &str) -> Vec<u64> {
    version.split(|c: char| !c.is_ascii_digit()).filter_map(|run| run.parse().ok()).collect()
}

/// Gives an unpacked kernel what `modprobe` needs: `lib` in its place, and `modules.dep`.
fn prepare(root: &Path, release: &str) -> Result<()> {
    let lib = root.join("lib");
    if !lib.exists() {
        std::os::unix::fs::symlink("usr/lib", &lib).context("cannot link lib to usr/lib")?;
    }
    capture(Command::new(command::require("depmod")?).arg("-b").arg(root).arg(release))?;
    Ok(())
}

fn locate(release: &str) -> Result<Kernel> {
    let root = folder().join(release);
    let modules = root.join("lib/modules").join(release);
    let images = [root.join(format!("boot/vmlinuz-{release}")), modules.join("vmlinuz")];
    match images.into_iter().find(|path| path.exists()) {
        Some(image) if modules.join("modules.dep").exists() => {
            Ok(Kernel { release: release.to_owned(), image, modules })
        }
        _ => bail!("Linux {release} is not unpacked below {}", folder().display()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn package(name: &str, version: &str, depends: &str) -> Package {
        Package { name: name.to_owned(), version: version.to_owned(), depends: depends.to_owned() }
    }

    #[test]
    fn the_latest_point_version_of_the_series_is_chosen() {
        let packages = [
            package("linux-image-cloud-amd64", "6.1.200-1", "linux-image-6.1.0-56-cloud-amd64"),
            package("linux-image-6.1.0-9-cloud-amd64", "6.1.27-1", "kmod, linux-base"),
            package("linux-image-6.1.0-56-cloud-amd64", "6.1.192-2", "kmod, linux-base"),
            package("linux-image-6.12.9-cloud-amd64", "6.12.9-1", "kmod"),
        ];
        let choice = choose("6.1", "-cloud-amd64", &packages).expect("there is a 6.1");
        assert_eq!(choice.release, "6.1.0-56-cloud-amd64");
        assert_eq!(choice.packages.len(), 1);
        assert_eq!(choose(NEWEST, "-cloud-amd64", &packages).expect("there is one").release, "6.12.9-cloud-amd64");
        assert!(choose("5.10", "-cloud-amd64", &packages).is_none());
    }

    #[test]
    fn a_kernel_in_parts_brings_its_parts_of_the_same_version() {
        let depends = "dracut | initramfs-tools (>= 0.120), linux-base-7.2.1+x-cloud-amd64 (= 7.2.1-1), \
                       linux-binary-7.2.1+x-cloud-amd64 (= 7.2.1-1), linux-modules-7.2.1+x-cloud-amd64 (= 7.2.1-1)";
        let packages = [
            package("linux-base-7.2.1+x-cloud-amd64", "7.2.1-1", ""),
            package("linux-binary-7.2.1+x-cloud-amd64", "7.2.1-1", ""),
            package("linux-modules-7.2.1+x-cloud-amd64", "7.2.1-1~bpo13+1", ""),
            package("linux-modules-7.2.1+x-cloud-amd64", "7.2.1-1", ""),
            package("linux-image-7.2.1+x-cloud-amd64", "7.2.1-1", depends),
        ];
        let choice = choose(NEWEST, "-cloud-amd64", &packages).expect("there is one");
        let names: Vec<_> = choice.packages.iter().map(|package| package.name.as_str()).collect();
        assert_eq!(names.len(), 4, "{names:?}");
        assert!(choice.packages.iter().all(|package| package.version == "7.2.1-1"));
    }

    #[test]
    fn versions_are_ordered_by_their_numbers() {
        assert!(numbers("6.1.192-2") > numbers("6.1.27-1"));
        assert!(numbers("6.12.115-2") > numbers("6.12.115-1"));
        assert!(numbers("7.3.4-1~bpo13+1") > numbers("7.2.13-1"));
    }
}
