//! Both ends of the mail's way (RFC 5321): a client that submits many messages over few connections, and a sink that keeps
//! what the server delivers.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::net::{Shutdown, shutdown};

use crate::host::MailHost;

/// The server is local; what takes longer than this hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Submits messages number `numbers` from alice of the domain to bob, over `connections` at a time.
///
/// # Errors
/// The server refused one, or hangs; the message holds its answer and the daemons' log.
pub(crate) fn submit(host: &MailHost, domain: &str, numbers: std::ops::Range<usize>, connections: usize) -> Result<()> {
    let mut clients = Vec::new();
    for _ in 0..connections.max(1) {
        clients.push(Client::greet(host.connect(25)?).with_context(|| host.syslog.tail())?);
    }
    let step = clients.len();
    std::thread::scope(|scope| {
        let senders: Vec<_> = clients
            .into_iter()
            .enumerate()
            .map(|(first, mut client)| {
                let numbers = numbers.clone().skip(first).step_by(step);
                scope.spawn(move || {
                    for number in numbers {
                        client.send(domain, number).with_context(|| format!("message {number}"))?;
                    }
                    client.tell("QUIT", 221)
                })
            })
            .collect();
        senders.into_iter().try_for_each(|sender| match sender.join() {
            Ok(sent) => sent.with_context(|| host.syslog.tail()),
            Err(_) => bail!("a sender panicked"),
        })
    })
}

/// The client's side of one connection.
#[derive(Debug)]
struct Client {
    from_server: BufReader<TcpStream>,
    to_server: TcpStream,
}

impl Client {
    fn greet(stream: TcpStream) -> Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        let to_server = stream.try_clone()?;
        let mut client = Self { from_server: BufReader::new(stream), to_server };
        client.expect(220).context("greeting")?;
        client.tell("EHLO client.example.org", 250)?;
        Ok(client)
    }

    fn send(&mut self, domain: &str, number: usize) -> Result<()> {
        self.tell(&format!("MAIL FROM:<alice@{domain}>"), 250)?;
        self.tell(&format!("RCPT TO:<bob@{SINK_DOMAIN}>"), 250)?;
        self.tell("DATA", 354)?;
        let message = format!(
            "From: Alice <alice@{domain}>\r\nTo: bob@{SINK_DOMAIN}\r\nSubject: message {number}\r\n\
             Date: Mon, 23 Nov 2026 05:00:00 +0000\r\nMessage-ID: <{number}@{domain}>\r\n\r\n\
             Message {number}, in a body of its own.\r\n."
        );
        self.tell(&message, 250)
    }

    fn tell(&mut self, command: &str, expected: u16) -> Result<()> {
        // One write: a command split in two segments waits for Nagle and the delayed acknowledgement.
        self.to_server.write_all(format!("{command}\r\n").as_bytes())?;
        self.expect(expected).with_context(|| format!("after {:?}", command.lines().next()))
    }

    /// Reads one reply, of one line or several.
    fn expect(&mut self, expected: u16) -> Result<()> {
        let mut line = String::new();
        loop {
            line.clear();
            ensure!(self.from_server.read_line(&mut line)? > 0, "the server closed the connection");
            ensure!(line.starts_with(&expected.to_string()), "the server answered {line:?} instead of {expected}");
            if line.as_bytes().get(3) != Some(&b'-') {
                return Ok(());
            }
        }
    }
}

/// Domain of the recipients.
pub(crate) const SINK_DOMAIN: &str = "dest.example";

/// Port of the sink on the mail host's loopback interface.
pub(crate) const SINK_PORT: u16 = 2525;

/// Takes every message that the mail host delivers.
#[derive(Debug)]
pub(crate) struct Sink {
    listener: Arc<TcpListener>,
    mailbox: Arc<Mailbox>,
    /// Ends when the listener is shut down.
    acceptor: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Mailbox {
    messages: Mutex<Vec<Message>>,
    grown: Condvar,
}

impl Sink {
    /// Starts to listen in the mail host.
    ///
    /// # Errors
    /// The port is taken.
    pub(crate) fn in_host(host: &MailHost) -> Result<Self> {
        let listener = Arc::new(host.listen(SINK_PORT)?);
        let mailbox = Arc::new(Mailbox::default());
        let acceptor = std::thread::spawn({
            let (listener, mailbox) = (Arc::clone(&listener), Arc::clone(&mailbox));
            move || {
                for stream in listener.incoming().map_while(Result::ok) {
                    let mailbox = Arc::clone(&mailbox);
                    // Ends with its connection, which ends at the latest with the mail host.
                    std::thread::spawn(move || mailbox.serve(stream));
                }
            }
        });
        Ok(Self { listener, mailbox, acceptor: Some(acceptor) })
    }

    /// Waits until `count` messages in all have been delivered, and returns them in their order of arrival.
    ///
    /// # Errors
    /// Nothing arrived for a minute; the message holds the daemons' log.
    pub(crate) fn wait_for(&self, host: &MailHost, count: usize) -> Result<Vec<Message>> {
        let mut deadline = Instant::now() + PATIENCE;
        let mut messages = self.mailbox.messages.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seen = messages.len();
        while messages.len() < count {
            if messages.len() > seen {
                seen = messages.len();
                deadline = Instant::now() + PATIENCE;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "{seen} of {count} messages were delivered\n{}", host.syslog.tail());
            messages = self.mailbox.grown.wait_timeout(messages, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(messages.clone())
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // A listening socket that is shut down wakes its acceptor with EINVAL.
        let _ = shutdown(&*self.listener, Shutdown::Both);
        if let Some(acceptor) = self.acceptor.take() {
            let _ = acceptor.join();
        }
    }
}

impl Mailbox {
    /// The server's side of one connection. An error ends it, and the sender keeps the message and tries again.
    fn serve(&self, stream: TcpStream) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut reply = stream.try_clone()?;
        let mut lines = BufReader::new(stream).split(b'\n').map(|line| line.map(|line| decoded(&line)));
        reply.write_all(b"220 sink.dest.example ESMTP\r\n")?;
        while let Some(command) = lines.next().transpose()? {
            let verb = command.split(' ').next().unwrap_or_default().to_ascii_uppercase();
            match verb.as_str() {
                "DATA" => {
                    reply.write_all(b"354 go on\r\n")?;
                    let mut message = Message::default();
                    loop {
                        match lines.next().transpose()? {
                            None => return Ok(()),
                            Some(line) if line == "." => break,
                            Some(line) => {
                                message.lines.push(line.strip_prefix('.').map_or(line.clone(), str::to_owned))
                            }
                        }
                    }
                    self.messages.lock().unwrap_or_else(PoisonError::into_inner).push(message);
                    self.grown.notify_all();
                    reply.write_all(b"250 taken\r\n")?;
                }
                "QUIT" => return reply.write_all(b"221 bye\r\n"),
                "EHLO" | "HELO" => reply.write_all(b"250 sink.dest.example\r\n")?,
                _ => reply.write_all(b"250 ok\r\n")?,
            }
        }
        Ok(())
    }
}

fn decoded(line: &[u8]) -> String {
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line)).into_owned()
}

/// A message as it was delivered.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Message {
    lines: Vec<String>,
}

impl Message {
    /// Its DKIM signatures, unfolded (RFC 6376 §3.5).
    pub(crate) fn signatures(&self) -> Vec<Signature> {
        let mut headers: Vec<String> = Vec::new();
        for line in self.lines.iter().take_while(|line| !line.is_empty()) {
            match headers.last_mut() {
                Some(last) if line.starts_with([' ', '\t']) => last.push_str(line),
                _ => headers.push(line.clone()),
            }
        }
        headers
            .iter()
            .filter_map(|header| header.split_once(':'))
            .filter(|(name, _)| name.trim().eq_ignore_ascii_case("DKIM-Signature"))
            .map(|(_, value)| Signature { value: value.split_whitespace().collect() })
            .collect()
    }

    /// The value of a header's first line.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut headers = self.lines.iter().take_while(|line| !line.is_empty()).filter_map(|line| line.split_once(':'));
        headers.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
    }
}

/// A DKIM signature, without its white space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Signature {
    value: String,
}

impl Signature {
    /// A tag's value, for instance `s`, the selector.
    pub(crate) fn tag(&self, name: &str) -> Option<&str> {
        self.value
            .split(';')
            .filter_map(|tag| tag.split_once('='))
            .find(|(tag, _)| *tag == name)
            .map(|(_, value)| value)
    }
}

#[test]
fn a_folded_signature_is_read_tag_by_tag() {
    let message = Message {
        lines: [
            "DKIM-Signature: v=1; a=rsa-sha256;",
            "\td=example.org; s=sel1; b=AbC",
            " dEf==;",
            "Subject: x",
            "",
            "DKIM-Signature: no",
        ]
        .map(str::to_owned)
        .to_vec(),
    };
    let signatures = message.signatures();
    assert_eq!(signatures.len(), 1);
    assert_eq!(signatures[0].tag("d"), Some("example.org"));
    assert_eq!(signatures[0].tag("s"), Some("sel1"));
    assert_eq!(signatures[0].tag("b"), Some("AbCdEf=="));
    assert_eq!(message.header("subject"), Some("x"));
}
