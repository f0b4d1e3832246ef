//! Read-only globals of the kernel object, set once before it is loaded.

/// What the hooks must know beside the field offsets.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default)]
pub struct HookSettings {
    /// The watcher's own process, whose opens are exempt: it never reads a key, but it does open folders.
    pub own_tgid: u32,
    /// Parent levels that the tracepoint backend looks at for a watched folder; the other backends mark a new
    /// subfolder when it is made and look at one.
    pub walk_depth: u32,
}
