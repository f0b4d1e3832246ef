//! What a living process has mapped and was started with, from `/proc`: for one whose mappings were not recorded from its
//! program's start, as it is older than the watch.

use std::{
    fs,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::Path,
};

use dkimwatch_common::exec::mark;
use procfs::process::{MMPermissions, MMapPath, Process};

use super::{code::Mapped, processes::is_the_one};

/// Bytes of an environment that are read.
const LONGEST: u64 = 1 << 20;

/// What `/proc` shows of a process, its program left out; `None` when it is gone.
pub(super) fn of(pid: u32, start_ns: u64) -> Option<(Vec<Mapped>, u32)> {
    let process = Process::new(i32::try_from(pid).ok()?).ok().filter(|process| is_the_one(process, start_ns))?;
    let program = fs::metadata(format!("/proc/{pid}/exe")).ok().map(|file| (file.dev(), file.ino()));
    let mut files = Vec::new();
    for map in process.maps().ok()? {
        let MMapPath::Path(path) = &map.pathname else { continue };
        if !map.perms.contains(MMPermissions::EXECUTE) {
            continue;
        }
        // The file itself, whatever its path means by now (proc(5)).
        let link = format!("/proc/{pid}/map_files/{:x}-{:x}", map.address.0, map.address.1);
        let Ok(file) = fs::metadata(link) else { continue };
        if Some((file.dev(), file.ino())) != program {
            files.push(mapped(path, &file));
        }
    }
    let variables = variables(&environment(pid)?);
    // It may have ended meanwhile, and another have its pid.
    is_the_one(&process, start_ns).then_some((files, variables))
}

fn mapped(path: &Path, file: &fs::Metadata) -> Mapped {
    let path = path.as_os_str().as_bytes();
    let path = path.strip_suffix(b" (deleted)").unwrap_or(path).to_vec();
    Mapped { path, uid: file.uid(), mode: file.mode(), nameless: file.nlink() == 0, at_home: None, unowned: None }
}

fn environment(pid: u32) -> Option<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(format!("/proc/{pid}/environ")).ok()?.take(LONGEST).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// As the kernel side marks them.
fn variables(environment: &[u8]) -> u32 {
    const NAMES: [(&[u8], u32); 10] = [
        (b"LD_PRELOAD", mark::PRELOAD),
        (b"LD_AUDIT", mark::AUDIT),
        (b"LD_LIBRARY_PATH", mark::LIBRARY_PATH),
        (b"PYTHONPATH", mark::PYTHON),
        (b"PYTHONHOME", mark::PYTHON),
        (b"PYTHONUSERBASE", mark::PYTHON),
        (b"PYTHONPYCACHEPREFIX", mark::PYTHON),
        (b"PERL5LIB", mark::PERL),
        (b"PERLLIB", mark::PERL),
        (b"PERL5OPT", mark::PERL),
    ];
    // With versions behind them: `LUA_PATH_5_4`.
    const BEGINNINGS: [&[u8]; 3] = [b"LUA_PATH", b"LUA_CPATH", b"LUA_INIT"];
    let mut marks = 0;
    for variable in environment.split(|byte| *byte == 0) {
        let mut parts = variable.splitn(2, |byte| *byte == b'=');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
        if value.is_empty() {
            continue;
        }
        marks |= NAMES.iter().filter(|(known, _)| *known == name).map(|(_, mark)| mark).sum::<u32>();
        if BEGINNINGS.iter().any(|beginning| name.starts_with(beginning)) {
            marks |= mark::LUA;
        }
    }
    marks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_are_known_by_their_whole_names_and_only_with_a_value() {
        assert_eq!(variables(b"LD_PRELOAD=/tmp/x.so\0PATH=/bin\0"), mark::PRELOAD);
        assert_eq!(variables(b"LD_PRELOAD=\0XLD_AUDIT=1\0LD_AUDITS=1\0PYTHONUNBUFFERED=1\0"), 0);
        assert_eq!(variables(b"LUA_PATH_5_4=?.lua\0PERL5OPT=-Mx\0"), mark::LUA | mark::PERL);
        assert_eq!(variables(b""), 0);
    }

    #[test]
    fn this_process_has_the_c_library_and_not_itself() {
        let me = Process::myself().unwrap();
        let start = me.stat().unwrap().starttime * super::super::processes::NS_PER_TICK;
        let (files, _) = of(std::process::id(), start).expect("it lives, and root may look at its maps");
        assert!(files.iter().any(|file| file.path.windows(8).any(|name| name == b"/libc.so")), "{files:?}");
        let exe = std::env::current_exe().unwrap();
        assert!(!files.iter().any(|file| file.path == exe.as_os_str().as_bytes()), "{files:?}");
        assert!(of(std::process::id(), start + 10 * super::super::processes::NS_PER_TICK).is_none());
    }
}
