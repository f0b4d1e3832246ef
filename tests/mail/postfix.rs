//! Postfix, which takes the mail, passes it to the signer (a milter) and delivers it to the sink.

use anyhow::{Context as _, Result};

use crate::{host::MailHost, smtp::SINK_PORT};

/// Configures and starts it. Returns when it takes mail.
///
/// # Errors
/// It does not start; the message holds its log.
pub(crate) fn start(host: &MailHost, milter: &str) -> Result<()> {
    let sink = format!("relayhost=[127.0.0.1]:{SINK_PORT}");
    let smtpd = format!("smtpd_milters={milter}");
    host.run(
        "postconf",
        &[
            "-e",
            "compatibility_level=3.6",
            "myhostname=mail.example.org",
            "mydestination=",
            "mynetworks=127.0.0.0/8",
            "inet_interfaces=loopback-only",
            "inet_protocols=ipv4",
            "smtpd_peername_lookup=no",
            "smtp_dns_support_level=disabled",
            "smtp_host_lookup=native",
            // Thousands of messages in a row are what this server is here for.
            "smtpd_client_connection_rate_limit=0",
            "smtpd_client_message_rate_limit=0",
            &sink,
            &smtpd,
            "non_smtpd_milters=$smtpd_milters",
            // An unsigned message must not get through unnoticed.
            "milter_default_action=tempfail",
        ],
    )?;
    // Makes the queue folders where a new installation has none yet.
    host.run("postfix", &["check"])?;
    // What an interrupted run left must not arrive in this one.
    host.run("postsuper", &["-d", "ALL"])?;
    // Its smtpd runs in a chroot below the queue folder and looks for these files there (postfix.service copies them on Debian).
    for file in ["etc/resolv.conf", "etc/hosts", "etc/services", "etc/nsswitch.conf"] {
        let (from, to) = (host.root().at(file), host.root().at("/var/spool/postfix").join(file));
        if let (true, Some(folder)) = (from.exists(), to.parent()) {
            std::fs::create_dir_all(folder)?;
            std::fs::copy(&from, &to).with_context(|| format!("copying {} to {}", from.display(), to.display()))?;
        }
    }
    host.run("postfix", &["start"])?;
    Ok(())
}
