//! A signer that does what it is told, step by step.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context as _, Result};

/// A running `thief steady`. Dropped, it is killed.
#[derive(Debug)]
pub struct Steady {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Steady {
    /// Starts a program that is a copy of the thief.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start(program: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        let mut child = command.arg("steady").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let input = child.stdin.take().context("its input")?;
        let output = BufReader::new(child.stdout.take().context("its output")?);
        Ok(Self { child, input, output })
    }

    /// Its pid.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Has it do something, and returns how often it opened a file for that.
    ///
    /// # Errors
    /// It cannot.
    pub fn ask(&mut self, order: &str) -> Result<u64> {
        writeln!(self.input, "{order}")?;
        self.input.flush()?;
        let mut answer = String::new();
        self.output.read_line(&mut answer)?;
        answer.trim_end().parse().with_context(|| format!("{order}: it said {answer:?}"))
    }
}

impl Drop for Steady {
    fn drop(&mut self) {
        // Both fail only when it has ended and been waited for already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
