//! Links in Markdown: what they point at within the project exists.

use std::path::Path;

use pulldown_cmark::{Event, Options, Parser, Tag, TagEnd};

use super::{Finding, Source};

pub(super) fn check(source: &Source, root: &Path) -> Vec<Finding> {
    let folder = source.path.parent().unwrap_or(Path::new(""));
    let mut findings = Vec::new();
    for (event, range) in
        Parser::new_ext(&source.text, Options::ENABLE_TABLES | Options::ENABLE_FOOTNOTES).into_offset_iter()
    {
        let Event::Start(Tag::Link { dest_url: target, .. } | Tag::Image { dest_url: target, .. }) = event else {
            continue;
        };
        let line = 1 + source.text.get(..range.start).unwrap_or_default().matches('\n').count();
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) = target.split_once('#').unwrap_or((&target, ""));
        let path = if file.is_empty() { root.join(&source.path) } else { root.join(folder).join(file) };
        if !path.exists() {
            findings.push(source.finding(line, format!("the link leads to {file}, which does not exist")));
            continue;
        }
        let is_markdown = path.extension().is_some_and(|extension| extension == "md");
        if !anchor.is_empty() && is_markdown {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            if !anchors(&text).iter().any(|known| known == anchor) {
                findings.push(
                    source.finding(line, format!("the link leads to the heading #{anchor}, which does not exist")),
                );
            }
        }
    }
    findings
}

/// The anchors of a file's headings: lower case, spaces as hyphens, other marks left out.
fn anchors(text: &str) -> Vec<String> {
    let mut anchors = Vec::new();
    let mut heading: Option<String> = None;
    for event in Parser::new(text) {
        match event {
            Event::Start(Tag::Heading { .. }) => heading = Some(String::new()),
            Event::End(TagEnd::Heading(_)) => anchors.extend(heading.take().map(|title| anchor(&title))),
            Event::Text(text) | Event::Code(text) => {
                if let Some(title) = &mut heading {
                    title.push_str(&text);
                }
            }
            _ => {}
        }
    }
    anchors
}

fn anchor(title: &str) -> String {
    title
        .to_lowercase()
        .chars()
        .filter_map(|c| match c {
            ' ' => Some('-'),
            '-' | '_' => Some(c),
            _ => c.is_alphanumeric().then_some(c),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn links_lead_somewhere() {
        let root = tempfile::tempdir().expect("a temporary folder");
        std::fs::create_dir(root.path().join("docs")).expect("it is empty");
        let text = "# What `it` is, and why\n\n[a](b.md) [c](../d.md#x)\n\n[e](#what-it-is-and-why) [w](https://x.test/y)\n\n\
                    ```\n[not](a-link.md)\n```\n[f](#nothing)\n";
        std::fs::write(root.path().join("docs/a.md"), text).expect("the folder is there");
        std::fs::write(root.path().join("d.md"), "# Y\n").expect("the folder is there");
        let source = Source { path: PathBuf::from("docs/a.md"), text: text.to_owned() };
        let findings: Vec<_> = check(&source, root.path()).iter().map(ToString::to_string).collect();
        assert_eq!(
            findings,
            [
                "docs/a.md:3: the link leads to b.md, which does not exist",
                "docs/a.md:3: the link leads to the heading #x, which does not exist",
                "docs/a.md:10: the link leads to the heading #nothing, which does not exist",
            ]
        );
    }
}
