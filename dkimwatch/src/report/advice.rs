//! What to do next, for each domain: which selectors are to be withdrawn, by which record, and in what order.

use std::collections::BTreeMap;

use super::{bearing::Bearing, ledger::KeyFacts, shown::Shown, when::plain};
use crate::keys::dns_name;

/// What is to be done for a domain.
#[derive(Clone, Debug)]
pub struct Advice {
    /// The domain; `None`: of these keys it is not known.
    pub domain: Option<Shown>,
    /// The gravest of what befell its keys.
    pub bearing: Bearing,
    /// Its keys that something befell.
    pub keys: Vec<Concerned>,
    /// The steps, in their order.
    pub steps: Vec<Shown>,
}

/// A key that something befell.
#[derive(Clone, Debug)]
pub struct Concerned {
    /// The selector, where known.
    pub selector: Option<Shown>,
    /// The name of its DNS record, where domain and selector are names.
    pub record: Option<Shown>,
    /// Where it lies.
    pub host: Shown,
    /// The same.
    pub path: Shown,
    /// What befell it.
    pub bearing: Bearing,
    /// Since when.
    pub since: Option<i64>,
}

/// What is to be done, the gravest domains first. A domain whose keys only their signers read is not there.
pub(super) fn advise(keys: &[KeyFacts]) -> Vec<Advice> {
    let mut domains: BTreeMap<Option<&Shown>, Vec<Concerned>> = BTreeMap::new();
    for key in keys {
        let bearing = key.counts.gravest();
        if matches!(bearing, Bearing::Expected | Bearing::Noted) {
            continue;
        }
        domains.entry(key.domain.as_ref()).or_default().push(Concerned {
            selector: key.selector.clone(),
            record: record(key),
            host: key.host.clone(),
            path: key.path.clone(),
            bearing,
            since: key.exposed.or(key.unexpected).map(|span| span.first),
        });
    }
    let mut all: Vec<_> = domains.into_iter().map(|(domain, keys)| for_domain(domain.cloned(), keys)).collect();
    all.sort_by(|a, b| (a.bearing, &a.domain).cmp(&(b.bearing, &b.domain)));
    all
}

/// `sel1._domainkey.example.org`, if both are names: who can choose a folder's name must not choose a line of a zone file.
fn record(key: &KeyFacts) -> Option<Shown> {
    let name = |text: &Option<Shown>| dns_name(text.as_ref()?.as_str().as_bytes());
    Some(Shown::of(&format!("{}._domainkey.{}", name(&key.selector)?, name(&key.domain)?)))
}

fn for_domain(domain: Option<Shown>, mut keys: Vec<Concerned>) -> Advice {
    keys.sort_by_key(|key| (key.bearing, key.since));
    let bearing = keys.first().map_or(Bearing::Expected, |key| key.bearing);
    let of = |bearing: Bearing| keys.iter().filter(move |key| key.bearing == bearing);
    let mut steps = Vec::new();
    if bearing == Bearing::Exposed {
        exposed(domain.as_ref(), &of(Bearing::Exposed).collect::<Vec<_>>(), &mut steps);
    }
    if of(Bearing::Changed).next().is_some() {
        let names = names(of(Bearing::Changed));
        steps.push(format!(
            "{names}: something was changed by somebody who was not expected. If it was none of you, find out whether a copy was taken first, compare the key's public half with the published record, and if they differ or you cannot tell, rotate it as an exposed one."
        ));
    }
    if of(Bearing::Attempted).next().is_some() {
        let names = names(of(Bearing::Attempted));
        steps.push(format!(
            "{names}: was tried and refused; the key need not be rotated for that. Find out how that process came to try, and what else it could read."
        ));
    }
    Advice { domain, bearing, steps: steps.iter().map(|step| Shown::sentence(step)).collect(), keys }
}

/// The order matters: who withdraws the record first has mail that nobody can verify, and who only rotates leaves the thief a key that
/// signs.
fn exposed(domain: Option<&Shown>, keys: &[&Concerned], steps: &mut Vec<String>) {
    let mut records: Vec<_> = keys.iter().filter_map(|key| key.record.as_ref()).collect();
    records.sort();
    records.dedup();
    let nameless: Vec<_> = keys.iter().filter(|key| key.record.is_none()).collect();
    let name = domain.map_or_else(|| "that domain".to_owned(), Shown::word);
    steps.push(
        "Keep the evidence: copy the journal off this host as it is, and verify the copy with the key that was kept elsewhere. Whoever could read the key may be able to write here."
            .to_owned(),
    );
    steps.push("Shut the way in first (the unexpected accesses in this report say which process, user and container): else the new key goes the same way.".to_owned());
    steps.push(format!(
        "Make a new key under a new selector (in place of {}); publish its record, and wait until every name server of {name} answers with it. Never put a new key under the old selector: receivers have the old record in their caches, and signatures of both would fail.",
        names(keys.iter().copied())
    ));
    steps.push("Have every signer that uses the old selector sign with the new one, on other hosts as well, and look at a message that has arrived.".to_owned());
    for record in &records {
        steps.push(format!(
            "Withdraw the old selector at once: publish {record}. IN TXT \"v=DKIM1; p=\" (an empty p= means revoked: RFC 6376, section 3.6.1), and leave it so. Mail under way that the old key signed will not verify; as long as you wait for it, whoever has the key signs as {name}."
        ));
    }
    for key in &nameless {
        steps.push(format!(
            "Find out which selector uses {} on {} (`dkimwatch keys`, the signer's configuration), and withdraw that one in the same way.",
            key.path.word(),
            key.host.word()
        ));
    }
    if let Some(since) = keys.iter().filter_map(|key| key.since).min() {
        steps.push(format!(
            "Look for what was signed with it: mail since {} that passes DKIM for {name} with the old selector and came from none of your hosts (DMARC aggregate reports have it by source address).",
            plain(since)
        ));
    }
    steps.push(
        "Remove the old key's file, its backups, and images or volumes that hold it, once nothing signs with it."
            .to_owned(),
    );
}

fn names<'k>(keys: impl Iterator<Item = &'k Concerned>) -> String {
    let mut names: Vec<_> = keys
        .map(|key| match &key.selector {
            Some(selector) => format!("selector {}", selector.word()),
            None => format!("{} on {}", key.path.word(), key.host.word()),
        })
        .collect();
    names.sort();
    names.dedup();
    let more = names.len().saturating_sub(8);
    names.truncate(8);
    let named = names.join(", ");
    if more > 0 { format!("{named} and {more} more") } else { named }
}
