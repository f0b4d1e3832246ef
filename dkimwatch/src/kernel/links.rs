//! Where programs are attached, so that it can be made to outlive the process.

use std::path::Path;

use aya::{
    Btf, Ebpf,
    programs::{
        BtfTracePoint, FEntry, FExit, Lsm, ProgramError, RawTracePoint, TracePoint,
        fentry::FEntryLinkId,
        fexit::FExitLinkId,
        links::{FdLink, PinnedLink},
        lsm::LsmLinkId,
        raw_trace_point::RawTracePointLinkId,
        tp_btf::BtfTracePointLinkId,
        trace_point::TracePointLinkId,
    },
};

use super::{KernelError, backend, empty};

/// One place where a program is attached.
#[derive(Debug)]
pub(super) enum LinkId {
    Lsm(LsmLinkId),
    Fexit(FExitLinkId),
    Fentry(FEntryLinkId),
    BtfTracepoint(BtfTracePointLinkId),
    RawTracepoint(RawTracePointLinkId),
    /// Through perf: it outlives the process from 5.15 on.
    Tracepoint(TracePointLinkId),
}

/// All of them, in the order in which they were attached.
#[derive(Debug, Default)]
pub(super) struct Links(Vec<(&'static str, LinkId)>);

/// What was pinned, and the programs that cannot be.
pub(super) struct PinnedLinks {
    /// In the order in which they were attached.
    pub(super) links: Vec<PinnedLink>,
    /// These end with the process.
    pub(super) fleeting: Vec<&'static str>,
}

impl Links {
    pub(super) fn add(&mut self, program: &'static str, id: LinkId) {
        self.0.push((program, id));
    }

    /// The last one.
    pub(super) fn pop(&mut self) -> Option<LinkId> {
        self.0.pop().map(|(_, id)| id)
    }

    /// These programs are attached nowhere any more.
    pub(super) fn forget(&mut self, is_gone: impl Fn(&str) -> bool) {
        self.0.retain(|(program, _)| !is_gone(program));
    }

    /// Pins them in a folder, with numbers from `first` on. From then on they are detached by removing the pin and dropping what is returned, and by nothing else.
    ///
    /// # Errors
    /// When the kernel refuses one; those before it are detached then.
    pub(super) fn pin(
        &mut self,
        ebpf: &mut Ebpf,
        btf: &Btf,
        folder: &Path,
        first: usize,
    ) -> Result<PinnedLinks, KernelError> {
        let mut pinned = PinnedLinks { links: Vec::new(), fleeting: Vec::new() };
        let may_pin_perf = self.0.iter().any(|(_, id)| matches!(id, LinkId::Tracepoint(_))) && perf_links(btf);
        for (number, (program, id)) in (first..).zip(std::mem::take(&mut self.0)) {
            if matches!(id, LinkId::Tracepoint(_)) && !may_pin_perf {
                if !pinned.fleeting.contains(&program) {
                    pinned.fleeting.push(program);
                }
                self.0.push((program, id));
                continue;
            }
            let refused = |error| backend::refused(program, error);
            let link = take(ebpf, program, id).map_err(refused)?;
            let path = folder.join(format!("{number:03}-{program}"));
            let link = link.pin(&path).map_err(|error| KernelError::pin(&path, &error))?;
            pinned.links.push(link);
        }
        Ok(pinned)
    }
}

fn take(ebpf: &mut Ebpf, name: &'static str, id: LinkId) -> Result<FdLink, ProgramError> {
    let program = ebpf.program_mut(name).ok_or(ProgramError::NotAttached)?;
    Ok(match id {
        LinkId::Lsm(id) => <&mut Lsm>::try_from(program)?.take_link(id)?.into(),
        LinkId::Fexit(id) => <&mut FExit>::try_from(program)?.take_link(id)?.into(),
        LinkId::Fentry(id) => <&mut FEntry>::try_from(program)?.take_link(id)?.into(),
        LinkId::BtfTracepoint(id) => <&mut BtfTracePoint>::try_from(program)?.take_link(id)?.into(),
        LinkId::RawTracepoint(id) => <&mut RawTracePoint>::try_from(program)?.take_link(id)?.into(),
        LinkId::Tracepoint(id) => {
            <&mut TracePoint>::try_from(program)?.take_link(id)?.try_into().map_err(|_| ProgramError::NotAttached)?
        }
    })
}

/// Whether what is attached to a tracepoint through perf is a link (5.15), which alone can be pinned: tried with an empty program, as
/// trying it with a real one would detach that.
fn perf_links(btf: &Btf) -> bool {
    let tried = empty::tracepoint(btf).and_then(|(mut ebpf, name, id)| take(&mut ebpf, name, id).ok());
    tried.is_some()
}
