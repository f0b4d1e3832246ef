//! Rules for `Cargo.toml`: one table of lints and one of dependencies, for all crates.

use toml::{Table, Value};

use super::{Finding, Source};

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let Ok(manifest) = source.text.parse::<Table>() else {
        return vec![source.finding(0, "this is not TOML")];
    };
    if !manifest.contains_key("package") {
        return Vec::new();
    }
    let mut findings = Vec::new();
    if !from_workspace(manifest.get("lints")) {
        findings.push(source.finding(0, "it has lints of its own: write `[lints]` and `workspace = true`"));
    }
    for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
        let Some(Value::Table(dependencies)) = manifest.get(kind) else { continue };
        for (name, value) in dependencies {
            if !from_workspace(Some(value)) {
                findings.push(
                    source.finding(0, format!("{name} has a version of its own: put it in [workspace.dependencies]")),
                );
            }
        }
    }
    findings
}

fn from_workspace(value: Option<&Value>) -> bool {
    value.and_then(|value| value.get("workspace")).and_then(Value::as_bool) == Some(true)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn a_crate_takes_lints_and_versions_from_the_workspace() {
        let check = |text: &str| check(&Source { path: PathBuf::from("a/Cargo.toml"), text: text.to_owned() }).len();
        assert_eq!(check("[package]\nname='a'\n[lints]\nworkspace=true\n[dependencies]\nb.workspace=true\n"), 0);
        assert_eq!(check("[package]\nname='a'\n[dependencies]\nb='1'\n"), 2);
        assert_eq!(check("[workspace]\n"), 0);
    }
}
