//! Read-only globals of the kernel object, set once before it is loaded.

/// What the hooks must know beside the field offsets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HookSettings {
    /// The watcher's own process (initial pid namespace): the `identify` iterator answers for its descriptors only.
    /// No hook exempts it; the watcher never opens a key.
    pub own_tgid: u32,
}
