//! A reader of files that disguises itself first: `stranger [--root DIR] [--name NAME] [--gid N] [--uid N] FILE`, or, with
//! `--each` in place of the file, of every file that is named on a line of its standard input.
//!
//! In that order: enters the root, renames itself (`PR_SET_NAME`), gives up its groups, becomes the user (all of real,
//! effective and saved), and reads the file. Exit code 0 when it got at least one byte, 1 when it was refused or could not
//! do what it was told.

use std::{
    env,
    ffi::{CString, OsStr},
    fs::File,
    io::{BufRead as _, Read as _, stdin},
    os::unix::ffi::OsStrExt as _,
    path::Path,
    process::ExitCode,
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::{
    process::{Gid, Uid, chroot},
    thread::{set_name, set_thread_groups, set_thread_res_gid, set_thread_res_uid},
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        // The test that started it looks at the exit code; nobody reads what it could say.
        Err(_) => ExitCode::FAILURE,
    }
}

fn run() -> Result<()> {
    let mut arguments = env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next().with_context(|| format!("{} needs a value", argument.display()))?;
            value.into_string().map_err(|value| anyhow::anyhow!("not UTF-8: {}", value.display()))
        };
        match argument.to_str() {
            Some("--root") => {
                chroot(value()?.as_str()).context("chroot")?;
                env::set_current_dir("/")?;
            }
            Some("--name") => set_name(&CString::new(value()?)?).context("PR_SET_NAME")?,
            // This process has one thread, so what is set for the thread is set for the process.
            Some("--gid") => {
                let gid = Gid::from_raw(value()?.parse()?);
                set_thread_groups(&[]).context("setgroups")?;
                set_thread_res_gid(gid, gid, gid).context("setresgid")?;
            }
            Some("--uid") => {
                let uid = Uid::from_raw(value()?.parse()?);
                set_thread_res_uid(uid, uid, uid).context("setresuid")?;
            }
            Some("--each") => {
                for line in stdin().lock().split(b'\n') {
                    read(Path::new(OsStr::from_bytes(&line?)))?;
                }
                return Ok(());
            }
            _ => return read(Path::new(&argument)),
        }
    }
    bail!("no file was named")
}

fn read(path: &Path) -> Result<()> {
    let mut first = [0];
    let read = File::open(path)?.read(&mut first)?;
    ensure!(read == 1, "{} is empty", path.display());
    Ok(())
}
