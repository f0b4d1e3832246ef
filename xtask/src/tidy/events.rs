//! Every event has a golden line: an access in a story, an event of the watch itself in the printer's tests.

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use super::{Finding, Source};

/// Where a kind of events gets its names, and where its golden lines are.
struct Kind {
    file: &'static str,
    owner: &'static str,
    function: &'static str,
    /// Whether this file holds golden lines of it.
    is_golden: fn(&Source) -> bool,
    remedy: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        file: "dkimwatch/src/judge/action.rs",
        owner: "Action",
        function: "name",
        is_golden: |source| source.path.starts_with("tests/stories") && source.path.ends_with("expected.txt"),
        remedy: "add a folder to tests/stories",
    },
    Kind {
        file: "dkimwatch/src/print/state.rs",
        owner: "State",
        function: "action",
        is_golden: |source| source.path.ends_with("dkimwatch/src/print/tests.rs"),
        remedy: "add its line to dkimwatch/src/print/tests.rs",
    },
    Kind {
        file: "dkimwatch/src/record/notice.rs",
        owner: "Notice",
        function: "action",
        is_golden: |source| source.path.ends_with("dkimwatch/src/print/tests.rs"),
        remedy: "add its line to dkimwatch/src/print/tests.rs",
    },
];

pub(super) fn check(sources: &[Source]) -> Vec<Finding> {
    KINDS.iter().flat_map(|kind| check_kind(sources, kind)).collect()
}

fn check_kind(sources: &[Source], kind: &Kind) -> Vec<Finding> {
    let Some(source) = sources.iter().find(|source| source.path.ends_with(kind.file)) else {
        return vec![Finding { file: kind.file.into(), line: 0, text: "the events' names are not here".to_owned() }];
    };
    let names = names(source, kind);
    if names.is_empty() {
        let Kind { owner, function, .. } = kind;
        return vec![source.finding(0, format!("the events' names are no longer in `{owner}::{function}`"))];
    }
    let golden: Vec<_> = sources.iter().filter(|source| (kind.is_golden)(source)).collect();
    names
        .into_iter()
        .filter(|(_, name)| !golden.iter().any(|source| says(&source.text, name)))
        .map(|(line, name)| source.finding(line, format!("no golden line tells of `{name}`: {}", kind.remedy)))
        .collect()
}

/// Whether a line for people is about this event: its name stands there as a word.
fn says(text: &str, name: &str) -> bool {
    text.split(char::is_whitespace).any(|word| word == name)
}

/// The strings in the function, with their lines.
fn names(source: &Source, kind: &Kind) -> Vec<(usize, String)> {
    let mut names = Vec::new();
    // What is no Rust is told by another rule.
    let tokens = source.text.parse().unwrap_or_default();
    if let Some(body) = body(tokens, "impl", kind.owner).and_then(|body| self::body(body, "fn", kind.function)) {
        strings(body, &mut names);
    }
    names
}

/// The braces that follow `keyword name`.
fn body(tokens: TokenStream, keyword: &str, name: &str) -> Option<TokenStream> {
    let mut tokens = tokens.into_iter();
    let mut before = None;
    loop {
        let token = tokens.next()?;
        if matches!(&token, TokenTree::Ident(word) if word == name)
            && matches!(&before, Some(TokenTree::Ident(word)) if word == keyword)
        {
            break;
        }
        before = Some(token);
    }
    tokens.find_map(|token| match token {
        TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => Some(group.stream()),
        _ => None,
    })
}

fn strings(tokens: TokenStream, found: &mut Vec<(usize, String)>) {
    for token in tokens {
        match token {
            TokenTree::Group(group) => strings(group.stream(), found),
            TokenTree::Literal(literal) => {
                let text = literal.to_string();
                if let Some(text) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                    found.push((literal.span().start().line, text.to_owned()));
                }
            }
            TokenTree::Ident(_) | TokenTree::Punct(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(path: &str, text: &str) -> Source {
        Source { path: path.into(), text: text.to_owned() }
    }

    const ACTIONS: &str = "\
impl Verdict { fn name(self) -> &'static str { \"expected\" } }
impl Action {
    pub const fn name(self) -> &'static str {
        match self { Self::KeyOpened => \"key-opened\", Self::KeyRead => \"key-read\" }
    }
}
";
    const STATES: &str = "impl State { fn action(&self) -> &'static str { \"events-lost\" } }";

    const NOTICES: &str = "impl Notice { fn action(&self) -> &'static str { \"journal-cut\" } }";

    #[test]
    fn an_event_without_a_golden_line_is_found() {
        let mut sources = vec![
            source("dkimwatch/src/judge/action.rs", ACTIONS),
            source("dkimwatch/src/print/state.rs", STATES),
            source("dkimwatch/src/record/notice.rs", NOTICES),
            source("dkimwatch/src/print/tests.rs", "\"1970-01-01 events-lost  12 accesses\", \" journal-cut \""),
            source("tests/stories/a/expected.txt", "1970-01-01 !! key-opened  unexpected\n key-read-twice\n"),
        ];
        let told: Vec<_> = check(&sources).iter().map(ToString::to_string).collect();
        assert_eq!(
            told,
            ["dkimwatch/src/judge/action.rs:4: no golden line tells of `key-read`: add a folder to tests/stories"]
        );
        sources.push(source("tests/stories/b/expected.txt", "x key-read y"));
        assert_eq!(check(&sources), []);
    }

    #[test]
    fn a_rule_that_lost_its_subject_says_so() {
        let sources = [source("dkimwatch/src/judge/action.rs", "impl Action {}")];
        assert_eq!(check(&sources).len(), KINDS.len());
    }
}
