//! What the output of Rust's test harness says.

/// Numbers of tests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Passed.
    pub(crate) passed: u64,
    /// Failed.
    pub(crate) failed: u64,
    /// Marked as not to be run.
    pub(crate) ignored: u64,
}

/// A line with which a test says that it cannot be done here, and why. Such a test passes for the harness, not for us.
const UNABLE: &str = "COULD NOT RUN: ";

impl Counts {
    /// A check that is one test itself.
    pub(crate) const ONE: Self = Self { passed: 1, failed: 0, ignored: 0 };

    /// The sum of all result lines; `None`: there is none, so the harness never came to its end.
    pub(crate) fn read(output: &str) -> Option<Self> {
        output.lines().filter_map(result_line).reduce(|sum, one| Self {
            passed: sum.passed + one.passed,
            failed: sum.failed + one.failed,
            ignored: sum.ignored + one.ignored,
        })
    }
}

/// The reasons that tests gave for not having been done.
pub(crate) fn unable(output: &str) -> Vec<&str> {
    let mut reasons: Vec<_> = output.lines().filter_map(|line| line.trim().strip_prefix(UNABLE)).collect();
    reasons.dedup();
    reasons
}

/// `test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s`
fn result_line(line: &str) -> Option<Counts> {
    let (_, numbers) = line.trim().strip_prefix("test result: ")?.split_once(". ")?;
    let mut counts = Counts::default();
    for part in numbers.split("; ") {
        match part.split_once(' ') {
            Some((number, "passed")) => counts.passed = number.parse().ok()?,
            Some((number, "failed")) => counts.failed = number.parse().ok()?,
            Some((number, "ignored")) => counts.ignored = number.parse().ok()?,
            _ => {}
        }
    }
    Some(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_of_several_binaries_are_summed() {
        let output = "\
running 3 tests
test result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s
test result: FAILED. 5 passed; 2 failed; 0 ignored; 0 measured; 0 filtered out; finished in 1.00s\r
";
        assert_eq!(Counts::read(output), Some(Counts { passed: 7, failed: 2, ignored: 1 }));
    }

    #[test]
    fn an_output_without_a_result_has_no_numbers() {
        assert_eq!(Counts::read("running 3 tests\nKilled\n"), None);
    }

    #[test]
    fn a_test_may_say_that_it_could_not_run() {
        assert_eq!(unable("x\n  COULD NOT RUN: no Exim here\nCOULD NOT RUN: no Exim here\n"), ["no Exim here"]);
    }
}
