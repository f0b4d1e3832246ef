//! Discovery over hosts made of files: what each signer's configuration names, and what hostile files do (nothing).

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use super::*;
use crate::{
    config::{KeySettings, Settings},
    containers::Stores,
    host::{RunAs, ToolError, Tools, path_of},
};

/// A host below a temporary root.
struct Lab {
    root: tempfile::TempDir,
    answers: Answers,
    paths: Vec<PathBuf>,
}

/// The signers' tools, as a table of command lines and answers.
#[derive(Clone, Default)]
struct Answers(HashMap<String, Vec<u8>>);

impl Tools for Answers {
    fn run(&self, program: &Path, args: &[&str], _: Option<RunAs>) -> Result<Vec<u8>, ToolError> {
        let line = format!("{} {}", program.display(), args.join(" "));
        self.0.get(&line).cloned().ok_or(ToolError::Late(std::time::Duration::from_secs(10)))
    }
}

impl Lab {
    fn new() -> Self {
        Self { root: tempfile::tempdir().unwrap(), answers: Answers::default(), paths: Vec::new() }
    }

    fn file(self, path: impl AsRef<[u8]>, content: impl AsRef<[u8]>) -> Self {
        let path = self.root.path().join(path_of(path.as_ref()).strip_prefix("/").unwrap());
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
        self
    }

    /// Empty files at these paths.
    fn keys(self, paths: &[&str]) -> Self {
        paths.iter().fold(self, |lab, path| lab.file(path, ""))
    }

    fn answer(mut self, line: &str, output: impl AsRef<[u8]>) -> Self {
        let program = line.split(' ').next().unwrap().to_owned();
        self.answers.0.insert(line.to_owned(), output.as_ref().to_vec());
        self.file(program, "")
    }

    fn path(mut self, path: &str) -> Self {
        self.paths.push(path.into());
        self
    }

    fn host(&self) -> Host {
        Host::at(self.root.path()).with_tools(self.answers.clone())
    }

    fn found(&self) -> Inventory {
        let keys = KeySettings { discover: true, paths: self.paths.clone(), public: Vec::new() };
        discover(
            &Settings {
                keys,
                signers: Vec::new(),
                maintenance: Vec::new(),
                containers: Stores::default(),
                journal: crate::config::JournalSettings::default(),
            },
            &self.host(),
        )
    }
}

/// `path domain selector signer` of each key.
fn keys(inventory: &Inventory) -> Vec<String> {
    let dash = |text: &Option<String>| text.clone().unwrap_or_else(|| "-".into());
    let key = |key: &Key| {
        format!(
            "{} {} {} {}",
            crate::escape::path(&key.path),
            dash(&key.domain),
            dash(&key.selector),
            dash(&key.signer)
        )
    };
    inventory.keys.iter().map(key).collect()
}

fn folders(inventory: &Inventory) -> Vec<String> {
    inventory.folders.iter().map(|folder| folder.path.display().to_string()).collect()
}

fn notes(inventory: &Inventory) -> Vec<String> {
    inventory.notes.iter().map(|note| format!("{}: {}", note.place, note.text)).collect()
}

fn noted(inventory: &Inventory, words: &str) -> bool {
    notes(inventory).iter().any(|note| note.contains(words))
}

#[test]
fn an_empty_host_has_nothing_to_say() {
    assert_eq!(Lab::new().found(), Inventory::default());
}

#[test]
fn opendkim_with_one_key() {
    let lab = Lab::new()
        .file("/etc/opendkim.conf", "Syslog yes\nInclude /etc/opendkim/more.conf # here\nBaseDirectory /srv/keys\n")
        .file("/etc/opendkim/more.conf", "keyfile\t./s1.private#x\nDOMAIN Example.org, b.org\nSelector s1\nSelector\n")
        .keys(&["/srv/keys/s1.private"]);
    let inventory = lab.found();
    assert_eq!(keys(&inventory), ["/srv/keys/s1.private example.org s1 opendkim"]);
    assert_eq!(inventory.keys[0].found_in, "/etc/opendkim/more.conf:1");
    assert_eq!(notes(&inventory), ["/etc/opendkim/more.conf:1: /srv/keys/s1.private signs for b.org as well"]);
    assert_eq!(folders(&inventory), [""; 0]);
}

#[test]
fn opendkim_with_a_key_table() {
    let lab = Lab::new()
        .file(
            "/etc/opendkim.conf",
            "KeyFile /etc/dkimkeys/old.private\nKeyTable refile:/etc/dkimkeys/KeyTable\nSigningTable refile:/etc/dkimkeys/SigningTable.key\n",
        )
        .file(
            b"/etc/dkimkeys/KeyTable",
            b"# comment\nk1 a.org:s1:/etc/dkimkeys/a.private\nk2 b.org:s2:/etc/dkimkeys/\xff.private # c\n\
              k3 %:mail:/etc/dkimkeys/%/mail.private\nk4 c.org:s3:/etc/dkimkeys/missing.private\nk5 broken\nk6\n\
              k7 d.org:s1:/etc/dkimkeys/a.private\n",
        )
        .file("/etc/dkimkeys/SigningTable.key", "*@a.org k1\n")
        .file("/etc/dkimkeys/README.PrivateKeys", "read me\n")
        .file(b"/etc/dkimkeys/\xff.private", "")
        .keys(&["/etc/dkimkeys/a.private", "/etc/dkimkeys/x.org/mail.private", "/etc/dkimkeys/y.org/mail.private", "/etc/dkimkeys/y.org/mail.txt"]);
    let inventory = lab.found();
    assert_eq!(
        keys(&inventory),
        [
            "/etc/dkimkeys/a.private a.org s1 opendkim",
            "/etc/dkimkeys/missing.private c.org s3 opendkim",
            "/etc/dkimkeys/x.org/mail.private x.org mail opendkim",
            "/etc/dkimkeys/y.org/mail.private y.org mail opendkim",
            "/etc/dkimkeys/\\xff.private b.org s2 opendkim",
        ]
    );
    assert_eq!(folders(&inventory), ["/etc/dkimkeys"]);
    assert!(noted(
        &inventory,
        "/etc/dkimkeys/KeyTable:5: the key /etc/dkimkeys/missing.private does not exist; its folder is watched"
    ));
    assert!(noted(&inventory, "/etc/dkimkeys/KeyTable:6: is not domain:selector:key"));
    assert!(noted(&inventory, "/etc/opendkim.conf:1: KeyFile is ignored by opendkim"));
    assert!(noted(&inventory, "/etc/dkimkeys/a.private signs for d.org as well"));
    assert_eq!(inventory.notes.len(), 4, "{:#?}", inventory.notes);
}

#[test]
fn a_table_with_keys_in_it_is_a_key() {
    let conf = "KeyTable csl:k1=a.org:s1:MIIEvQIBADANBg,k2=b.org:s2:/k/b.private\n";
    let lab = Lab::new().file("/etc/opendkim.conf", conf).keys(&["/k/b.private"]);
    let inventory = lab.found();
    assert_eq!(keys(&inventory), ["/etc/opendkim.conf a.org s1 opendkim", "/k/b.private b.org s2 opendkim"]);
    assert!(noted(&inventory, "/etc/opendkim.conf:1: holds the key itself"));
    assert!(!notes(&inventory).concat().contains("MIIEvQ"), "no byte of a key is repeated");

    let lab = Lab::new()
        .file("/etc/opendkim.conf", "KeyTable /etc/dkimkeys/KeyTable\n")
        .file("/etc/dkimkeys/KeyTable", "k1 a.org:s1:MIIEvQIBADANBg\n");
    let inventory = lab.found();
    assert_eq!(keys(&inventory), ["/etc/dkimkeys/KeyTable a.org s1 opendkim"]);
    assert_eq!(folders(&inventory), ["/etc/dkimkeys"]);
}

#[test]
fn key_tables_that_cannot_be_listed_are_noted() {
    for (value, word) in
        [("dsn:mysql://x", "an SQL database"), ("lua:/x.lua", "a Lua program"), ("ldap://x", "an LDAP directory")]
    {
        let inventory = Lab::new().file("/etc/opendkim.conf", format!("KeyTable {value}")).found();
        assert!(noted(
            &inventory,
            &format!("the key table is in {word} and cannot be listed; name the keys or their folder in keys.paths")
        ));
    }
}

#[test]
fn opendkim_as_a_unit_would_start_it() {
    let lab = Lab::new()
        .file(
            "/lib/systemd/system/opendkim@.service",
            "[Service]\nExecStart=/usr/sbin/opendkim -x /srv/three.conf -dx.org\n",
        )
        .file("/lib/systemd/system/dkimpy-milter.service", "ExecStart=/usr/bin/dkimpy-milter /srv/py.conf -P /run/x\n")
        .file("/srv/three.conf", "KeyFile /k/three.private\nSelector three\n")
        .file("/srv/py.conf", "KeyFile /k/py.key\nSelector py\nDomain y.org\n")
        .keys(&["/k/three.private", "/k/py.key"]);
    let inventory = lab.found();
    assert_eq!(keys(&inventory), ["/k/py.key y.org py dkimpy-milter", "/k/three.private x.org three opendkim"]);
    assert_eq!(notes(&inventory), [""; 0]);
}

#[test]
fn a_key_that_a_second_signer_takes_for_a_table_stays_unread() {
    let lab = Lab::new()
        .file("/etc/opendkim.conf", "KeyFile /k/plain\nDomain a.org\nSelector s\n")
        .file("/etc/dkimpy-milter/dkimpy-milter.conf", "KeyTable /k/plain\n")
        .file("/k/plain", "k b.org:s:/k/b.private\n");
    let inventory = lab.found();
    assert_eq!(keys(&inventory), ["/k/plain a.org s opendkim"]);
    assert!(noted(&inventory, "/k/plain is a key by other configuration, and keys are never read"));
}

#[test]
fn opendkim_as_it_runs() {
    let me = rustix::process::geteuid().as_raw();
    let lab = Lab::new()
        .file("/etc/passwd", format!("opendkim:x:{me}:{me}::/:/bin/false\n"))
        .file("/usr/sbin/opendkim", "")
        .file("/srv/two.conf", "KeyFile /k/two.private\nSelector two\n")
        .file("/proc/7/cmdline", "opendkim\0-fx\0/srv/two.conf\0-dd.org\0")
        .file("/proc/8/cmdline", "opendkim\0-k\0/k/three.private\0-s\0three\0-d\0e.org\0")
        .keys(&["/k/two.private", "/k/three.private"]);
    for pid in ["7", "8"] {
        symlink("/usr/sbin/opendkim", lab.root.path().join("proc").join(pid).join("exe")).unwrap();
        symlink(lab.root.path(), lab.root.path().join("proc").join(pid).join("root")).unwrap();
    }
    let contained = lab.root.path().join("proc/9");
    fs::create_dir(&contained).unwrap();
    symlink("/usr/sbin/opendkim", contained.join("exe")).unwrap();
    symlink(lab.root.path().join("k"), contained.join("root")).unwrap();
    let inventory = lab.found();
    assert_eq!(keys(&inventory), ["/k/three.private e.org three opendkim", "/k/two.private d.org two opendkim"]);
    assert_eq!(inventory.keys[0].found_in, "command line of opendkim (pid 8)");
    assert_eq!(inventory.notes.len(), 1, "{:#?}", inventory.notes);
    assert!(noted(&inventory, "opendkim (pid 9): sees other files than this host's"));
}

const DKIM: &str = "/usr/bin/rspamadm configdump -j dkim_signing";
const ARC: &str = "/usr/bin/rspamadm configdump -j arc";

#[test]
fn rspamd_with_its_defaults() {
    let lab = Lab::new()
        .answer(DKIM, r#"{"selector": "dkim", "use_redis": false}"#)
        .answer(ARC, r#"{"selector": "arc"}"#)
        .keys(&[
            "/var/lib/rspamd/dkim/mail.a.org.dkim.key",
            "/var/lib/rspamd/dkim/mail.a.org.dkim.txt",
            "/var/lib/rspamd/dkim/b.org.2024.key",
        ]);
    let inventory = lab.found();
    assert_eq!(
        keys(&inventory),
        [
            "/var/lib/rspamd/dkim/b.org.2024.key b.org 2024 rspamd",
            "/var/lib/rspamd/dkim/mail.a.org.dkim.key mail.a.org dkim rspamd"
        ]
    );
    assert_eq!(inventory.keys[0].found_in, "rspamadm configdump dkim_signing");
    assert_eq!(folders(&inventory), ["/var/lib/rspamd/dkim"]);
    assert_eq!(notes(&inventory), [""; 0]);
}

#[test]
fn rspamd_with_domains_selectors_and_maps() {
    let section = r#"{
        "path": "/k/$domain/$selector.key", "selector": "s0",
        "domain": {
            "a.org": {"path": "/k/a.pem", "selector": "sa"},
            "b.org": {"selectors": [{"path": "/k/b1.pem", "selector": "b1"}, {"path": "/k/b2.pem", "selector": "b2"}]},
            "c.org": {"selector": "sc"},
            "d.org": [{"path": "/k/d1.pem", "selector": "d1"}, {"path": "/k/d2.pem", "selector": "d2"}]
        },
        "selector_map": "/etc/rspamd/selectors.map",
        "path_map": ["file:///etc/rspamd/paths.map"],
        "key_table": "/etc/rspamd/keys.map",
        "signing_table": "https://example.org/x",
        "use_redis": true
    }"#;
    let lab = Lab::new()
        .answer(DKIM, section)
        .answer(ARC, r#"{"enabled": false, "path": "/k/none"}"#)
        .file("/etc/rspamd/selectors.map", "e.org se # c\n\n")
        .file("/etc/rspamd/paths.map", "e.org /k/e.$selector.pem\nf.org /k/f.pem\n")
        .file("/etc/rspamd/keys.map", "g %:sg:/k/g.pem\n")
        .keys(&[
            "/k/a.pem",
            "/k/b1.pem",
            "/k/b2.pem",
            "/k/c.org/sc.key",
            "/k/d1.pem",
            "/k/d2.pem",
            "/k/e.se.pem",
            "/k/f.pem",
            "/k/g.pem",
            "/k/z.org/s0.key",
        ]);
    let inventory = lab.found();
    assert_eq!(
        keys(&inventory),
        [
            "/k/a.pem a.org sa rspamd",
            "/k/b1.pem b.org b1 rspamd",
            "/k/b2.pem b.org b2 rspamd",
            "/k/c.org/sc.key c.org sc rspamd",
            "/k/d1.pem d.org d1 rspamd",
            "/k/d2.pem d.org d2 rspamd",
            "/k/e.se.pem e.org se rspamd",
            "/k/f.pem f.org s0 rspamd",
            "/k/g.pem - sg rspamd",
            "/k/z.org/s0.key z.org s0 rspamd",
        ]
    );
    assert!(noted(&inventory, "keys lie in Redis"));
    assert!(noted(&inventory, "signing_table is at https://example.org/x, which is not asked"));
}

#[test]
fn rspamd_without_an_answer_leaves_the_default_folders() {
    let lab = Lab::new().file("/usr/bin/rspamadm", "").keys(&["/var/lib/rspamd/arc/a.org.arc.key"]);
    let inventory = lab.found();
    assert_eq!(keys(&inventory), ["/var/lib/rspamd/arc/a.org.arc.key a.org arc rspamd"]);
    assert!(noted(
        &inventory,
        "rspamadm configdump arc: did not end within 10s and was killed; only rspamd's default folders"
    ));
    let lab = Lab::new().answer(DKIM, "\u{0}[").answer(ARC, "[1]");
    assert!(noted(&lab.found(), "did not print a JSON object"));
    let lab = Lab::new().answer(DKIM, r#"{"path": "keys/k.pem"}"#).answer(ARC, r#"{"path": "/k\u0000.pem"}"#);
    let inventory = lab.found();
    assert_eq!(keys(&inventory), [""; 0]);
    assert!(noted(&inventory, "configdump dkim_signing: names its key by keys/k.pem, which is not an absolute path"));
    assert!(noted(&inventory, "configdump arc: names its key by /k\\x00.pem, which is not an absolute path"));
}

const EXIM: &str = "/usr/sbin/exim4 -bP transports";

#[test]
fn exim_with_paths_of_every_sort() {
    let output = "\nremote_smtp transport:\ndkim_domain = ${lc:${domain:$h_from:}}\n\
        dkim_private_key = ${if exists{/k/${dkim_domain}.${dkim_selector}.key}{/k/${dkim_domain}.${dkim_selector}.key}{0}}\n\
        dkim_selector = sel\ndriver = smtp\n\
        other transport:\ndkim_domain = o.org\ndkim_private_key = /o/o.pem\ndkim_selector = s1 : s2\n\
        looked_up transport:\ndkim_private_key = ${lookup{$dkim_domain}lsearch{/etc/exim4/dkim.table}{$value}{}}\n\
        folder transport:\ndkim_private_key = ${lookup{$dkim_domain.pem}dsearch,ret=full{/f}}\n\
        quiet transport:\ndkim_private_key = 0\n";
    let lab = Lab::new()
        .answer(EXIM, output)
        .file("/etc/exim4/dkim.table", "# t\nt.org: /t/t.pem\nu.org\t: /t/u.pem\n")
        .keys(&["/k/a.org.sel.key", "/k/b.org.other.key", "/o/o.pem", "/t/t.pem", "/t/u.pem", "/f/f.pem"]);
    let inventory = lab.found();
    assert_eq!(
        keys(&inventory),
        [
            "/f/f.pem - - exim",
            "/k/a.org.sel.key a.org sel exim",
            "/o/o.pem o.org - exim",
            "/t/t.pem t.org - exim",
            "/t/u.pem u.org - exim",
        ]
    );
    assert_eq!(inventory.keys[1].found_in, "/usr/sbin/exim4 -bP transport remote_smtp");
    assert_eq!(folders(&inventory), ["/f"]);
}

#[test]
fn exim_with_the_key_in_its_configuration() {
    let lab = Lab::new()
        .answer(EXIM, "r transport:\ndkim_domain = a.org\ndkim_selector = s\ndkim_private_key = -----BEGIN PRIVATE KEY-----\\nMIIE\n")
        .answer("/usr/sbin/exim4 -bP configure_file", "/var/lib/exim4/config.autogenerated\n")
        .file("/var/lib/exim4/config.autogenerated", "");
    let inventory = lab.found();
    assert_eq!(keys(&inventory), ["/var/lib/exim4/config.autogenerated a.org s exim"]);
    assert!(!notes(&inventory).concat().contains("MIIE"));
}

#[test]
fn opensmtpd_with_macros_includes_and_continuations() {
    let lab = Lab::new()
        .file("/etc/smtpd.conf", "key = \"/k/o.private\"\ninclude \"/etc/mail/more.conf\"\nlisten on lo\n")
        .file(
            "/etc/mail/more.conf",
            "filter dkim proc-exec \\\n  \"filter-dkimsign -a rsa-sha256 -d a.org -db.org -s sel -k $key\" user _dkimsign group _dkimsign\n\
             filter \"x\" proc-exec \"/usr/libexec/other -k /no\"\nfilter broken\nproc p \"filter-dkimsign -d c.org -s t -k /k/c.pem\"\n",
        )
        .keys(&["/k/o.private"]);
    let inventory = lab.found();
    assert_eq!(
        keys(&inventory),
        ["/k/c.pem c.org t opensmtpd-filter-dkimsign", "/k/o.private a.org sel opensmtpd-filter-dkimsign"]
    );
    assert_eq!(inventory.keys[1].found_in, "/etc/mail/more.conf:1");
    assert!(noted(&inventory, "/k/o.private signs for b.org as well"));
}

#[test]
fn dkimpy_with_both_sorts_of_key() {
    let lab = Lab::new()
        .file(
            "/etc/dkimpy-milter/dkimpy-milter.conf",
            "Domain a.org\nKeyFile /k/rsa.key\nSelector r\nKeyFileEd25519 /k/ed.key\nSelectorEd25519 e\nKeyTable /k/KeyTable\n",
        )
        .file("/k/KeyTable", "k b.org:t:/k/table.key\n")
        .keys(&["/k/rsa.key", "/k/ed.key", "/k/table.key"]);
    assert_eq!(
        keys(&lab.found()),
        ["/k/ed.key a.org e dkimpy-milter", "/k/rsa.key a.org r dkimpy-milter", "/k/table.key b.org t dkimpy-milter"]
    );
}

#[test]
fn amavis_with_plain_calls() {
    let lab =
        Lab::new().file("/etc/amavis/conf.d/50-user", "dkim_key('a.org', 's', '/k/a.pem');\n").keys(&["/k/a.pem"]);
    assert_eq!(keys(&lab.found()), ["/k/a.pem a.org s amavis"]);
}

#[test]
fn well_known_folders_hold_keys_by_name() {
    let lab = Lab::new().keys(&[
        "/etc/opendkim/keys/a.org/s1.private",
        "/etc/opendkim/keys/a.org/s1.txt",
        "/etc/opendkim/keys/notes",
        "/var/lib/dkim/b.org.pem",
        "/etc/dkimkeys/README.PrivateKeys",
    ]);
    let inventory = lab.found();
    assert_eq!(
        keys(&inventory),
        ["/etc/opendkim/keys/a.org/s1.private a.org s1 opendkim", "/var/lib/dkim/b.org.pem b.org - -"]
    );
    assert_eq!(folders(&inventory), ["/etc/opendkim/keys", "/var/lib/dkim"]);
    assert_eq!(
        notes(&inventory),
        ["/etc/dkimkeys: holds no key yet; name it in keys.paths to watch the first one from its birth"]
    );
}

#[test]
fn configured_paths_are_files_globs_and_folders() {
    let lab = Lab::new()
        .keys(&["/srv/k/a.private", "/srv/k/notes", "/srv/t/1/dkim/x.pem", "/srv/t/2/dkim/y.pem", "/srv/odd[1]*"])
        .file("/etc/opendkim.conf", "KeyFile /srv/k/a.private\nDomain a.org\nSelector s\n");
    let lab = ["/srv/k/", "/srv/t/*/dkim/*.pem", "/srv/odd[1]*", "/srv/k/new.private", "/srv/none/*"]
        .into_iter()
        .fold(lab, Lab::path);
    let inventory = lab.found();
    assert_eq!(
        keys(&inventory),
        [
            "/srv/k/a.private a.org s opendkim",
            "/srv/k/new.private - new -",
            "/srv/odd[1]* - - -",
            "/srv/t/1/dkim/x.pem - - -",
            "/srv/t/2/dkim/y.pem - - -",
        ]
    );
    assert_eq!(folders(&inventory), ["/srv/k"]);
    assert!(noted(
        &inventory,
        "keys.paths \"/srv/k/new.private\": the key /srv/k/new.private does not exist; its folder is watched for its birth"
    ));
    assert!(noted(&inventory, "keys.paths \"/srv/none/*\": matches nothing now"));
    let keys_only = KeySettings { discover: false, paths: vec!["/srv/k".into()], public: Vec::new() };
    let inventory = discover(
        &Settings {
            keys: keys_only,
            signers: Vec::new(),
            maintenance: Vec::new(),
            containers: Stores::default(),
            journal: crate::config::JournalSettings::default(),
        },
        &lab.host(),
    );
    assert_eq!(keys(&inventory), ["/srv/k/a.private - a -"]);
}

#[test]
fn a_template_never_takes_in_a_whole_system_folder() {
    let lab = Lab::new()
        .answer(DKIM, r#"{"path": "/etc/$domain"}"#)
        .answer(ARC, r#"{"path": "/$domain/key"}"#)
        .answer(EXIM, "r transport:\ndkim_private_key = /etc/${lookup{x}nis{y}}\n")
        .keys(&["/etc/passwd", "/etc/a.org", "/etc/b.pem"]);
    let inventory = lab.found();
    assert_eq!(keys(&inventory), ["/etc/a.org a.org dkim rspamd", "/etc/b.pem b.pem dkim rspamd"]);
    assert_eq!(folders(&inventory), [""; 0]);
}

#[test]
fn hostile_files_end_in_notes() {
    let lab = Lab::new()
        .file(
            "/etc/opendkim.conf",
            "Include /etc/opendkim.conf\nInclude relative\nInclude /fifo\nInclude /k/x.private\nKeyFile /fifo\n",
        )
        .file("/etc/smtpd.conf", "include \"/etc/smtpd.conf\"\na = \"$a$a\"\n\"unended")
        .file("/etc/dkimpy-milter/dkimpy-milter.conf", "KeyFile relative\nKeyTable /giant\n")
        .keys(&["/k/x.private"]);
    let root = lab.root.path();
    rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    fs::File::create(root.join("giant")).unwrap().set_len(100 << 20).unwrap();
    symlink("loop", root.join("loop")).unwrap();
    let inventory = lab.path("/loop").path("/giant/x").found();
    for words in [
        "includes nest deeper than 5",
        "/etc/opendkim.conf:2: includes a relative path",
        "/fifo is a FIFO, not a regular file",
        "/k/x.private is named like a private key, and keys are never read",
        "the key /fifo is a FIFO and not watched; put a regular file there",
        "the include of /etc/smtpd.conf is not followed",
        "names its key by a relative path",
        "/giant is longer than 16777216 bytes",
        "keys.paths \"/loop\": the key /loop cannot be looked at",
        "nor does its folder",
    ] {
        assert!(noted(&inventory, words), "{words}\n{:#?}", inventory.notes);
    }
}

#[test]
fn a_flood_of_keys_and_notes_is_cut_and_said() {
    let table: String = (0..20_000).map(|n| format!("k{n} a.org:s:/k/{n}\n")).collect();
    let inventory =
        Lab::new().file("/etc/opendkim.conf", "KeyTable /etc/KeyTable\n").file("/etc/KeyTable", table).found();
    assert_eq!(inventory.keys.len(), dkimwatch_common::limits::WATCHED_FILES as usize);
    assert!(inventory.notes.len() <= 502 && noted(&inventory, "there is more to say"));
}

#[test]
fn a_table_of_hungry_rows_ends() {
    let folder = (0..2_000).fold(Lab::new(), |lab, n| lab.file(format!("/k/{n}"), ""));
    let table: String = (0..50_000).map(|n| format!("k{n} %:s:/k/{n}%\n")).collect();
    let start = std::time::Instant::now();
    let lab = folder.file("/etc/opendkim.conf", "KeyTable /etc/KeyTable\n").file("/etc/KeyTable", table);
    let inventory = lab.found();
    // Without a budget this lists 2,000 names 100,000 times: minutes.
    assert!(start.elapsed().as_secs() < 30, "took {:?}", start.elapsed());
    assert!(noted(&inventory, "not looked at: other paths named too many files"));
}

#[test]
fn a_folder_is_no_key() {
    let inventory = Lab::new().file("/etc/opendkim.conf", "KeyFile /etc\n").found();
    assert_eq!((keys(&inventory).len(), folders(&inventory).len()), (0, 0));
    assert!(noted(&inventory, "the key /etc is a folder, which no signer can use; name the file"));
}

mod any_bytes {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Vec<u8>> {
        let word = prop_oneof![
            proptest::sample::select(vec![
                &b"KeyTable "[..],
                b"KeyFile ",
                b"Include ",
                b"Domain ",
                b"/etc/opendkim.conf",
                b"csl:",
                b"file:",
                b"/k/%/",
                b"a.org:s:",
                b"\n",
                b"filter x proc-exec ",
                b"filter-dkimsign -k ",
                b"include ",
                b"\"",
                b"$a",
                b"a = ",
                b"dkim_private_key = ",
                b"${lookup{x}lsearch{",
                b"}",
                b" transport:\n",
                b"dkim_key(",
                b"'",
                b",",
                b"**",
                b"*",
                b"[",
            ])
            .prop_map(<[u8]>::to_vec),
            proptest::collection::vec(any::<u8>(), 0..8),
        ];
        proptest::collection::vec(word, 0..40).prop_map(|words| words.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]
        /// Whatever the signers' files hold, discovery ends, without a panic.
        #[test]
        fn end_in_an_inventory(conf in text(), smtpd in text(), table in text(), exim in text(), json in text(), name in proptest::collection::vec(1_u8..=255, 1..40)) {
            let name: Vec<u8> = name.into_iter().filter(|&byte| byte != b'/').collect();
            let lab = Lab::new()
                .file("/etc/opendkim.conf", &conf)
                .file("/etc/smtpd.conf", &smtpd)
                .file("/etc/dkimpy-milter/dkimpy-milter.conf", &table)
                .file("/etc/amavis/conf.d/50-user", &conf)
                .file([&b"/k/a.org/x"[..], &name].concat(), "")
                .answer(EXIM, &exim)
                .answer(ARC, &json)
                .answer(DKIM, format!("{{\"path\": {:?}, \"path_map\": \"/etc/opendkim.conf\"}}", String::from_utf8_lossy(&exim)));
            let inventory = lab.found();
            let mut paths: Vec<_> = inventory.keys.iter().map(|key| &key.path).collect();
            paths.dedup();
            prop_assert_eq!(paths.len(), inventory.keys.len(), "each path once");
            prop_assert!(paths.iter().all(|path| path.is_absolute()));
        }
    }
}
