//! Rules for Rust: read as tokens, so that words in strings and comments don't count.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{Finding, Source};

/// Lines of a file, its tests left out. Longer ones hold two subjects.
const LONGEST: usize = 500;

/// Names that say nothing.
const EMPTY_NAMES: [&str; 3] = ["utils", "helpers", "manager"];

/// Macros that stand for what is missing.
const UNFINISHED: [&str; 2] = ["todo", "unimplemented"];

pub(super) fn check(source: &Source) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !source.text.starts_with("//!") {
        findings.push(source.finding(1, "the file begins without its doc comment: say in `//!` what it is for"));
    }
    let stem = source.path.file_stem().unwrap_or_default().to_string_lossy();
    if EMPTY_NAMES.iter().any(|name| stem == *name) {
        findings.push(source.finding(0, format!("`{stem}` says nothing: name the file after its subject")));
    }
    let length = lines_without_tests(source);
    if length > LONGEST {
        findings.push(source.finding(0, format!("{length} lines, {LONGEST} at most: split it by subject")));
    }
    match source.text.parse::<TokenStream>() {
        Ok(tokens) => words(source, tokens, &mut findings),
        Err(error) => findings.push(source.finding(error.span().start().line, "this is not Rust")),
    }
    findings
}

/// Tests come last in a file, or lie in one of their own.
fn lines_without_tests(source: &Source) -> usize {
    let stem = source.path.file_stem().unwrap_or_default().to_string_lossy();
    let in_tests = source.path.components().any(|part| part.as_os_str() == "tests");
    if in_tests || stem == "tests" || stem.ends_with("_tests") {
        return 0;
    }
    source.text.lines().take_while(|line| *line != "#[cfg(test)]").count()
}

fn words(source: &Source, tokens: TokenStream, findings: &mut Vec<Finding>) {
    let mut tokens = tokens.into_iter().peekable();
    while let Some(token) = tokens.next() {
        match token {
            // An attribute: `#[unsafe(no_mangle)]` is a promise about a name, not a block that could go wrong.
            TokenTree::Punct(mark) if mark.as_char() == '#' => {
                if tokens.peek().is_some_and(|next| matches!(next, TokenTree::Punct(mark) if mark.as_char() == '!')) {
                    tokens.next();
                }
                if tokens.peek().is_some_and(|next| is_group(next, Delimiter::Bracket)) {
                    tokens.next();
                }
            }
            TokenTree::Group(group) => words(source, group.stream(), findings),
            TokenTree::Ident(word) => {
                let line = word.span().start().line;
                let next = tokens.peek();
                let before_mark =
                    next.is_some_and(|next| matches!(next, TokenTree::Punct(mark) if mark.as_char() == '!'));
                if word == "unsafe" && explains_itself(next) && !has_safety_comment(&source.text, line) {
                    findings.push(source.finding(line, "`unsafe` without a `// SAFETY:` comment above it"));
                }
                if before_mark && UNFINISHED.iter().any(|name| word == *name) {
                    findings.push(source.finding(line, format!("`{word}!`: nothing unfinished is kept")));
                }
                if word == "fn"
                    && let Some(TokenTree::Ident(name)) = next
                    && name.to_string().starts_with("get_")
                {
                    findings.push(source.finding(line, format!("`{name}`: leave out the `get_`")));
                }
            }
            TokenTree::Punct(_) | TokenTree::Literal(_) => {}
        }
    }
}

fn is_group(token: &TokenTree, delimiter: Delimiter) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == delimiter)
}

/// `unsafe { … }` and `unsafe impl` say why they are sound; an `unsafe fn` says in its doc comment what its caller owes,
/// which clippy's `missing_safety_doc` checks, and `unsafe extern` only declares.
fn explains_itself(next: Option<&TokenTree>) -> bool {
    match next {
        Some(TokenTree::Ident(word)) => word == "impl",
        Some(token) => is_group(token, Delimiter::Brace),
        None => false,
    }
}

/// The comment stands on the line itself or ends right above the statement, which may begin some lines before its
/// `unsafe`; attributes may stand between.
fn has_safety_comment(text: &str, line: usize) -> bool {
    let lines: Vec<_> = text.lines().collect();
    let above = lines.get(..line).unwrap_or_default();
    if above.last().is_some_and(|own| own.contains("SAFETY:")) {
        return true;
    }
    let mut statement_lines = 0;
    for text in above.iter().rev().skip(1).map(|text| text.trim()) {
        if text.starts_with("//") {
            if text.contains("SAFETY:") {
                return true;
            }
        } else if text.starts_with("#[") {
            // Attributes belong to what follows.
        } else if text.is_empty() || text.ends_with([';', '}']) || statement_lines == 3 {
            return false;
        } else {
            statement_lines += 1;
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let source = Source { path: PathBuf::from("a/src/b.rs"), text: text.to_owned() };
        check(&source).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn a_file_begins_with_what_it_is_for() {
        assert_eq!(findings("//! It is for this.\n"), Vec::<String>::new());
        assert!(findings("use std::fmt;\n")[0].starts_with("a/src/b.rs:1: "));
    }

    #[test]
    fn unsafe_is_explained() {
        assert_eq!(findings("//! x\nfn f() {\n    // SAFETY: it is.\n    unsafe { g() }\n}\n"), Vec::<String>::new());
        assert_eq!(
            findings("//! x\nfn f() {\n    // SAFETY: it is.\n    let a =\n        unsafe { g() };\n}\n"),
            Vec::<String>::new()
        );
        assert_eq!(findings("//! x\n#[unsafe(no_mangle)]\nfn f() { \"unsafe { }\"; }\n"), Vec::<String>::new());
        assert_eq!(findings("//! x\nfn f() {\n    unsafe { g() }\n}\n").len(), 1);
        assert_eq!(findings("//! x\nunsafe impl Send for X {}\n").len(), 1);
        let other = "//! x\nfn f() {\n    // SAFETY: it is.\n    unsafe { g() };\n    unsafe { h() };\n}\n";
        assert_eq!(findings(other), ["a/src/b.rs:5: `unsafe` without a `// SAFETY:` comment above it"]);
    }

    #[test]
    fn nothing_unfinished_and_no_empty_names() {
        assert_eq!(findings("//! x\nfn f() { todo!() }\n").len(), 1);
        assert_eq!(findings("//! x\nfn f() { let todo = 1; }\n"), Vec::<String>::new());
        assert_eq!(findings("//! x\nfn get_name() {}\n"), ["a/src/b.rs:2: `get_name`: leave out the `get_`"]);
        let source = Source { path: PathBuf::from("a/src/utils.rs"), text: "//! x\n".to_owned() };
        assert_eq!(check(&source).len(), 1);
    }

    #[test]
    fn a_file_may_be_long_in_its_tests_only() {
        let long = format!("//! x\n{}", "const A: u8 = 0;\n".repeat(LONGEST));
        assert_eq!(findings(&long), ["a/src/b.rs: 501 lines, 500 at most: split it by subject"]);
        let tests = format!("//! x\n#[cfg(test)]\nmod tests {{\n{}}}\n", "const A: u8 = 0;\n".repeat(LONGEST));
        assert_eq!(findings(&tests), Vec::<String>::new());
        let apart = Source { path: PathBuf::from("a/src/b_tests.rs"), text: long };
        assert_eq!(check(&apart), []);
    }
}
