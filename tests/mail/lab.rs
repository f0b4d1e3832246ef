//! A running mail host with its signer and its sink, and what every test asks of it.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Watch, WatchCommand};

use crate::{
    host::{MailHost, Mounts},
    root::{Account, MailRoot},
    smtp::{Message, Sink, submit},
};

/// The signing domain.
pub(crate) const DOMAIN: &str = "example.org";

/// A mail host, its signer and its sink.
#[derive(Debug)]
pub(crate) struct Lab {
    /// Takes what is delivered. (Dropped before the host: fields drop in order.)
    pub(crate) sink: Sink,
    /// Where the daemons run.
    pub(crate) host: MailHost,
    /// Whom the signer runs as.
    pub(crate) signer: Account,
    /// The signer's executable, in the root.
    pub(crate) program: &'static str,
    /// For an interpreted signer its script, as the host sees it; it is executed by this path.
    pub(crate) script: Option<PathBuf>,
    /// The folder of its keys, in the root.
    pub(crate) keys: &'static str,
    /// The group that may read keys.
    pub(crate) group: u32,
}

impl Lab {
    /// Boots the host of a signer that is a program of its own.
    pub(crate) fn of(root: MailRoot, signer: Account, program: &'static str, keys: &'static str) -> Result<Self> {
        let host = MailHost::boot(root, Mounts::Own)?;
        let sink = Sink::in_host(&host)?;
        Ok(Self { sink, host, signer, program, script: None, keys, group: signer.gid })
    }

    /// The mail root.
    pub(crate) fn root(&self) -> &MailRoot {
        self.host.root()
    }

    /// A key, in the root.
    pub(crate) fn key(&self, name: &str) -> String {
        format!("{}/{name}", self.keys)
    }

    /// A key, as the host sees it.
    pub(crate) fn key_on_host(&self, name: &str) -> PathBuf {
        self.root().at(&self.key(name))
    }

    /// Starts dkimwatch on the key folder, from the host's side, with this signer (and root before it drops its privileges) expected.
    pub(crate) fn watch(&self) -> Result<Watch> {
        self.watch_with("")
    }

    /// The same, with more in its configuration.
    pub(crate) fn watch_with(&self, more: &str) -> Result<Watch> {
        let (folder, program) = (self.root().at(self.keys), self.root().at(self.program));
        let (folder, program) = (toml(&folder)?, toml(&program)?);
        let script = match &self.script {
            Some(script) => format!("script = {}\n", toml(script)?),
            None => String::new(),
        };
        WatchCommand::new()
            .config(format!(
                "[keys]\ndiscover = false\npaths = [{folder}]\n\n\
                 [[signer]]\nname = \"lab\"\nexecutable = {program}\n{script}users = [\"{}\", \"0\"]\n{more}",
                self.signer.uid
            ))
            .start()
    }

    /// Sends messages number `numbers` and waits until the sink has `numbers.end` in all. Returns those.
    ///
    /// # Errors
    /// One was refused or not delivered.
    pub(crate) fn send(&self, numbers: std::ops::Range<usize>) -> Result<Vec<Message>> {
        let connections = if numbers.len() > 20 { 4 } else { 1 };
        submit(&self.host, DOMAIN, numbers.clone(), connections)?;
        let messages = self.sink.wait_for(&self.host, numbers.end)?;
        ensure!(messages.len() == numbers.end, "{} messages instead of {}", messages.len(), numbers.end);
        let mut sent = Vec::with_capacity(numbers.len());
        for number in numbers {
            let subject = format!("message {number}");
            let found = messages.iter().find(|message| message.header("Subject") == Some(&subject));
            sent.push(found.cloned().with_context(|| format!("message {number} was not delivered"))?);
        }
        Ok(sent)
    }

    /// Puts a key that lies elsewhere in the root at its place, over the old one: a rename, as rotation tools do it.
    pub(crate) fn rotate(&self, from: &str, name: &str) -> Result<()> {
        let (from, to) = (self.root().at(from), self.key_on_host(name));
        fs::rename(&from, &to).with_context(|| format!("renaming {} to {}", from.display(), to.display()))
    }
}

/// A path as TOML has it.
pub(crate) fn toml(path: &Path) -> Result<String> {
    let path = path.to_str().context("the mail root's path is not UTF-8, which TOML cannot hold")?;
    Ok(format!("{path:?}"))
}

/// Fails unless each message bears exactly these selectors' signatures of our domain.
pub(crate) fn ensure_signed(messages: &[Message], selectors: &[&str]) -> Result<()> {
    for message in messages {
        let signatures = message.signatures();
        for selector in selectors {
            let by_it = signatures.iter().filter(|signature| {
                // 2048 bits are 344 characters of base64.
                signature.tag("s") == Some(selector)
                    && signature.tag("d") == Some(DOMAIN)
                    && signature.tag("b").is_some_and(|value| value.len() == 344)
            });
            ensure!(by_it.count() == 1, "not signed once by {selector}: {message:#?}");
        }
        ensure!(signatures.len() == selectors.len(), "other signatures: {message:#?}");
    }
    Ok(())
}
