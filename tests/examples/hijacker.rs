//! Foreign code in a signer's process: a library that reads the key as soon as it is loaded, before the program's own first
//! instruction, shows it as the thief does, and ends the process.
//!
//! The key is named in the environment (`HIJACKER_KEY`); without it the library does nothing. It asks nothing of Rust's own
//! runtime, as the dynamic linker loads an audit library (rtld-audit(7)) into a world of its own.

use std::ffi::{CStr, c_char, c_int, c_uint};

type Constructor = extern "C" fn(c_int, *const *const c_char, *const *const c_char);

#[used]
// SAFETY: a pointer to a function as the dynamic linker calls those of this section, and nothing else.
#[unsafe(link_section = ".init_array")]
static CONSTRUCTOR: Constructor = loaded;

/// Makes this an audit library as well; without it the dynamic linker would not keep it.
// SAFETY: no other symbol of this library has the name.
#[unsafe(no_mangle)]
pub extern "C" fn la_version(version: c_uint) -> c_uint {
    version
}

extern "C" fn loaded(_: c_int, _: *const *const c_char, environment: *const *const c_char) {
    // SAFETY: what the dynamic linker hands to a constructor: strings with their NULs, and a null pointer behind them.
    let key = unsafe { variable(environment, b"HIJACKER_KEY=") };
    if let Some(key) = key {
        let code = if show(key).is_some() { 0 } else { 1 };
        // SAFETY: ends the process; nothing in it has begun yet.
        unsafe { libc::_exit(code) };
    }
}

/// # Safety
/// A list of strings with their NULs that ends with a null pointer, which all live as long as the process.
unsafe fn variable(mut list: *const *const c_char, beginning: &[u8]) -> Option<&'static CStr> {
    loop {
        // SAFETY: not beyond the null pointer, by the loop.
        let one = unsafe { *list };
        if one.is_null() {
            return None;
        }
        // SAFETY: as the caller promises.
        let one = unsafe { CStr::from_ptr(one) };
        if one.to_bytes().starts_with(beginning) {
            return CStr::from_bytes_with_nul(one.to_bytes_with_nul().get(beginning.len()..)?).ok();
        }
        list = list.wrapping_add(1);
    }
}

/// Reads the key and writes `pid tid parent`, a newline, and its bytes.
fn show(key: &CStr) -> Option<()> {
    let mut line = [0_u8; 4096];
    // SAFETY: calls without arguments.
    let (pid, parent) = unsafe { (libc::getpid(), libc::getppid()) };
    let mut at = 0;
    for (number, end) in [(pid, b' '), (pid, b' '), (parent, b'\n')] {
        at = decimal(&mut line, at, number.unsigned_abs(), end)?;
    }
    // SAFETY: a string with its NUL.
    let file = unsafe { libc::open(key.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC) };
    let room = line.get_mut(at..)?;
    // SAFETY: the room is that long.
    let read = unsafe { libc::read(file, room.as_mut_ptr().cast(), room.len()) };
    let shown = line.get(..at + usize::try_from(read).ok()?)?;
    // SAFETY: these bytes are there.
    let written = unsafe { libc::write(1, shown.as_ptr().cast(), shown.len()) };
    (usize::try_from(written) == Ok(shown.len())).then_some(())
}

/// Writes a number and what ends it; the place behind.
fn decimal(line: &mut [u8], at: usize, mut number: u32, end: u8) -> Option<usize> {
    let mut digits = [0_u8; 10];
    let mut count = 0;
    loop {
        *digits.get_mut(count)? = b'0' + u8::try_from(number % 10).ok()?;
        (count, number) = (count + 1, number / 10);
        if number == 0 {
            break;
        }
    }
    for (index, digit) in digits.get(..count)?.iter().rev().enumerate() {
        *line.get_mut(at + index)? = *digit;
    }
    *line.get_mut(at + count)? = end;
    Some(at + count + 1)
}
