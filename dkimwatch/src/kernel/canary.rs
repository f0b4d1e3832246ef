//! A file of our own that proves a backend live: a memfd, so that nothing is left behind, reopened by its name in `/proc`.

use std::{
    fs::File,
    os::fd::{AsRawFd as _, OwnedFd},
};

use rustix::fs::{MemfdFlags, memfd_create};

use super::{KernelError, identify::Handle};

/// The canary.
pub(super) struct Canary {
    memfd: OwnedFd,
}

impl Canary {
    /// Makes the file.
    ///
    /// # Errors
    /// As memfd_create(2).
    pub(super) fn new() -> Result<Self, KernelError> {
        let memfd = memfd_create("dkimwatch-canary", MemfdFlags::CLOEXEC)
            .map_err(|errno| KernelError::io("create the canary")(errno.into()))?;
        Ok(Self { memfd })
    }

    /// A descriptor for identification.
    pub(super) fn handle(&self) -> Result<Handle, KernelError> {
        self.memfd.try_clone().map(Handle::from_fd).map_err(KernelError::io("duplicate the canary"))
    }

    /// Opens it, as anybody would open a key.
    pub(super) fn open(&self) -> Result<(), KernelError> {
        let path = format!("/proc/self/fd/{}", self.memfd.as_raw_fd());
        File::open(&path).map(drop).map_err(KernelError::io(format!("open the canary, {path}")))
    }
}
