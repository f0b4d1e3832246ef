//! The thread that follows paths, and its deadline.

use std::{
    collections::VecDeque,
    sync::{Arc, mpsc},
    time::Duration,
};

use tokio::{sync::mpsc as answers, time::Instant};

use super::{
    Answer,
    follow::{Follower, Question},
};
use crate::decode::Access;

/// How long following one path may take.
const DEADLINE: Duration = Duration::from_secs(2);

/// Accesses that may wait: beyond them the ring is left to fill up, and to count what it loses.
const WAITING: usize = 1_024;

/// Threads that did not come back, at most: each one hangs in the kernel, and there is nothing to end it with.
const HANGING: usize = 16;

/// Says what refused paths lead to, in the order in which it is asked.
pub struct Resolver {
    waiting: VecDeque<(Access, Question)>,
    /// Since when the first one is being followed.
    since: Instant,
    worker: Option<Worker>,
    /// One for each thread that lives.
    threads: Arc<()>,
    follow: fn(&mut Follower, &Question) -> Answer,
}

struct Worker {
    questions: mpsc::Sender<Question>,
    answers: answers::UnboundedReceiver<Answer>,
}

impl Default for Resolver {
    fn default() -> Self {
        Self::new(Follower::follow)
    }
}

impl Resolver {
    /// One that finds nothing, and never comes back from a path of process 0.
    #[cfg(test)]
    pub(super) fn hanging_at_process_0() -> Self {
        Self::new(|_, question| {
            while question.pid() == 0 {
                std::thread::park();
            }
            Answer::Elsewhere
        })
    }

    fn new(follow: fn(&mut Follower, &Question) -> Answer) -> Self {
        Self { waiting: VecDeque::new(), since: Instant::now(), worker: None, threads: Arc::new(()), follow }
    }

    /// Asks what an access was about.
    pub fn ask(&mut self, access: Access) {
        let question = Question::of(&access);
        if self.waiting.is_empty() {
            self.since = Instant::now();
        }
        self.put(&question);
        self.waiting.push_back((access, question));
    }

    /// Nothing is waiting for an answer.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.is_empty()
    }

    /// When the oldest access that waits happened, nanoseconds since boot.
    #[must_use]
    pub fn oldest(&self) -> Option<u64> {
        self.waiting.iter().map(|(access, _)| access.boot_ns).min()
    }

    /// As many are waiting as may.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.waiting.len() >= WAITING
    }

    /// The next access, and what it was about: [`Answer::Undecided`] where that took too long. Never ready while nothing is
    /// waiting. May be dropped and called again.
    pub async fn next(&mut self) -> (Access, Answer) {
        if self.waiting.is_empty() {
            return std::future::pending().await;
        }
        let answer = match &mut self.worker {
            Some(worker) => tokio::time::timeout_at(self.since + DEADLINE, worker.answers.recv()).await.ok().flatten(),
            None => None,
        };
        let Some((access, _)) = self.waiting.pop_front() else { return std::future::pending().await };
        self.since = Instant::now();
        let answer = answer.unwrap_or_else(|| {
            self.start_anew();
            Answer::Undecided
        });
        (access, answer)
    }

    /// Leaves a thread that does not come back, and asks another one what is still waiting.
    fn start_anew(&mut self) {
        self.worker = None;
        let waiting = std::mem::take(&mut self.waiting);
        for (_, question) in &waiting {
            self.put(question);
        }
        self.waiting = waiting;
    }

    fn put(&mut self, question: &Question) {
        if self.worker.is_none() {
            self.worker = self.start();
        }
        if let Some(worker) = &self.worker {
            // Where the thread has ended, its answer never comes, and the access is undecided at once.
            let _ = worker.questions.send(question.clone());
        }
    }

    fn start(&self) -> Option<Worker> {
        if Arc::strong_count(&self.threads) > HANGING {
            return None;
        }
        let (questions, asked) = mpsc::channel::<Question>();
        let (answer, answers) = answers::unbounded_channel();
        let (alive, follow) = (Arc::clone(&self.threads), self.follow);
        let thread = std::thread::Builder::new().name("refused-paths".to_owned()).spawn(move || {
            let _alive = alive;
            let mut follower = Follower::default();
            while let Ok(question) = asked.recv() {
                if answer.send(follow(&mut follower, &question)).is_err() {
                    return;
                }
            }
        });
        thread.ok().map(|_| Worker { questions, answers })
    }
}
