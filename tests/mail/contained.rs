//! A mail server in a container, as docker-mailserver is one: Postfix and OpenDKIM in an image, the key in a volume.

use std::{fs, os::unix::fs::PermissionsExt as _, time::Duration};

use anyhow::{Context as _, Result, ensure};
use dkimwatch_tests::support::{Engine, Run, WatchCommand};

use crate::{
    command::run,
    ensure_nothing_lost,
    root::{MailRoot, Stack},
};

const IMAGE: &str = "localhost/dkimwatch-mail:1";
const VOLUME: &str = "dkimwatch-mail-keys";
const MESSAGES: usize = 100;
const PATIENCE: Duration = Duration::from_secs(60);

/// Starts OpenDKIM and Postfix, submits messages, and ends once each lies signed in root's mailbox.
const SCRIPT: &str = r#"
set -e
cat > /etc/opendkim.conf <<END
Mode s
UserID opendkim
Socket inet:8891@127.0.0.1
PidFile /run/opendkim.pid
KeyTable /etc/opendkim-key.table
SigningTable refile:/etc/opendkim-signing.table
InternalHosts 127.0.0.1
END
echo "sel1 example.org:sel1:/etc/dkimkeys/sel1.private" > /etc/opendkim-key.table
echo "*@example.org sel1" > /etc/opendkim-signing.table
chown opendkim /etc/dkimkeys /etc/dkimkeys/sel1.private
opendkim -x /etc/opendkim.conf
postconf -e milter_default_action=tempfail non_smtpd_milters=inet:127.0.0.1:8891 mydestination=localhost,example.org \
    inet_interfaces=loopback-only inet_protocols=ipv4 alias_maps= local_recipient_maps= relayhost= \
    maillog_file=/var/log/postfix.log
postfix start > /dev/null 2>&1
for number in $(seq "$1"); do
    printf 'From: a@example.org\nTo: root@example.org\nSubject: message %s\n\nhello\n' "$number" | sendmail -f a@example.org root@example.org
done
for moment in $(seq 300); do
    signed=$(cat /var/mail/* 2>/dev/null | grep -c '^DKIM-Signature' || true)
    [ "$signed" = "$1" ] && exit 0
    sleep 0.2
done
tail -n 5 /var/log/postfix.log >&2
echo "$signed of $1 messages are signed" >&2
exit 1
"#;

#[test]
fn a_signer_in_its_container_is_expected_and_the_same_image_beside_it_is_not() -> Result<()> {
    let root = MailRoot::of(Stack::OpenDkim)?;
    let engine = Engine::podman()?;
    engine.import(root.path(), IMAGE)?;
    let key = engine.volume(VOLUME)?.join("sel1.private");
    run(std::process::Command::new("openssl").args(["genrsa", "-traditional", "-out"]).arg(&key).arg("2048"))?;
    let script = tempfile::NamedTempFile::new()?;
    fs::write(script.path(), SCRIPT)?;
    fs::set_permissions(script.path(), fs::Permissions::from_mode(0o644))?;
    let script = script.path().to_str().context("a path in UTF-8")?;

    let mounts = [(VOLUME, "/etc/dkimkeys"), (script, "/sign.sh:ro")];
    let container =
        |name, command: &[&str]| engine.run(&Run { name, image: IMAGE, mounts: &mounts, user: "0", command });
    // As it is used for the first time, the engine gives a volume's folder the owner and mode that the image has there.
    container("dkimwatch-first", &["/bin/true"])?;

    let store = engine.store().context("its store")?.display().to_string();
    let key_path = key.display().to_string();
    let watch = WatchCommand::new()
        .config(format!(
            "[keys]\ndiscover = false\npaths = [{key_path:?}]\n[containers]\nstores = [{store:?}]\n\
             [[signer]]\nname = \"mail\"\nexecutable = \"/usr/sbin/opendkim\"\nimages = [\"localhost/dkimwatch-mail\"]\n\
             containers = [\"dkimwatch-mailer\"]\nusers = [\"opendkim\"]\n\
             [[maintenance]]\nname = \"chown\"\nexecutable = \"/usr/bin/chown\"\nimages = [{IMAGE:?}]\nusers = [\"root\"]\n"
        ))
        .start()?;
    let messages = MESSAGES.to_string();
    let signer = container("dkimwatch-mailer", &["/bin/bash", "/sign.sh", &messages])?;
    let beside = container("dkimwatch-beside", &["/bin/bash", "/sign.sh", "1"])?;
    let replace = "cp /usr/sbin/opendkim /opendkim && mv /opendkim /usr/sbin/opendkim && exec /bin/bash /sign.sh 1";
    let replaced = container("dkimwatch-mailer", &["/bin/bash", "-c", replace])?;
    let thief = container("dkimwatch-mailer", &["/bin/cat", "/etc/dkimkeys/sel1.private"])?;
    watch.wait_for("the thief", PATIENCE, |event| event.text("container.id") == Some(&thief))?;
    let watched = watch.stop()?;
    ensure_nothing_lost(&watched)?;

    let opened = watched.events.only(|event| event.action() == "key-opened");
    let by = |id: &str| opened.only(|event| event.text("container.id") == Some(id));
    let signatures = by(&signer);
    signatures.exactly(MESSAGES, "a signature for each message")?;
    for event in &signatures {
        ensure!(event.verdict() == "expected" && event.text("rule.id") == Some("signer/mail"), "{event}");
        ensure!(event.text("dkimwatch.inner.user.name") == Some("opendkim"), "{event}");
    }
    for (id, rule, what) in [
        (&beside, "signer-mismatch/container", "the same image under another name"),
        (&replaced, "signer-mismatch/executable-replaced", "a program that was put over the image's own"),
        (&thief, "stranger/container", "another program in the signer's own container"),
    ] {
        let found = by(id);
        let event = found.one(what)?;
        ensure!(event.is_alert() && event.text("rule.id") == Some(rule), "{what}: {event}");
    }
    watched.events.alerts().exactly(3, "these three, and no other")
}
