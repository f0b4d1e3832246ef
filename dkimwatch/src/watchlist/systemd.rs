//! Does systemd put each service of this host into a cgroup of its unit's name?

use std::path::Path;

/// Whether systemd runs the host at `root` (sd_booted(3)) and manages the unified hierarchy, the one whose names a record
/// carries. On cgroup v1 its units are in a hierarchy of their own (`1:name=systemd:`), every process is in the root of
/// the unified one, and no unit can be known.
pub(super) fn names_cgroups(root: &Path) -> bool {
    root.join("run/systemd/system").is_dir()
        && std::fs::read_to_string(root.join("proc/1/cgroup")).is_ok_and(|text| in_init_scope(&text))
}

/// systemd moves itself into `init.scope` of the hierarchy that it manages (systemd.special(7)).
fn in_init_scope(cgroups: &str) -> bool {
    cgroups.lines().any(|line| line == "0::/init.scope")
}

#[cfg(test)]
mod tests {
    use super::names_cgroups;
    use std::fs;

    #[test]
    fn only_systemd_on_the_unified_hierarchy_names_cgroups() {
        // Unified; hybrid, where systemd keeps its tree in both; legacy; another init.
        for (cgroups, expected) in [
            ("0::/init.scope\n", true),
            ("12:pids:/init.scope\n1:name=systemd:/init.scope\n0::/init.scope\n", true),
            ("12:pids:/init.scope\n1:name=systemd:/init.scope\n", false),
            ("1:name=systemd:/init.scope\n0::/\n", false),
            ("0::/\n", false),
            ("", false),
        ] {
            let root = tempfile::tempdir().unwrap();
            fs::create_dir_all(root.path().join("proc/1")).unwrap();
            fs::write(root.path().join("proc/1/cgroup"), cgroups).unwrap();
            assert!(!names_cgroups(root.path()), "without systemd: {cgroups:?}");
            fs::create_dir_all(root.path().join("run/systemd/system")).unwrap();
            assert_eq!(names_cgroups(root.path()), expected, "{cgroups:?}");
        }
        assert!(!names_cgroups(tempfile::tempdir().unwrap().path()));
    }
}
