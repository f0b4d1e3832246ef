//! Functions of the running kernel, as its compiler left them.

use std::{
    collections::HashSet,
    fs::File,
    io::{self, BufRead, BufReader},
    sync::LazyLock,
};

use memchr::memmem;

/// Read once: a kernel prints ten megabytes here, a page at a time.
static SPLIT: LazyLock<HashSet<String>> = LazyLock::new(|| {
    File::open("/proc/kallsyms").and_then(|symbols| split(BufReader::new(symbols))).unwrap_or_default()
});

/// Whether the compiler has split a function (`-fipa-partial-inlining`): who calls it from its own file then goes to
/// `NAME.part.0`, past the place that a program can be attached to. By `/proc/kallsyms`; where that cannot be read, it is
/// taken for whole.
pub(super) fn is_split(function: &str) -> bool {
    SPLIT.contains(function)
}

/// The functions of which there is a part, by lines of an address, a letter, and a name.
fn split(mut symbols: impl BufRead) -> io::Result<HashSet<String>> {
    let part = memmem::Finder::new(".part.");
    let mut functions = HashSet::new();
    let mut line = Vec::new();
    while symbols.read_until(b'\n', &mut line)? > 0 {
        if let Some(end) = part.find(&line)
            && let Some(name) = line.get(..end).and_then(|head| head.rsplit(|byte| *byte == b' ').next())
        {
            functions.insert(String::from_utf8_lossy(name).into_owned());
        }
        line.clear();
    }
    Ok(functions)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_with_a_part_is_split() {
        let symbols =
            "ffffffff81000000 T vfs_rmdir\nffffffff81000100 t vfs_rmdir.part.0\nffffffff81000200 t vfs_link\t[mod]\n";
        assert_eq!(split(symbols.as_bytes()).unwrap(), HashSet::from(["vfs_rmdir".to_owned()]));
    }

    #[test]
    fn a_function_that_nobody_has_is_not_split() {
        assert!(!is_split("no_kernel_has_this"));
    }
}
