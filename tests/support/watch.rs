//! A running `dkimwatch`: wait for what it says, stop it.

use std::{
    fmt::Write as _,
    io::{BufRead as _, BufReader, Read},
    path::PathBuf,
    process::{Child, ExitStatus},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{Event, Events, Missing};

/// How long the program may take until its hooks are proven live, and to drain when it is stopped. An emulated machine is
/// some thirty times slower than a real one, and a busy one has others beside it.
pub(super) const PATIENCE: Duration = Duration::from_secs(180);

/// A running `watch`. Dropped, it is killed; [`Watch::stop`] ends it as an operator would.
#[derive(Debug)]
pub struct Watch {
    child: Child,
    output: Arc<Output>,
    /// They end when the program closes its outputs.
    readers: Vec<JoinHandle<()>>,
    /// Holds the configuration file.
    folder: tempfile::TempDir,
}

impl Watch {
    /// Of a process that was just started, with its outputs piped; `folder` has its configuration.
    pub(super) fn of(mut child: Child, folder: tempfile::TempDir) -> Self {
        let output = Arc::new(Output::default());
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let mut readers = Vec::new();
        if let Some(stdout) = stdout {
            let output = Arc::clone(&output);
            readers.push(std::thread::spawn(move || output.take_events(stdout)));
        }
        if let Some(stderr) = stderr {
            let output = Arc::clone(&output);
            readers.push(std::thread::spawn(move || output.take_log(stderr)));
        }
        Self { child, output, readers, folder }
    }

    /// The program's own pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its configuration file.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.folder.path().join("dkimwatch.toml")
    }

    /// Sends it a signal.
    ///
    /// # Errors
    /// It has ended.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).context("the program's pid")?;
        kill_process(pid, signal).context("a signal to the program")
    }

    /// Kills it as nobody would, and returns all that it printed before.
    ///
    /// # Errors
    /// It cannot be waited for.
    pub fn kill(mut self) -> Result<Events> {
        self.child.kill().context("SIGKILL to the program")?;
        self.child.wait().context("waiting for the program")?;
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
        Ok(self.events())
    }

    /// Waits until its standard error holds a text.
    ///
    /// # Errors
    /// It does not, within `patience`.
    pub fn wait_for_log(&self, text: &str, patience: Duration) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut printed = self.output.lock();
        while !printed.log.contains(text) {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero() && !printed.ended(), "never said: {text}\n{}", printed.tail());
            printed = self.output.grown.wait_timeout(printed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Everything printed so far.
    #[must_use]
    pub fn events(&self) -> Events {
        self.output.lock().events.iter().cloned().collect()
    }

    /// Those printed so far for which `wanted` holds.
    #[must_use]
    pub fn events_where(&self, wanted: impl Fn(&Event) -> bool) -> Events {
        self.output.lock().events.iter().filter(|event| wanted(event)).cloned().collect()
    }

    /// Accesses printed so far that one process made. Whether there will be more is known only after [`Watch::stop`].
    #[must_use]
    pub fn accesses_by(&self, pid: u32) -> Events {
        self.events_where(|event| event.is_access() && event.pid() == Some(pid))
    }

    /// Waits until an event for which `wanted` holds has been printed, and returns the first such.
    ///
    /// # Errors
    /// None came within `patience` ([`Missing`]), or the program ended; the message tells `what` was waited for, and what was printed instead.
    pub fn wait_for(&self, what: &str, patience: Duration, wanted: impl Fn(&Event) -> bool) -> Result<Event> {
        self.wait_for_next(what, 0, patience, wanted)
    }

    /// How many events have been printed so far.
    #[must_use]
    pub fn printed(&self) -> usize {
        self.output.lock().events.len()
    }

    /// Waits until an event for which `wanted` holds has been printed after the first `before`.
    ///
    /// # Errors
    /// As [`Watch::wait_for`].
    pub fn wait_for_next(
        &self,
        what: &str,
        before: usize,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Event> {
        let found = self.wait_after(what, before, 1, patience, wanted)?;
        found.iter().next().cloned().ok_or_else(|| anyhow!("nothing was waited for: {what}"))
    }

    /// Waits until `count` events for which `wanted` holds have been printed.
    ///
    /// # Errors
    /// As [`Watch::wait_for`].
    pub fn wait_for_count(
        &self,
        what: &str,
        count: usize,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Events> {
        self.wait_after(what, 0, count, patience, wanted)
    }

    fn wait_after(
        &self,
        what: &str,
        before: usize,
        count: usize,
        patience: Duration,
        wanted: impl Fn(&Event) -> bool,
    ) -> Result<Events> {
        let deadline = Instant::now() + patience;
        let mut printed = self.output.lock();
        let mut found = Vec::new();
        let mut looked_at = before;
        loop {
            let fresh = printed.events.get(looked_at..).unwrap_or_default();
            found.extend(fresh.iter().filter(|event| wanted(event)).cloned());
            looked_at = printed.events.len();
            if found.len() >= count {
                return Ok(found.into_iter().collect());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let said = |why| format!("{why} before {what} ({} of {count} seen)\n{}", found.len(), printed.tail());
            if printed.ended() {
                bail!(said("the program ended"));
            }
            if left.is_zero() {
                return Err(Missing(said("time ran out")).into());
            }
            printed = self.output.grown.wait_timeout(printed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Waits until what has been printed is as `wanted`; follow-ups stand in the place of what they complete.
    ///
    /// # Errors
    /// As [`Watch::wait_for`].
    pub fn wait_until(&self, what: &str, patience: Duration, wanted: impl Fn(&Events) -> bool) -> Result<()> {
        let deadline = Instant::now() + patience;
        let mut printed = self.output.lock();
        while !wanted(&printed.events.iter().cloned().collect()) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || printed.ended() {
                return Err(Missing(format!("{what} did not come\n{}", printed.tail())).into());
            }
            printed = self.output.grown.wait_timeout(printed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Ends it by SIGTERM, as an operator would, and returns all that it printed, drained to the end.
    ///
    /// # Errors
    /// It did not end in time, or the last line is not `watch-stopped`.
    pub fn stop(mut self) -> Result<Watched> {
        self.signal(Signal::TERM)?;
        self.wait_for("the line watch-stopped", PATIENCE, |event| event.action() == "watch-stopped")?;
        // It closes its outputs as it ends, which ends the readers.
        let deadline = Instant::now() + PATIENCE;
        let mut printed = self.output.lock();
        while !printed.ended() {
            let left = deadline.saturating_duration_since(Instant::now());
            ensure!(!left.is_zero(), "still running after watch-stopped\n{}", printed.tail());
            printed = self.output.grown.wait_timeout(printed, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        drop(printed);
        let status = self.child.wait().context("waiting for the program")?;
        for reader in self.readers.drain(..) {
            // A reader that panicked has nothing to add to the failure it caused.
            let _ = reader.join();
        }
        let events = self.events();
        let printed = self.output.lock();
        ensure!(
            events.last().is_some_and(|event| event.action() == "watch-stopped"),
            "watch-stopped is not the last line\n{}",
            printed.tail()
        );
        ensure!(printed.garbage.is_empty(), "not an event on standard output: {:?}", printed.garbage);
        Ok(Watched { events, lines: printed.lines.clone(), status, log: printed.log.clone() })
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        // Both fail only when the program has ended and been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        // The readers are not waited for: they end with the pipes, which another process may have inherited.
    }
}

/// What a watch printed from start to end.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Every line, `watch-started` first and `watch-stopped` last.
    pub events: Events,
    /// Every line as it came, those too in whose place a follow-up stands, and when.
    pub lines: Vec<(SystemTime, Event)>,
    /// How it ended.
    pub status: ExitStatus,
    /// Standard error.
    pub log: String,
}

/// What has been printed so far, fed by two threads.
#[derive(Debug, Default)]
struct Output {
    printed: Mutex<Printed>,
    /// Notified with every line, and at the end.
    grown: Condvar,
}

#[derive(Debug, Default)]
struct Printed {
    events: Vec<Event>,
    lines: Vec<(SystemTime, Event)>,
    garbage: Vec<String>,
    log: String,
    /// Closed outputs: both when the program has ended and everything it wrote is here.
    closed: u8,
}

impl Printed {
    fn ended(&self) -> bool {
        self.closed == 2
    }

    /// A follow-up stands in the place of the event that it completes, as in a store that goes by `event.id`.
    fn take(&mut self, event: Event) {
        self.lines.push((SystemTime::now(), event.clone()));
        let id = event.text("event.id").filter(|_| event.field("dkimwatch.follow_up") == Some(&true.into()));
        let earlier = id.and_then(|id| self.events.iter_mut().rev().find(|one| one.text("event.id") == Some(id)));
        match earlier {
            Some(earlier) => *earlier = event,
            None => self.events.push(event),
        }
    }

    /// The last events and the log, for a message.
    fn tail(&self) -> String {
        const LINES: usize = 20;
        let mut text = String::new();
        for event in self.events.iter().skip(self.events.len().saturating_sub(LINES)) {
            let _ = writeln!(text, "  {event}");
        }
        for line in &self.garbage {
            let _ = writeln!(text, "  not an event: {line}");
        }
        let skipped = self.log.lines().count().saturating_sub(LINES);
        for line in self.log.lines().skip(skipped) {
            let _ = writeln!(text, "  log: {line}");
        }
        text
    }
}

impl Output {
    fn lock(&self) -> MutexGuard<'_, Printed> {
        self.printed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take_events(&self, stdout: impl Read) {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            let event = Event::parse(&line);
            let mut printed = self.lock();
            match event {
                Ok(event) => printed.take(event),
                Err(_) => printed.garbage.push(line),
            }
            self.grown.notify_all();
        }
        self.close();
    }

    fn take_log(&self, stderr: impl Read) {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let mut printed = self.lock();
            printed.log.push_str(&line);
            printed.log.push('\n');
        }
        self.close();
    }

    fn close(&self) {
        self.lock().closed += 1;
        self.grown.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::process::{Command, Stdio};

    use super::*;
    use crate::support::WatchCommand;

    /// A program that prints these lines, and then does as the shell commands say.
    fn a_program_that_prints(lines: &str, then: &str) -> (tempfile::TempDir, WatchCommand) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("program");
        // Before it says anything: a signal can come as soon as it has.
        let script = format!("#!/bin/sh\n{TRAP}\ncat <<'END'\n{lines}\nEND\n{then}\n");
        // Written by another process: a fork of another test may hold our own descriptor as this script is executed (ETXTBSY).
        let mut install = Command::new("install");
        let install = install.args(["-m", "755", "/dev/stdin"]).arg(&path).stdin(Stdio::piped()).spawn();
        let mut install = install.unwrap();
        std::io::Write::write_all(&mut install.stdin.take().unwrap(), script.as_bytes()).unwrap();
        assert!(install.wait().unwrap().success());
        (folder, WatchCommand::new().program(path))
    }

    const STARTED: &str = r#"{"event":{"action":"watch-started","kind":"state"}}"#;
    const OPENED: &str = r#"{"event":{"action":"key-opened","kind":"alert"},"process":{"pid":7}}"#;
    const STOPPED: &str = r#"{"event":{"action":"watch-stopped","kind":"state"}}"#;
    /// Ends at SIGTERM, as `watch` does.
    const TRAP: &str = r#"trap '[ -z "$!" ] || kill $!; echo "$LAST"; exit 1' TERM"#;
    /// The shell runs a trap when `wait` is interrupted.
    const STOPS: &str = "sleep 1000 >/dev/null 2>&1 & wait";

    #[test]
    fn a_program_that_ends_before_it_has_started_fails_with_its_log() {
        let (_folder, command) = a_program_that_prints(OPENED, "echo no BTF here >&2; exit 3");
        let error = command.start().unwrap_err().to_string();
        assert!(error.contains("the program ended before the line watch-started"), "{error}");
        assert!(error.contains("log: no BTF here"), "{error}");
        assert!(error.contains("key-opened"), "{error}");
    }

    #[test]
    fn what_a_program_printed_is_counted_by_process() {
        let (_folder, command) = a_program_that_prints(&[STARTED, OPENED, OPENED].join("\n"), STOPS);
        let watch = command.environment("LAST", STOPPED).start().unwrap();
        let alerts = watch.wait_for_count("two alerts", 2, PATIENCE, Event::is_alert).unwrap();
        assert_eq!(alerts.len(), 2);
        assert_eq!(watch.accesses_by(7).len(), 2);
        assert!(watch.accesses_by(8).is_empty());
        assert!(watch.wait_for_count("three alerts", 3, Duration::from_millis(1), Event::is_alert).is_err());
        let watched = watch.stop().unwrap();
        assert_eq!(watched.events.len(), 4);
        assert_eq!(watched.status.code(), Some(1));
    }

    #[test]
    fn a_program_that_ends_without_saying_so_has_not_stopped_well() {
        let (_folder, command) = a_program_that_prints(STARTED, STOPS);
        let error = command.environment("LAST", OPENED).start().unwrap().stop().unwrap_err().to_string();
        assert!(error.contains("watch-stopped"), "{error}");
    }

    #[test]
    fn a_line_that_is_no_event_fails_at_the_stop() {
        let (_folder, command) = a_program_that_prints(&format!("{STARTED}\nhello"), STOPS);
        let error = command.environment("LAST", STOPPED).start().unwrap().stop().unwrap_err().to_string();
        assert!(error.contains("hello"), "{error}");
    }
}
