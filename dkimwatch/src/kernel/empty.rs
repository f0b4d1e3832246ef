//! An empty program at every hook of a backend: the floor that a benchmark measures the backend against.

use aya::{Btf, Ebpf, EbpfLoader};

use super::{
    Backend, KernelError, backend,
    links::{LinkId, Links},
    object::EMPTY_OBJECT,
    offsets,
    parts::{self, Attach},
    session::PROCESS_TABLE,
};

/// Empty programs, attached until they are dropped.
#[derive(Debug)]
pub struct Empties(Vec<Ebpf>);

impl Empties {
    /// Attaches one at each hook of a backend, and of the process table, that this kernel has.
    ///
    /// # Errors
    /// When the kernel refuses one at a hook that the backend cannot do without.
    pub fn attach(backend: Backend) -> Result<Self, KernelError> {
        if let Some(sentence) = super::missing_rights() {
            return Err(KernelError::Rights(sentence));
        }
        let btf = Btf::from_sys_fs()
            .map_err(|error| KernelError::Btf { path: offsets::VMLINUX.into(), reason: error.to_string() })?;
        let mut empties = Self(Vec::new());
        for (_, tracepoint) in PROCESS_TABLE {
            empties.at(&Attach::BtfTracepoint(tracepoint), &btf)?;
        }
        let mut attached = Vec::new();
        for part in parts::of(backend) {
            if part.instead_of.is_some_and(|other| attached.contains(&other)) {
                continue;
            }
            match empties.at(&part.attach, &btf) {
                Ok(()) => attached.push(part.name),
                Err(error) if part.essential => return Err(error),
                // The backend goes without it, too.
                Err(error) => tracing::debug!(hook = part.name, %error, "no empty program"),
            }
        }
        Ok(empties)
    }

    /// A program is attached to one place: for each, the object is loaded once more.
    fn at(&mut self, attach: &Attach, btf: &Btf) -> Result<(), KernelError> {
        let mut ebpf = EbpfLoader::new().btf(Some(btf)).load(EMPTY_OBJECT)?;
        let name = match attach {
            Attach::Lsm(_) => "empty_lsm",
            Attach::Fexit(_) => "empty_fexit",
            Attach::Fentry(_) => "empty_fentry",
            Attach::BtfTracepoint(_) => "empty_btf_tracepoint",
            Attach::RawTracepoint(_) => "empty_raw_tracepoint",
            Attach::Tracepoints(..) => "empty_tracepoint",
        };
        backend::attach_named(&mut ebpf, name, attach, btf, &mut Links::default())?;
        self.0.push(ebpf);
        Ok(())
    }
}

/// An empty program at a tracepoint, to see what the kernel makes of it.
pub(super) fn tracepoint(btf: &Btf) -> Option<(Ebpf, &'static str, LinkId)> {
    let mut ebpf = EbpfLoader::new().btf(Some(btf)).load(EMPTY_OBJECT).ok()?;
    let (name, mut links) = ("empty_tracepoint", Links::default());
    let attach = Attach::Tracepoints("syscalls", &["sys_enter_setdomainname"]);
    backend::attach_named(&mut ebpf, name, &attach, btf, &mut links).ok()?;
    Some((ebpf, name, links.pop()?))
}
