//! dkimpy-milter: dkimpy-milter.conf(5), written like opendkim's, with a second set of settings for Ed25519.

use std::path::Path;

use super::{
    conf::Conf,
    findings::{Findings, Identity},
    table::{self, Named},
    units,
};
use crate::host::{Host, Presence, path_of};

const SIGNER: &str = "dkimpy-milter";
const SCRIPT: &str = "/usr/bin/dkimpy-milter";
/// Debian's, and the upstream default.
const CONFS: [&str; 2] = ["/etc/dkimpy-milter/dkimpy-milter.conf", "/usr/local/etc/dkimpy-milter.conf"];

pub(super) fn discover(host: &Host, findings: &mut Findings<'_>) {
    let mut confs: Vec<_> = CONFS.iter().map(|conf| (Path::new(conf).to_path_buf(), (*conf).to_owned())).collect();
    confs.retain(|(conf, _)| host.presence(conf) != Presence::Missing);
    // dkimpy-milter CONF …, which the interpreter is given as `python3 /usr/bin/dkimpy-milter CONF …`.
    // A python with another root may be anything, so unlike other signers' processes it is not even noted.
    let script = Path::new(SCRIPT);
    let running = host.processes(Path::new("/usr/bin/python3"), &["dkimpy-milter"]).here.into_iter().map(|process| {
        let words = process.args.into_iter().skip_while(|word| path_of(word) != script).skip(1);
        (format!("command line of dkimpy-milter (pid {})", process.pid), words.collect::<Vec<_>>())
    });
    let units = units::commands(host, "dkimpy-milter", script, findings);
    for (place, args) in running.chain(units.into_iter().map(|unit| (unit.place, unit.args))) {
        if let Some(conf) = args.first().filter(|word| word.starts_with(b"/")).map(|word| path_of(word))
            && !confs.iter().any(|(known, _)| *known == conf)
        {
            confs.push((conf, place));
        }
    }
    for (file, named_by) in confs {
        let Some(conf) = Conf::read(&file, &named_by, findings) else { continue };
        for (table, key, selector) in
            [("keytable", "keyfile", "selector"), ("keytableed25519", "keyfileed25519", "selectored25519")]
        {
            settings(&conf, table, key, selector, findings);
        }
    }
}

fn settings(conf: &Conf, table: &str, key: &str, selector: &str, findings: &mut Findings<'_>) {
    if let Some(entry) = conf.setting(table) {
        let named = Named { file: &entry.file, place: &entry.place, signer: SIGNER, base: None };
        table::key_table(&entry.value, named, findings);
    }
    let Some(entry) = conf.setting(key) else { return };
    let Some(path) = table::absolute(&entry.value, None) else {
        findings.note(&entry.place, "names its key by a relative path; make it absolute");
        return;
    };
    let selector = conf.setting(selector).map(|entry| entry.value.as_slice());
    let domains = conf.setting("domain").map(|entry| entry.value.clone()).unwrap_or_default();
    for domain in domains.strip_prefix(b"csl:").unwrap_or(&domains).split(|&byte| byte == b',') {
        findings.key(&path, Identity::of(Some(domain.trim_ascii()), selector), Some(SIGNER), &entry.place);
    }
}
