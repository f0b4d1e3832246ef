//! How `dkimwatch watch` or `run` is started.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, anyhow, ensure};

use super::{Watch, watch::PATIENCE};

/// How `watch` shall be run.
///
/// ```no_run
/// # fn main() -> anyhow::Result<()> {
/// use dkimwatch_tests::support::WatchCommand;
/// let watch = WatchCommand::new().key("/etc/dkimkeys/mail.private").backend("tracepoint").start()?;
/// # drop(watch); Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct WatchCommand {
    program: Option<PathBuf>,
    /// `run`, and not `watch`.
    service: bool,
    /// Where that leaves what outlives it.
    pins: Option<PathBuf>,
    config: Option<String>,
    arguments: Vec<OsString>,
    environment: Vec<(OsString, OsString)>,
}

impl WatchCommand {
    /// `watch --format ecs`, with an empty configuration that asks no signer of this host for its keys.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Another program than the one under test.
    #[must_use]
    pub fn program(mut self, path: impl Into<PathBuf>) -> Self {
        self.program = Some(path.into());
        self
    }

    /// As the service: `run --format ecs`, which keeps a journal, and leaves nothing behind unless [`Self::pins`] says where.
    #[must_use]
    pub fn service(mut self) -> Self {
        self.service = true;
        self
    }

    /// Where the service leaves what outlives it.
    #[must_use]
    pub fn pins(mut self, path: impl Into<PathBuf>) -> Self {
        self.pins = Some(path.into());
        self
    }

    /// The configuration file's text (TOML).
    #[must_use]
    pub fn config(mut self, text: impl Into<String>) -> Self {
        self.config = Some(text.into());
        self
    }

    /// `--key PATH`.
    #[must_use]
    pub fn key(self, path: impl AsRef<Path>) -> Self {
        self.argument("--key").argument(path.as_ref())
    }

    /// `--backend NAME`.
    #[must_use]
    pub fn backend(self, name: &str) -> Self {
        self.argument("--backend").argument(name)
    }

    /// One more argument, as it is.
    #[must_use]
    pub fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.arguments.push(argument.as_ref().to_owned());
        self
    }

    /// An environment variable.
    #[must_use]
    pub fn environment(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Self {
        self.environment.push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Runs it and returns once it has said `watch-started`: from then on every access must be seen.
    ///
    /// # Errors
    /// The program is not built; it ended or said something else first (the message holds its standard error).
    pub fn start(self) -> Result<Watch> {
        let program = self.program.map_or_else(program, Ok)?;
        // The program refuses a configuration that others can write; a fresh private folder is neither shared nor left behind.
        let folder = tempfile::Builder::new().prefix("dkimwatch-test-").tempdir().context("a temporary folder")?;
        let config = folder.path().join("dkimwatch.toml");
        std::fs::write(&config, self.config.as_deref().unwrap_or("[keys]\ndiscover = false\n"))
            .with_context(|| format!("writing {}", config.display()))?;

        let mut command = Command::new(&program);
        command.arg(if self.service { "run" } else { "watch" });
        match &self.pins {
            Some(pins) => command.arg("--pins").arg(pins),
            None if self.service => command.arg("--no-pin"),
            None => &mut command,
        };
        let child = command
            .args(["--format", "ecs", "--config"])
            .arg(&config)
            .args(&self.arguments)
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("starting {}", program.display()))?;

        let watch = Watch::of(child, folder);
        watch.wait_for("the line watch-started", PATIENCE, |event| event.action() == "watch-started")?;
        Ok(watch)
    }
}

/// The program under test: `DKIMWATCH_BIN`, else what cargo built beside this test.
///
/// # Errors
/// Neither is there.
pub fn program() -> Result<PathBuf> {
    if let Some(named) = env::var_os("DKIMWATCH_BIN") {
        let path = PathBuf::from(named);
        ensure!(path.is_file(), "DKIMWATCH_BIN: {} is not a file", path.display());
        return Ok(path);
    }
    let test = env::current_exe().context("this test's own path")?;
    // target/PROFILE/deps/TEST-HASH
    let built = test.parent().and_then(Path::parent).map(|profile| profile.join("dkimwatch"));
    built.filter(|path| path.is_file()).ok_or_else(|| {
        anyhow!("no dkimwatch beside {}: run `cargo build -p dkimwatch`, or name one in DKIMWATCH_BIN", test.display())
    })
}
