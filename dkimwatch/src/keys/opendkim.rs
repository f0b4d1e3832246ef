//! OpenDKIM: opendkim.conf(5), and the command lines of its processes and units, which override it.

use std::path::{Path, PathBuf};

use super::{
    conf::Conf,
    findings::{Findings, Identity, dns_name},
    options::options,
    table::{self, Named, Source},
    template::{Hole, Template},
    units,
};
use crate::{
    escape,
    host::{Host, path_of},
};

const SIGNER: &str = "opendkim";
const EXECUTABLE: &str = "/usr/sbin/opendkim";
/// Compiled into Debian's and Fedora's packages.
const DEFAULT_CONF: &str = "/etc/opendkim.conf";
/// The options of opendkim(8) that take a value.
const VALUED: &[u8] = b"bcdeFkLoPpsStTux";

/// One opendkim: a configuration, and what its command line overrides.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Instance {
    conf: Option<PathBuf>,
    key: Option<Vec<u8>>,
    domain: Option<Vec<u8>>,
    selector: Option<Vec<u8>>,
    /// Where the command line was read.
    place: Option<String>,
}

pub(super) fn discover(host: &Host, findings: &mut Findings<'_>) {
    let mut instances = vec![Instance::default()];
    let running = findings.running(SIGNER, Path::new(EXECUTABLE), "opendkim").into_iter().map(|process| {
        let args = process.args.get(1..).unwrap_or_default().to_vec();
        (format!("command line of opendkim (pid {})", process.pid), args)
    });
    let units = units::commands(host, "opendkim", Path::new(EXECUTABLE), findings);
    for (place, args) in running.chain(units.into_iter().map(|unit| (unit.place, unit.args))) {
        let instance = instance(place, &args);
        let known = |known: &Instance| {
            Instance { place: None, ..known.clone() } == Instance { place: None, ..instance.clone() }
        };
        if !instances.iter().any(known) {
            instances.push(instance);
        }
    }
    for instance in instances {
        keys_of(&instance, findings);
    }
}

fn instance(place: String, args: &[Vec<u8>]) -> Instance {
    let mut instance = Instance { place: Some(place), ..Instance::default() };
    for (letter, value) in options(args, VALUED) {
        match letter {
            b'x' => instance.conf = Some(path_of(&value)),
            b'k' => instance.key = Some(value),
            b'd' => instance.domain = Some(value),
            b's' => instance.selector = Some(value),
            _ => {}
        }
    }
    instance
}

fn keys_of(instance: &Instance, findings: &mut Findings<'_>) {
    let place = instance.place.as_deref().unwrap_or(DEFAULT_CONF);
    let conf = match &instance.conf {
        None => {
            let default = Path::new(DEFAULT_CONF);
            // Absent where opendkim is not installed, and no fault then.
            let there = findings.host().presence(default) != crate::host::Presence::Missing;
            if there { Conf::read(default, place, findings) } else { None }
        }
        Some(conf) if conf.is_absolute() => Conf::read(conf, place, findings),
        Some(conf) => {
            let text = format!(
                "uses the configuration {}, a relative path; start it with an absolute one",
                escape::path(conf)
            );
            findings.note(place, text);
            None
        }
    };
    settings(&conf.unwrap_or_default(), instance, findings);
}

fn settings(conf: &Conf, instance: &Instance, findings: &mut Findings<'_>) {
    let base = conf.setting("basedirectory").map(|entry| path_of(&entry.value));
    if let Some(entry) = conf.setting("changerootdirectory") {
        let text = format!(
            "opendkim changes its root to {}; key paths are taken as seen from outside: name them in keys.paths if they lie inside",
            escape::text(&entry.value)
        );
        findings.note(&entry.place, text);
    }
    if let Some(entry) = conf.setting("keytable") {
        let named = Named { file: &entry.file, place: &entry.place, signer: SIGNER, base: base.as_deref() };
        table::key_table(&entry.value, named, findings);
        if let Some(signing) = conf.setting("signingtable")
            && let Some(Source::File(path)) = table::source(&signing.value, base.as_deref())
        {
            findings.table(&path);
        }
        if let Some(ignored) = conf.setting("keyfile") {
            let text = "KeyFile is ignored by opendkim, since KeyTable is set; if a key still lies there, name it in keys.paths";
            findings.note(&ignored.place, text);
        }
        if instance.key.is_none() {
            return;
        }
    }
    let entry = conf.setting("keyfile");
    let (key, found_in) = match (&instance.key, entry) {
        (Some(key), _) => (key, instance.place.as_deref().unwrap_or(DEFAULT_CONF)),
        (None, Some(entry)) => (&entry.value, entry.place.as_str()),
        (None, None) => return,
    };
    let Some(path) = table::absolute(key, base.as_deref()) else {
        findings.note(found_in, "names its key by a relative path; make it absolute, or set BaseDirectory");
        return;
    };
    let value =
        |own: &Option<Vec<u8>>, name| own.clone().or_else(|| conf.setting(name).map(|entry| entry.value.clone()));
    let selector = value(&instance.selector, "selector").and_then(|selector| dns_name(&selector));
    let domains = match value(&instance.domain, "domain").and_then(|domain| table::source(&domain, base.as_deref())) {
        Some(Source::List(list)) => {
            list.split(|&byte| byte == b',').filter_map(|domain| dns_name(domain.trim_ascii())).collect()
        }
        Some(Source::File(path)) => {
            findings.table(&path);
            Vec::new()
        }
        _ => Vec::new(),
    };
    let template = Template::new(path.as_os_str().as_encoded_bytes(), &[] as &[(&[u8], Hole)]);
    let mut domains: Vec<Option<String>> = domains.into_iter().map(Some).collect();
    if domains.is_empty() {
        domains.push(None);
    }
    for domain in domains {
        findings.template(&template, &Identity { domain, selector: selector.clone() }, SIGNER, found_in);
    }
}
