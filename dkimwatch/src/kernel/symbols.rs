//! Functions of the running kernel, as its compiler left them.

use std::{
    fs::File,
    io::{BufRead as _, BufReader},
};

/// Whether the compiler has split a function (`-fipa-partial-inlining`): who calls it from its own file then goes to
/// `NAME.part.0`, past the place that a program can be attached to. By `/proc/kallsyms`; where that cannot be read, it is
/// taken for whole.
pub(super) fn is_split(function: &str) -> bool {
    let part = format!("{function}.part.");
    let Ok(symbols) = File::open("/proc/kallsyms") else { return false };
    let is_part = |line: Vec<u8>| {
        // An address, a letter, the name.
        line.splitn(3, |byte| *byte == b' ').nth(2).is_some_and(|name| name.starts_with(part.as_bytes()))
    };
    BufReader::new(symbols).split(b'\n').map_while(Result::ok).any(is_part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_that_nobody_has_is_not_split() {
        assert!(!is_split("no_kernel_has_this"));
    }
}
