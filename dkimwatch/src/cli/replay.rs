//! `dkimwatch replay`: runs stories and compares them with what is expected. Needs no privilege and no kernel support.

use std::{
    io::{self, Write},
    path::PathBuf,
};

use crate::{exit::Outcome, replay::Story};

/// Run recorded accesses through decode, attribute, judge and print, and compare with the expected lines
#[derive(Clone, clap::Args, Debug)]
pub struct ReplayArgs {
    /// Story folders: record.json, and policy.json and host.json there or in the folder above
    #[arg(required = true, value_name = "STORY-FOLDER")]
    pub folders: Vec<PathBuf>,
    /// Write what comes out as the new expectation, instead of comparing
    #[arg(long)]
    pub bless: bool,
}

/// Runs the command: quiet when all stories come out as expected, findings when one does not.
///
/// # Errors
/// The output is closed. A story that cannot be run is named on the output, and counts as wrong usage.
pub fn run(args: &ReplayArgs) -> anyhow::Result<Outcome> {
    run_on(args, &mut io::stdout().lock())
}

fn run_on(args: &ReplayArgs, out: &mut impl Write) -> anyhow::Result<Outcome> {
    let (mut outcome, mut broken) = (Outcome::Quiet, false);
    for folder in &args.folders {
        let name = crate::escape::text(std::os::unix::ffi::OsStrExt::as_bytes(folder.as_os_str()));
        let result = Story::load(folder).and_then(|story| {
            let told = story.tell()?;
            if args.bless {
                story.bless(&told)?;
                return Ok(Vec::new());
            }
            story.compare(&told)
        });
        match result {
            Ok(differences) if differences.is_empty() => {
                writeln!(out, "{}  {name}", if args.bless { "blessed" } else { "as expected" })?;
            }
            Ok(differences) => {
                outcome = Outcome::Findings;
                writeln!(out, "different    {name}")?;
                for difference in differences {
                    writeln!(out, "  {}:{}", difference.file.display(), difference.line)?;
                    writeln!(out, "    expected  {}", difference.expected)?;
                    writeln!(out, "    found     {}", difference.found)?;
                }
            }
            Err(error) => {
                broken = true;
                writeln!(out, "not run      {name}: {error}")?;
            }
        }
    }
    Ok(if broken { Outcome::Usage } else { outcome })
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::{ReplayArgs, run_on};
    use crate::exit::Outcome;

    fn replay(folder: &Path, bless: bool) -> (Outcome, String) {
        let mut out = Vec::new();
        let args = ReplayArgs { folders: vec![folder.to_owned()], bless };
        let outcome = run_on(&args, &mut out).expect("a Vec takes everything");
        (outcome, String::from_utf8(out).expect("UTF-8"))
    }

    #[test]
    fn a_changed_expectation_is_a_finding_and_a_missing_story_is_wrong_usage() {
        let stories = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/stories");
        let copy = std::env::temp_dir().join(format!("dkimwatch-replay-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&copy);
        let story = copy.join("story");
        std::fs::create_dir_all(&story).expect("a folder");
        for name in ["policy.json", "host.json"] {
            std::fs::copy(stories.join(name), copy.join(name)).expect("copied");
        }
        for entry in std::fs::read_dir(stories.join("nobody-cats-the-key")).expect("the story is there") {
            let entry = entry.expect("listed");
            std::fs::copy(entry.path(), story.join(entry.file_name())).expect("copied");
        }
        assert_eq!(replay(&story, false).0, Outcome::Quiet);

        let expected = story.join("expected.txt");
        let text = std::fs::read_to_string(&expected).expect("read");
        std::fs::write(&expected, text.replace("STRANGER", "expected")).expect("written");
        let (outcome, said) = replay(&story, false);
        assert_eq!(outcome, Outcome::Findings);
        assert!(said.contains("expected.txt:1"), "{said}");

        assert_eq!(replay(&story, true).0, Outcome::Quiet);
        assert_eq!(std::fs::read_to_string(&expected).expect("read"), text, "blessing restores it");

        let (outcome, said) = replay(&copy.join("nowhere"), false);
        assert_eq!(outcome, Outcome::Usage);
        assert!(said.contains("record.json"), "{said}");
        std::fs::remove_dir_all(copy).expect("removed");
    }
}
