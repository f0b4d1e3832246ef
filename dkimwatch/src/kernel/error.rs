//! Why the kernel cannot be watched, in words that lead on.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::Backend;

/// Why the kernel cannot be watched.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// Capabilities are missing.
    #[error("{0}")]
    Rights(String),
    /// The kernel describes its types nowhere.
    #[error(
        "{path}: {reason}; dkimwatch needs a kernel built with CONFIG_DEBUG_INFO_BTF=y (every current distribution kernel is)"
    )]
    Btf {
        /// The file that was read.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A field without which no file or process has an identity.
    #[error("this kernel's BTF has none of {paths:?}: dkimwatch does not know this kernel; please report `uname -r`")]
    FieldMissing {
        /// The names that were tried.
        paths: &'static [&'static str],
    },
    /// The object or one of its maps was refused.
    #[error("the kernel refused dkimwatch's maps: {0}")]
    Load(#[from] aya::EbpfError),
    /// How many processors there can be is not said.
    #[error("{what}: {source}; the kernel's tables are sized by the processors that it can have")]
    Cpus {
        /// The file.
        what: &'static str,
        /// Why it could not be read.
        source: io::Error,
    },
    /// A map operation failed.
    #[error("map {map}: {source}")]
    Map {
        /// The map.
        map: &'static str,
        /// Why.
        source: aya::maps::MapError,
    },
    /// The object does not hold what the contract says.
    #[error("the embedded kernel object has no {kind} {name}: this binary is broken, build it again")]
    Contract {
        /// `map` or `program`.
        kind: &'static str,
        /// Its name.
        name: &'static str,
    },
    /// A program was refused.
    #[error("{program}: {reason}")]
    Program {
        /// The program.
        program: &'static str,
        /// The kernel's reason, and what it means.
        reason: String,
    },
    /// A program does not satisfy the verifier, which is a fault of ours: each is tested on the kernels of mail hosts.
    #[error("{program}: the verifier refused it ({source}): {log}")]
    Verifier {
        /// The program.
        program: &'static str,
        /// The kernel's error.
        source: io::Error,
        /// The last lines of the verifier's log, which say why.
        log: String,
    },
    /// What a program is to be attached to is not there.
    #[error("{program}: this kernel has no {function}")]
    NoFunction {
        /// The program.
        program: &'static str,
        /// The function, or the tracepoint's.
        function: String,
    },
    /// The kernel's own calls go past what a program is to be attached to.
    #[error("{program}: this kernel's compiler has split {function}(), whose callers go past it")]
    Split {
        /// The program.
        program: &'static str,
        /// The function.
        function: &'static str,
    },
    /// tracefs is not mounted, and it could not be mounted either.
    #[error("the tracepoint backend needs tracefs: mount -t tracefs tracefs /sys/kernel/tracing ({0})")]
    Tracefs(io::Error),
    /// The canary was opened and no record came.
    #[error("{0} attached, but did not report the canary: this kernel accepts it and never calls it")]
    Silent(Backend),
    /// No backend works.
    #[error("no way into this kernel works:\n{0}")]
    NoBackend(String),
    /// Something could not be made to outlive the process, or what did cannot be had.
    #[error("{path}: {reason}")]
    Pin {
        /// The pin.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// Something around the kernel interface failed.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl KernelError {
    /// An input or output error, with what was being done.
    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// What aya says of a pin, with its reason.
    pub(super) fn pin(path: &Path, error: &dyn std::error::Error) -> Self {
        let reason = match error.source() {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        };
        Self::Pin { path: path.to_owned(), reason }
    }

    /// A map error, with the map's name.
    pub(super) fn map(map: &'static str) -> impl FnOnce(aya::maps::MapError) -> Self {
        move |source| Self::Map { map, source }
    }
}
