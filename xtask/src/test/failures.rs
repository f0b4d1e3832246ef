//! Which tests failed, and what they said: of the output of Rust's test harness, and of `libtest-mimic`'s.

/// Lines of what a failed test said that are repeated at the end.
const LINES: usize = 6;

/// The names of the tests that failed, each with the first lines of what it said.
pub(super) fn read(output: &str) -> Vec<String> {
    let mut failures: Vec<Vec<&str>> = Vec::new();
    // The harness lists what tests that passed have said in the same way, under a title of its own.
    let (mut failed, mut open) = (false, false);
    for line in output.lines().map(str::trim_end) {
        match line {
            "failures:" | "successes:" => (failed, open) = (line == "failures:", false),
            _ if line.starts_with("test result: ") => (failed, open) = (false, false),
            _ if !failed => {}
            _ => {
                if let Some(name) = heading(line) {
                    failures.push(vec![name]);
                    open = true;
                } else if let Some(failure) = failures.last_mut().filter(|failure| open && failure.len() <= LINES)
                    && !line.trim().is_empty()
                {
                    failure.push(line);
                }
            }
        }
    }
    failures.into_iter().map(|failure| failure.join("\n    ")).collect()
}

/// `---- name stdout ----`, or without the word.
fn heading(line: &str) -> Option<&str> {
    let name = line.strip_prefix("---- ")?.strip_suffix(" ----")?;
    Some(name.strip_suffix(" stdout").unwrap_or(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_test_is_named_with_what_it_said() {
        let output = "\
running 3 tests
test fine ... ok
test broken ... FAILED

successes:

---- fine stdout ----
all is well


successes:
    fine

failures:

---- broken stdout ----

thread 'broken' panicked at src/lib.rs:3:4:
two is not three


failures:
    broken

test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s
";
        assert_eq!(read(output), ["broken\n    thread 'broken' panicked at src/lib.rs:3:4:\n    two is not three"]);
    }

    #[test]
    fn a_sentence_that_failed_is_named_as_well() {
        let output = "\
failures:

---- a_theft ----
it was not seen\r
---- another ----


failures:
    a_theft
    another


test result: FAILED. 304 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 200.00s
SEES {}
";
        assert_eq!(read(output), ["a_theft\n    it was not seen", "another"]);
    }

    #[test]
    fn what_goes_on_and_on_is_cut() {
        let said: String = (0..100).map(|line| format!("line {line}\n")).collect();
        let failures = read(&format!("failures:\n---- long stdout ----\n{said}"));
        assert_eq!(failures.first().map(|failure| failure.lines().count()), Some(1 + LINES));
    }
}
