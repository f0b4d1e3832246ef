//! Tells what was recorded, on a thread of its own: whoever does not read what is told must not keep anything from being recorded.

use std::{
    io::Write,
    sync::mpsc::{Receiver, SyncSender, TrySendError, channel, sync_channel},
    time::Duration,
};

/// Lines that wait to be read. What comes behind them is in the journal only.
const WAITING: usize = 16_384;
/// How long the end waits for a reader.
const PATIENCE: Duration = Duration::from_secs(5);

/// The end of the thread's line.
pub(super) struct Teller {
    /// The thread holds the other end; dropping this one has it write what waits, and end.
    send: Option<SyncSender<Vec<u8>>>,
    /// It is done.
    done: Receiver<()>,
    /// Lines that nobody read in time, and that was not told yet.
    untold: u64,
}

impl Teller {
    /// Starts the thread.
    ///
    /// # Errors
    /// As pthread_create(3).
    pub(super) fn start(mut out: Box<dyn Write + Send>) -> std::io::Result<Self> {
        let (send, lines) = sync_channel::<Vec<u8>>(WAITING);
        let (finished, done) = channel();
        let work = move || {
            for line in lines {
                match out.write_all(&line).and_then(|()| out.flush()) {
                    Ok(()) => {}
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {
                        tracing::error!("nobody reads what is told any more; recording goes on");
                        break;
                    }
                    // A full disk behind it, for instance: the next line may find room.
                    Err(error) => tracing::error!(%error, "a line could not be told; it is in the journal"),
                }
            }
            let _ = finished.send(());
        };
        std::thread::Builder::new().name("teller".to_owned()).spawn(work)?;
        Ok(Self { send: Some(send), done, untold: 0 })
    }

    /// Has a line told. Never waits.
    pub(super) fn tell(&mut self, line: Vec<u8>) {
        let Some(send) = &self.send else { return };
        match send.try_send(line) {
            Ok(()) if self.untold > 0 => {
                tracing::error!(lines = self.untold, "were not read in time and not told; they are in the journal");
                self.untold = 0;
            }
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.untold += 1,
            Err(TrySendError::Disconnected(_)) => self.send = None,
        }
    }

    /// Waits until what waits was read, but not for ever.
    pub(super) fn end(&mut self) {
        if self.send.take().is_some() && self.done.recv_timeout(PATIENCE).is_err() {
            tracing::error!("what is told was not read to its end; it is in the journal");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Takes nothing, for ever.
    struct Stuck {
        began: std::sync::mpsc::Sender<()>,
        end: Receiver<()>,
    }

    impl Write for Stuck {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let _ = self.began.send(());
            let _ = self.end.recv();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn who_does_not_read_delays_nobody() {
        let (unstick, end) = channel();
        let (began, stuck) = channel();
        let mut teller = Teller::start(Box::new(Stuck { began, end })).expect("a thread");
        teller.tell(b"line\n".to_vec());
        stuck.recv().expect("it takes the first one");
        for _ in 0..2 * WAITING {
            teller.tell(b"line\n".to_vec());
        }
        assert_eq!(teller.untold, u64::try_from(WAITING).expect("small"));
        drop(unstick);
        teller.end();
    }
}
