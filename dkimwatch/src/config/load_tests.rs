//! What the file says becomes settings, or an error with its place and its remedy.

use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;
use crate::config::{PUBLIC, profiles};

/// A host with the signers' users, and a folder for configurations.
struct Lab {
    root: tempfile::TempDir,
}

impl Lab {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("etc")).unwrap();
        let users = ["root", "opendkim", "_rspamd", "Debian-exim", "_dkimsign", "dkimpy-milter"];
        let passwd: String =
            (0..).zip(users).map(|(uid, name)| format!("{name}:x:{uid}:{uid}::/:/bin/false\n")).collect();
        fs::write(root.path().join("etc/passwd"), passwd).unwrap();
        Self { root }
    }

    fn host(&self) -> Host {
        Host::at(self.root.path())
    }

    fn path(&self) -> PathBuf {
        self.root.path().join("dkimwatch.toml")
    }

    fn load(&self, text: impl AsRef<[u8]>) -> Result<Loaded, ConfigError> {
        fs::write(self.path(), text).unwrap();
        fs::set_permissions(self.path(), fs::Permissions::from_mode(0o644)).unwrap();
        load(Some(&self.path()), &self.host())
    }

    /// The error's text without the folder of this test.
    fn error(&self, text: impl AsRef<[u8]>) -> String {
        self.load(text).unwrap_err().to_string().replace(self.root.path().to_str().unwrap(), "")
    }
}

#[test]
fn absent_means_the_defaults_unless_it_was_named() {
    let lab = Lab::new();
    let loaded = load(None, &lab.host()).unwrap();
    assert_eq!(loaded.file, None);
    assert!(loaded.settings.keys.discover);
    assert_eq!(loaded.settings.keys.public, PUBLIC);
    assert_eq!(loaded.settings.signers, profiles(&lab.host()));
    let error = load(Some(&lab.path()), &lab.host()).unwrap_err();
    assert!(matches!(*error.fault, Fault::Missing), "{error}");
    assert!(error.to_string().contains("dkimwatch.toml: there is no such file"), "{error}");
}

#[test]
fn every_key_arrives() {
    let lab = Lab::new();
    fs::create_dir_all(lab.root.path().join("srv/keys")).unwrap();
    let loaded = lab
        .load(
            r#"
            [keys]
            discover = false
            paths = ["/srv/keys", "/srv/*/none"]
            public = []
            [[signer]]
            name = "opendkim"
            executable = "/opt/opendkim"
            script = "/opt/s"
            users = ["opendkim", 7, "8"]
            units = ["mail@a\\x2db.service"]
            containers = ["0123456789ab"]
            keys = ["/srv/keys"]
            [[maintenance]]
            name = "backup"
            executable = "/usr/bin/borg"
            "#,
        )
        .unwrap();
    let settings = loaded.settings;
    assert!(!settings.keys.discover);
    assert_eq!(settings.keys.paths, ["/srv/keys", "/srv/*/none"].map(PathBuf::from));
    assert_eq!(settings.keys.public, [""; 0]);
    let signer = settings.signers.first().unwrap();
    assert_eq!(signer.users, ["opendkim", "7", "8"]);
    assert_eq!(signer.units, ["mail@a\\x2db.service"]);
    assert_eq!(
        (signer.executable.to_str(), signer.script.as_deref()),
        (Some("/opt/opendkim"), Some(Path::new("/opt/s")))
    );
    assert_eq!((signer.containers.len(), signer.keys.len(), signer.built_in), (1, 1, false));
    assert_eq!(settings.signers.iter().filter(|signer| signer.name == "opendkim").count(), 1, "replaced");
    assert_eq!(settings.signers.len(), 5);
    assert_eq!(settings.maintenance.len(), 1);
    let notes: Vec<_> = loaded.notes.iter().map(|note| note.place.as_str()).collect();
    assert_eq!(
        notes,
        ["keys.paths \"/srv/*/none\"", "signer.script \"/opt/s\"", "maintenance.executable \"/usr/bin/borg\""]
    );
}

#[test]
fn an_error_names_file_line_key_value_and_remedy() {
    let lab = Lab::new();
    let signer = |rest: &str| format!("[[signer]]\nname = \"x\"\nexecutable = \"/x\"\n{rest}\n");
    let long = format!("/{}", "x".repeat(300));
    for (text, expected) in [
        (
            "[keys]\ndiscovery = true\n".to_owned(),
            "/dkimwatch.toml:2: keys: unknown key `discovery`; did you mean `discover`?",
        ),
        ("\n[key]\n".into(), "/dkimwatch.toml:2: unknown key `key`; did you mean `keys`?"),
        (
            "[[signer]]\nzzz = 1\n".into(),
            "/dkimwatch.toml:2: signer: unknown key `zzz`; known here: name, executable, script, users, units, containers, images, keys",
        ),
        (
            "[keys]\n\ndiscover = \"yes\"\n".into(),
            "/dkimwatch.toml:3: keys.discover: invalid type: string \"yes\", expected a boolean; write it as in the example of dkimwatch.toml",
        ),
        (
            "[keys]\npaths = [\n  7,\n]\n".into(),
            "/dkimwatch.toml:3: keys.paths: invalid type: integer `7`, expected a string; write it as in the example of dkimwatch.toml",
        ),
        (
            "[keys]\npaths = [\"/srv/absent\"]\n".into(),
            "/dkimwatch.toml:2: keys.paths: \"/srv/absent\" does not exist; create it, correct the path, or remove the entry",
        ),
        (
            "[keys]\npaths = [\"srv/keys\"]\n".into(),
            "/dkimwatch.toml:2: keys.paths: \"srv/keys\" is not an absolute path; begin it with /",
        ),
        (
            "[keys]\npaths = [\"/srv/[a\"]\n".into(),
            "/dkimwatch.toml:2: keys.paths: \"/srv/[a\" is not a glob: unclosed character class; missing ']'; see globs in dkimwatch.toml, and write a literal [ as [[]",
        ),
        ("[keys]\npublic = [\"{a\"]\n".into(), "/dkimwatch.toml:2: keys.public: \"{a\" is not a glob: "),
        (
            "[keys]\npublic = [\"/a/*.txt\"]\n".into(),
            "/dkimwatch.toml:2: keys.public: \"/a/*.txt\" holds a `/`, but is matched against the file's own name; leave the folder out",
        ),
        (
            signer("script = \"run\""),
            "/dkimwatch.toml:4: signer.script: \"run\" is not an absolute path; begin it with /",
        ),
        (
            signer("users = [\"opendkin\"]"),
            "/dkimwatch.toml:4: signer.users: there is no user \"opendkin\" in /etc/passwd (did you mean \"opendkim\"?); correct the name, or give the uid as a number",
        ),
        (
            signer("users = [-1]"),
            "/dkimwatch.toml:4: signer.users: invalid value: integer `-1`, expected a user name or a uid (0 to 4294967294); write it as in the example of dkimwatch.toml",
        ),
        (
            signer("units = [\"opendkim\"]"),
            "/dkimwatch.toml:4: signer.units: \"opendkim\" is not a systemd unit name; write it in full, for instance \"opendkim.service\"",
        ),
        (signer("containers = [\"abc\"]"), "/dkimwatch.toml:4: signer.containers: \"abc\" is not a container id"),
        (
            signer("images = [\"mail 1\"]"),
            "/dkimwatch.toml:4: signer.images: \"mail 1\" is no image; write name, name:tag, name@sha256:… or sha256:… with all of its 64 digits",
        ),
        (
            signer("images = [\"sha256:12ab\"]"),
            "/dkimwatch.toml:4: signer.images: \"sha256:12ab\" is no image; write name, name:tag,",
        ),
        (
            signer("images = [\"mail:1\"]\nscript = \"/s\""),
            "/dkimwatch.toml:5: signer.script: a script is not looked up in containers",
        ),
        (
            "[containers]\nstores = [\"docker\"]\n".to_owned(),
            "/dkimwatch.toml:2: containers.stores: \"docker\" is not an absolute path; begin it with /",
        ),
        (
            "[containers.sockets]\ndocker = \"unix:///run/docker.sock\"\n".to_owned(),
            "/dkimwatch.toml:2: containers.sockets.docker: \"unix:///run/docker.sock\" is not an absolute path; begin it with /",
        ),
        (
            "[containers.sockets]\n\ncri = \"/etc\"\n".to_owned(),
            "/dkimwatch.toml:3: containers.sockets.cri: \"/etc\" is no socket; correct the path",
        ),
        (
            "[containers.sockets]\ncontainer = \"/x\"\n".to_owned(),
            "/dkimwatch.toml:2: containers.sockets: unknown key `container`; did you mean `containerd`?",
        ),
        (
            signer("keys = [\"/k/*\"]"),
            "/dkimwatch.toml:4: signer.keys: \"/k/*\" does not exist, and a glob cannot stand here; name the file or its folder",
        ),
        (signer(&format!("keys = [\"{long}\"]")), "/dkimwatch.toml:4: signer.keys: \"/xxx"),
        (
            signer(&format!("script = \"/{}\"", "s/".repeat(64))),
            "is longer than the 127 bytes that are kept of a script's path; correct the path",
        ),
        (
            signer("keys = [\"/a\\u0000b\"]"),
            "/dkimwatch.toml:4: signer.keys: \"/a\\x00b\" holds a NUL byte; correct the path",
        ),
        (
            format!("{}{}", signer(""), signer("")),
            "/dkimwatch.toml:5: signer.name: \"x\" is the name of the entry in line 1 already; give each entry a name of its own",
        ),
        (
            "[[signer]]\nexecutable = \"/x\"\n".into(),
            "/dkimwatch.toml:1: signer: `name` is missing; add it: name = \"opendkim\"",
        ),
        (
            "[[maintenance]]\nname = \"x\"\n".into(),
            "/dkimwatch.toml:1: maintenance: `executable` is missing; add it: executable = \"/usr/sbin/opendkim\"",
        ),
        (
            "[[signer]]\nname = \" \"\nexecutable = \"/x\"\n".into(),
            "/dkimwatch.toml:2: signer.name: \" \" cannot be a name: it is empty; use a short word such as \"opendkim\"",
        ),
        ("[keys]\ndiscover = true\ndiscover = true\n".into(), "/dkimwatch.toml:3: keys.discover: duplicate key"),
        ("[keys\n".into(), "/dkimwatch.toml:1: "),
    ] {
        let error = lab.error(&text);
        assert!(error.contains(expected), "for\n{text}\ngot      {error}\nexpected {expected}");
    }
    let error = lab.error(b"# \xff\n");
    assert!(error.contains("/dkimwatch.toml: byte 2 is not UTF-8"), "{error}");
    let error = lab.error(vec![b'#'; 2 << 20]);
    assert!(error.contains("is longer than 1048576 bytes"), "{error}");
}

#[test]
fn what_others_can_write_is_refused() {
    let lab = Lab::new();
    lab.load("").unwrap();
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let ask = || load(Some(&lab.path()), &lab.host()).map_err(|error| error.to_string());
    mode(&lab.path(), 0o646);
    let error = ask().unwrap_err();
    assert!(
        error.contains("this file may be written by everybody (mode 0646)") && error.contains("chmod go-w "),
        "{error}"
    );
    mode(&lab.path(), 0o664);
    assert!(ask().unwrap_err().contains("this file may be written by its group"));
    mode(&lab.path(), 0o644);
    mode(lab.root.path(), 0o770);
    assert!(ask().unwrap_err().contains("its folder "));
    mode(lab.root.path(), 0o1777);
    assert!(ask().is_ok(), "a sticky folder protects a file in it");
    // A link in a folder that others can write could be pointed elsewhere by them.
    let open = lab.root.path().join("open");
    fs::create_dir(&open).unwrap();
    mode(&open, 0o777);
    std::os::unix::fs::symlink(lab.path(), open.join("link.toml")).unwrap();
    let error = load(Some(&open.join("link.toml")), &lab.host()).unwrap_err().to_string();
    assert!(error.contains("/open may be written by everybody"), "{error}");
}

#[test]
fn a_folder_and_a_fifo_are_refused_without_waiting() {
    let lab = Lab::new();
    let error = load(Some(lab.root.path()), &lab.host()).unwrap_err();
    assert!(
        error.to_string().contains("is a folder, not a regular file; name the configuration file itself"),
        "{error}"
    );
    let fifo = lab.root.path().join("fifo");
    rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    assert!(matches!(*load(Some(&fifo), &lab.host()).unwrap_err().fault, Fault::NotRegular("a FIFO")));
}

const EXAMPLE: &str = include_str!("../../../packaging/dkimwatch.toml");

/// The example with the lines that begin with `mark` uncommented.
fn uncommented(marks: &[&str]) -> String {
    let line = |line: &str| {
        let text =
            marks.iter().find_map(|mark| line.strip_prefix(mark)).filter(|text| !text.starts_with([' ', '|', '#']));
        format!("{}\n", text.unwrap_or(line))
    };
    EXAMPLE.lines().map(line).collect()
}

#[test]
fn the_shipped_example_says_the_defaults() {
    let lab = Lab::new();
    let defaults = load(None, &lab.host()).unwrap().settings;
    assert_eq!(lab.load(EXAMPLE).unwrap().settings, defaults, "as shipped");
    let mut written_out = lab.load(uncommented(&["#"])).unwrap().settings;
    assert!(written_out.signers.iter().all(|signer| !signer.built_in), "every profile stands in the example");
    written_out.signers.iter_mut().for_each(|signer| signer.built_in = true);
    assert_eq!(written_out, defaults, "with every default uncommented");
}

#[test]
fn the_shipped_example_shows_every_key_and_its_examples_are_right() {
    let lab = Lab::new();
    for folder in ["srv/mail/keys", "etc/dkimkeys"] {
        fs::create_dir_all(lab.root.path().join(folder)).unwrap();
    }
    // The default that an example line replaces must go.
    let text = uncommented(&["#| ", "#"]).replace("paths = []\n", "");
    let settings = lab.load(&text).unwrap().settings;
    assert_eq!(settings.keys.paths.len(), 2);
    assert_eq!(settings.maintenance.len(), 1);
    assert_eq!(settings.containers.sockets.docker.as_deref(), Some(Path::new("/run/docker.sock")));
    let contained = settings.signers.iter().find(|signer| !signer.images.is_empty()).unwrap();
    assert_eq!(contained.users, ["opendkim", "root"], "as the container has them");
    // serde tells what keys there are.
    for (table, wrong) in [
        ("keys", "[keys]\nzzz = 1"),
        ("containers", "[containers]\nzzz = 1"),
        ("containers.sockets", "[containers.sockets]\nzzz = 1"),
        ("signer", "[[signer]]\nzzz = 1"),
        ("maintenance", "[[maintenance]]\nzzz = 1"),
    ] {
        let Fault::UnknownKey { known, .. } = *lab.load(wrong).unwrap_err().fault else { panic!("{table}") };
        assert!(known.len() >= 2);
        for key in known {
            let (value, table_of_its_own) = (format!("{key} = "), format!("[{table}.{key}]"));
            assert!(
                text.lines().any(|line| line.starts_with(&value) || line == table_of_its_own),
                "{table}.{key} is not in the example"
            );
        }
    }
}

mod any_text {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn is_a_configuration_or_an_error_with_its_place(
            words in proptest::collection::vec(
                prop_oneof![
                    Just("[keys]\n".to_owned()), Just("[[signer]]\n".to_owned()), Just("name = ".to_owned()), Just("\"/a\"".to_owned()),
                    Just("paths = [".to_owned()), Just("]\n".to_owned()), Just("\n".to_owned()), "\\PC{0,6}",
                ],
                0..20,
            ),
        ) {
            let lab = Lab::new();
            if let Err(error) = lab.load(words.concat()) {
                let path = lab.path();
                prop_assert!(error.to_string().starts_with(path.to_str().unwrap()));
            }
        }
    }
}
