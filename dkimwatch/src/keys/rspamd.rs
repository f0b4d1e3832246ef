//! Rspamd: what `rspamadm configdump` says of its modules `dkim_signing` and `arc`.
//!
//! Its configuration language (UCL, with includes, merges and templates) is read by itself alone; without the tool, only
//! the default folders are looked at.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use serde_json::{Map, Value};

use super::{
    findings::{Findings, Identity, dns_name},
    table::{self, Named, Source},
    template::{Hole, Template},
};
use crate::{
    escape,
    host::{Host, Presence},
};

const SIGNER: &str = "rspamd";
const TOOL: &str = "/usr/bin/rspamadm";
/// Run as this user: as root it would leave caches in `/var/lib/rspamd` that rspamd itself cannot replace.
const USER: &str = "_rspamd";
/// The modules that sign, with the path that each uses unless told otherwise and its default selector.
const MODULES: [(&str, &str, &str); 2] = [
    ("dkim_signing", "/var/lib/rspamd/dkim/$domain.$selector.key", "dkim"),
    ("arc", "/var/lib/rspamd/arc/$domain.$selector.key", "arc"),
];

pub(super) fn discover(host: &Host, findings: &mut Findings<'_>) {
    let installed = [TOOL, "/etc/rspamd"].iter().any(|path| host.presence(Path::new(path)) != Presence::Missing);
    if !installed {
        return;
    }
    for (name, path, selector) in MODULES {
        let place = format!("rspamadm configdump {name}");
        let module = Module { place: &place, default_path: path, default_selector: selector };
        let section = match host.ask(Path::new(TOOL), &["configdump", "-j", name], Some(USER)) {
            Some(Ok(output)) => match serde_json::from_slice(&output) {
                Ok(Value::Object(section)) => section,
                _ => {
                    findings.note(&place, "did not print a JSON object; only rspamd's default folders are looked at");
                    Map::new()
                }
            },
            Some(Err(error)) => {
                findings.note(&place, format!("{error}; only rspamd's default folders are looked at"));
                Map::new()
            }
            None => {
                findings.note(&place, "rspamadm is not to be had here; only rspamd's default folders are looked at");
                Map::new()
            }
        };
        module.keys(&section, findings);
    }
}

/// A module that signs.
struct Module<'a> {
    place: &'a str,
    default_path: &'a str,
    default_selector: &'a str,
}

impl Module<'_> {
    fn keys(&self, section: &Map<String, Value>, findings: &mut Findings<'_>) {
        if section.get("enabled") == Some(&Value::Bool(false)) {
            return;
        }
        if section.get("use_redis") == Some(&Value::Bool(true)) {
            findings.note(
                self.place,
                "keys lie in Redis: no key file holds them; watch the server's dump (often /var/lib/redis/dump.rdb) with keys.paths",
            );
        }
        if section.get("use_vault") == Some(&Value::Bool(true)) || section.contains_key("vault") {
            findings.note(self.place, "keys lie in a vault: no key file holds them, so their readers cannot be seen");
        }
        self.maps(section, findings);
        let path = text(section, "path").unwrap_or(self.default_path);
        let selector = text(section, "selector").unwrap_or(self.default_selector);
        self.sign(path, None, Some(selector), findings);
        for entry in many(section.get("selectors")) {
            let Some(entry) = entry.as_object() else { continue };
            self.sign(text(entry, "path").unwrap_or(path), None, text(entry, "selector").or(Some(selector)), findings);
        }
        for domains in many(section.get("domain")) {
            for (domain, entries) in domains.as_object().into_iter().flatten() {
                for entry in many(Some(entries)) {
                    let Some(entry) = entry.as_object() else { continue };
                    let own = (text(entry, "path"), text(entry, "selector"));
                    let several: Vec<_> = many(entry.get("selectors")).filter_map(Value::as_object).collect();
                    if several.is_empty() || own != (None, None) {
                        self.sign(own.0.unwrap_or(path), Some(domain), own.1.or(Some(selector)), findings);
                    }
                    for entry in several {
                        let selector = text(entry, "selector").or(own.1).or(Some(selector));
                        self.sign(text(entry, "path").or(own.0).unwrap_or(path), Some(domain), selector, findings);
                    }
                }
            }
        }
    }

    /// Keys of a path with holes. A domain or selector that the configuration fixes fills them; where it only gives a
    /// default, as with the module's own selector, every selector is looked for.
    fn sign(&self, path: &str, domain: Option<&str>, selector: Option<&str>, findings: &mut Findings<'_>) {
        let mut template = template(path);
        if let Some(domain) = domain {
            template = template.filled(Hole::Domain, domain.as_bytes());
            if let Some(selector) = selector {
                template = template.filled(Hole::Selector, selector.as_bytes());
            }
        }
        let identity = Identity {
            domain: domain.and_then(|domain| dns_name(domain.as_bytes())),
            selector: if template.has(Hole::Selector) {
                None
            } else {
                selector.and_then(|name| dns_name(name.as_bytes()))
            },
        };
        if template.literal().is_none()
            && findings.nursery(&template).is_none()
            && findings.expand(&template).is_none_or(|(fits, _)| fits.is_empty())
        {
            // A default path that nothing uses is not worth a word; a configured one is.
            if path != self.default_path {
                findings.note(
                    self.place,
                    format!("no file fits {}; name the keys' folder in keys.paths", escape::text(path.as_bytes())),
                );
            }
            return;
        }
        findings.template(&template, &identity, SIGNER, self.place);
    }

    /// Tables beside the configuration.
    fn maps(&self, section: &Map<String, Value>, findings: &mut Findings<'_>) {
        let selectors: BTreeSet<(String, String)> = self.rows(section, "selector_map", findings).into_iter().collect();
        let path = text(section, "path").unwrap_or(self.default_path);
        for (domain, value) in self.rows(section, "path_map", findings) {
            let own = selectors.iter().filter(|(named, _)| *named == domain);
            let mut any = false;
            for (_, selector) in own {
                any = true;
                self.sign(&value, Some(&domain), Some(selector), findings);
            }
            if !any {
                self.sign(&value, Some(&domain), text(section, "selector").or(Some(self.default_selector)), findings);
            }
        }
        if !section.contains_key("path_map") {
            for (domain, selector) in &selectors {
                self.sign(path, Some(domain), Some(selector), findings);
            }
        }
        if let Some(Table::File(file)) = self.map(section, "key_table", findings) {
            let place = escape::path(&file);
            let named = Named { file: &file, place: &place, signer: SIGNER, base: None };
            table::key_table(std::os::unix::ffi::OsStrExt::as_bytes(file.as_os_str()), named, findings);
        }
        if let Some(Table::File(file)) = self.map(section, "signing_table", findings) {
            findings.table(&file);
        }
    }

    /// The rows `domain value` of a map.
    fn rows(&self, section: &Map<String, Value>, name: &str, findings: &mut Findings<'_>) -> Vec<(String, String)> {
        let bytes = match self.map(section, name, findings) {
            Some(Table::File(file)) => findings.read_table(&file, self.place),
            Some(Table::Rows(rows)) => return rows,
            None => None,
        };
        let bytes = bytes.unwrap_or_default();
        let row = |(_, domain, value): (usize, &[u8], &[u8])| {
            Some((std::str::from_utf8(domain).ok()?.to_owned(), std::str::from_utf8(value).ok()?.to_owned()))
        };
        table::rows(&bytes).filter_map(row).collect()
    }

    /// Where a map lies: a path, with a type before it perhaps, or written out in place.
    fn map(&self, section: &Map<String, Value>, name: &str, findings: &mut Findings<'_>) -> Option<Table> {
        let value = section.get(name)?;
        if let Some(rows) =
            value.as_object().filter(|object| !object.contains_key("url") && !object.contains_key("urls"))
        {
            let rows = rows.iter().filter_map(|(name, value)| Some((name.clone(), value.as_str()?.to_owned())));
            return Some(Table::Rows(rows.collect()));
        }
        let location = many(Some(value)).find_map(|value| {
            value.as_str().or_else(|| many(value.get("url").or_else(|| value.get("urls"))).find_map(Value::as_str))
        })?;
        let path = location.rsplit_once("://").map_or(location, |(_, path)| path);
        let path = path.rsplit_once(';').map_or(path, |(_, path)| path);
        let elsewhere = matches!(table::source(location.as_bytes(), None), Some(Source::Elsewhere(_)));
        if elsewhere || !path.starts_with('/') {
            let text = format!(
                "{name} is at {}, which is not asked; name the keys or their folder in keys.paths",
                escape::text(location.as_bytes())
            );
            findings.note(self.place, text);
            return None;
        }
        Some(Table::File(PathBuf::from(path)))
    }
}

/// A map of rspamd's.
enum Table {
    File(PathBuf),
    Rows(Vec<(String, String)>),
}

fn template(path: &str) -> Template {
    Template::new(path.as_bytes(), &[(b"$domain", Hole::Domain), (b"$selector", Hole::Selector)])
}

fn text<'v>(section: &'v Map<String, Value>, key: &str) -> Option<&'v str> {
    section.get(key)?.as_str().filter(|text| !text.is_empty())
}

/// UCL writes a key that occurs twice as a list: one or many.
fn many(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    let (one, many) = match value {
        Some(Value::Array(values)) => (None, values.as_slice()),
        other => (other, [].as_slice()),
    };
    one.into_iter().chain(many)
}
