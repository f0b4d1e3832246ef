//! No path of the machine on which the project was written: it would mean nothing on any other.

use std::path::Path;

use super::{Finding, Source};

/// Folders of persons. (`/root` is every mail host's.)
const HOMES: [&str; 2] = ["/home/", "/Users/"];

/// Names of persons that manuals use.
const EXAMPLES: [&str; 5] = ["alice", "bob", "mallory", "user", "USER"];

pub(super) fn check(source: &Source, root: &Path) -> Vec<Finding> {
    let root = root.to_string_lossy();
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(source.text.lines()) {
        // The root folder of a container can be the workspace's; its `/` is no sign of anything.
        if root.len() > 4 && line.contains(&*root) {
            findings.push(
                source
                    .finding(number, "this names the workspace's folder on this machine: say it relative to the root"),
            );
        }
        for home in HOMES {
            for (_, rest) in line.match_indices(home).filter_map(|(at, _)| Some((at, line.get(at + home.len()..)?))) {
                let person: String = rest.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
                if !person.is_empty() && !EXAMPLES.contains(&person.as_str()) {
                    findings.push(source.finding(number, format!("{home}{person} is somebody's own folder")));
                }
            }
        }
    }
    findings
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn the_workspace_and_homes_are_not_named() {
        // In pieces, so that this file does not break the rule that it tests.
        let (root, home) = ("/srv/build".to_owned() + "/dkim", "/home/".to_owned() + "somebody");
        let text = format!("a {root}/x\n/home/alice/mail\n{home}/y\n/home/*\n");
        let source = Source { path: PathBuf::from("a.md"), text };
        let lines: Vec<_> = check(&source, Path::new(&root)).iter().map(|finding| finding.line).collect();
        assert_eq!(lines, [1, 3]);
    }
}
