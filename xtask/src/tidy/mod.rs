//! `tidy`: the rules of this house that neither the compiler nor clippy knows.

use std::{
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context as _, Result};

use crate::{command::capture, workspace};

mod events;
mod manifests;
mod markdown;
mod paths;
mod rust;

/// What `tidy` is asked.
#[derive(clap::Args)]
pub(crate) struct Arguments {}

/// A place where a rule is broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// The file, from the workspace's root.
    file: PathBuf,
    /// Its line, from 1; 0: the file as a whole.
    line: usize,
    /// What is wrong, and what to do.
    text: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(out, "{}: {}", self.file.display(), self.text),
            line => write!(out, "{}:{line}: {}", self.file.display(), self.text),
        }
    }
}

/// A file of the workspace.
struct Source {
    /// From the workspace's root.
    path: PathBuf,
    text: String,
}

impl Source {
    fn finding(&self, line: usize, text: impl Into<String>) -> Finding {
        Finding { file: self.path.clone(), line, text: text.into() }
    }

    fn has_extension(&self, extension: &str) -> bool {
        self.path.extension().is_some_and(|own| own == extension)
    }
}

/// Prints every broken rule.
pub(crate) fn main(_: &Arguments) -> Result<ExitCode> {
    let findings = findings()?;
    for finding in &findings {
        println!("{finding}");
    }
    match findings.len() {
        0 => Ok(ExitCode::SUCCESS),
        count => {
            println!("{count} rules broken");
            Ok(ExitCode::FAILURE)
        }
    }
}

/// Every broken rule of the workspace.
pub(crate) fn findings() -> Result<Vec<Finding>> {
    let root = workspace::root();
    let sources = sources(root)?;
    let mut findings = events::check(&sources);
    for source in &sources {
        if source.has_extension("rs") {
            findings.extend(rust::check(source));
        }
        if source.has_extension("md") {
            findings.extend(markdown::check(source, root));
        }
        if source.path.ends_with("Cargo.toml") {
            findings.extend(manifests::check(source));
        }
        findings.extend(paths::check(source, root));
    }
    Ok(findings)
}

/// The files that are part of the project, those about to be added among them. Binary ones are left out.
fn sources(root: &Path) -> Result<Vec<Source>> {
    let mut git = Command::new("git");
    git.args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]).current_dir(root);
    let listing = capture(&mut git).context("tidy looks at the files that git knows")?;
    let mut sources = Vec::new();
    for name in String::from_utf8_lossy(&listing).split_terminator('\0') {
        // A file that was deleted and not yet committed is listed as well.
        let Ok(bytes) = fs::read(root.join(name)) else { continue };
        if let Ok(text) = String::from_utf8(bytes) {
            sources.push(Source { path: PathBuf::from(name), text });
        }
    }
    Ok(sources)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rules_look_at_this_very_file() {
        let here = Path::new("xtask/src/tidy/mod.rs");
        assert!(sources(workspace::root()).expect("git knows the files").iter().any(|source| source.path == here));
    }
}
