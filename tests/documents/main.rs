//! The documents, held against the code: what is generated is current, what is written by hand is complete.
//!
//! After a change of the command line, `BLESS=1 cargo test -p dkimwatch-tests --test documents` writes the manual pages
//! and completions anew; read the difference before it is committed.

mod configuration;
mod generated;
mod output;
mod readme;

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

/// A file of the project, from its root.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn text(name: &str) -> Result<String> {
    fs::read_to_string(path(name)).with_context(|| name.to_owned())
}

/// The string literals of a Rust file, its tests left out. Enough of the language for files without raw strings.
fn literals(name: &str) -> Result<Vec<String>> {
    let source = text(name)?;
    let code = source.split("#[cfg(test)]").next().unwrap_or_default();
    let lines = code.lines().filter(|line| !line.trim_start().starts_with("//"));
    Ok(lines.flat_map(|line| line.split('"').skip(1).step_by(2).map(str::to_owned).collect::<Vec<_>>()).collect())
}

/// The files of a folder of the project, in order.
fn files(folder: &str) -> Result<Vec<String>> {
    let entries = fs::read_dir(path(folder)).with_context(|| folder.to_owned())?;
    let names: std::io::Result<Vec<_>> = entries.map(|entry| Ok(entry?.file_name())).collect();
    let mut names: Vec<_> = names?.iter().map(|name| format!("{folder}/{}", name.display())).collect();
    names.sort();
    Ok(names)
}

/// The content of the first fenced block of a language.
fn block<'t>(markdown: &'t str, language: &str) -> Option<&'t str> {
    let (_, rest) = markdown.split_once(&format!("\n```{language}\n"))?;
    rest.split_once("\n```").map(|(inside, _)| inside)
}

/// The first cells of a Markdown file's table rows, without the marks of code.
fn first_cells(markdown: &str) -> Vec<String> {
    let rows = markdown.lines().filter_map(|line| line.strip_prefix("| `"));
    rows.filter_map(|row| row.split_once('`').map(|(cell, _)| cell.to_owned())).collect()
}

#[test]
fn blocks_and_cells_are_found() {
    let markdown = "a\n```toml\nx = 1\n```\n| `a.b` | c |\n| d | `e` |\n";
    assert_eq!(block(markdown, "toml"), Some("x = 1"));
    assert_eq!(block(markdown, "json"), None);
    assert_eq!(first_cells(markdown), ["a.b"]);
}
