//! The ladder of `event.severity`: what a person should do about it.
//!
//! | value | name | what stands there |
//! |---|---|---|
//! | 0 | none | a signer or a declared tool read the key, as it should |
//! | 20 | notice | the administrator's own checks and key tools; a signer that was refused its key |
//! | 40 | low | backups, integrity checkers, scanners, configuration management: declare them or keep them away from the keys |
//! | 60 | medium | a root process without a login; a signer at a key that is not its own |
//! | 80 | high | root at a terminal, a container, image builders, a signer outside its unit |
//! | 100 | critical | another user, a disguise, a hidden executable, a signer's program with a foreign user or changed file |
//!
//! A refused attempt stands one step lower, as the key stayed shut, and never below *notice* when it was a stranger's.

/// Nothing to do.
pub const NONE: u8 = 0;
/// Worth knowing.
pub const NOTICE: u8 = 20;
/// Look at it when there is time.
pub const LOW: u8 = 40;
/// Look at it today.
pub const MEDIUM: u8 = 60;
/// Look at it now.
pub const HIGH: u8 = 80;
/// Take the key for stolen.
pub const CRITICAL: u8 = 100;

/// One step down the ladder, not below *notice*.
pub(super) const fn refused(severity: u8) -> u8 {
    if severity > LOW { severity - 20 } else { NOTICE }
}

/// The step's name.
#[must_use]
pub const fn name(severity: u8) -> &'static str {
    match severity {
        0..NOTICE => "none",
        NOTICE..LOW => "notice",
        LOW..MEDIUM => "low",
        MEDIUM..HIGH => "medium",
        HIGH..CRITICAL => "high",
        _ => "critical",
    }
}
