//! `picture`: the picture in the README, which is what a terminal shows: the product watches a mail host in a guest, its
//! output goes through a terminal in memory, and the terminal's cells become an SVG.

use std::{fmt::Write as _, fs, io, path::PathBuf, process::ExitCode, time::Duration};

use anyhow::{Context as _, Result, bail};
use vt100::{Color, Parser, Screen};

use crate::{
    command::{self, capture, quote, require},
    kernels,
    setup::{self, Need},
    vm::{Boot, FileSystem},
    workspace,
};

/// What `picture` is asked.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// Draw what an earlier guest left in this file, instead of booting one
    #[arg(long, value_name = "TYPESCRIPT")]
    from: Option<PathBuf>,
    /// The kernel of the guest
    #[arg(long, default_value = "6.1")]
    kernel: String,
}

/// The terminal. Lines longer than it wrap, as they do on a real one.
const COLUMNS: u16 = 148;
const ROWS: u16 = 60;

/// A cell, in the SVG's units.
const CELL: (f64, f64) = (8.0, 18.0);
const MARGIN: f64 = 14.0;

/// Where the picture lies.
const PICTURE: &str = "docs/picture.svg";

/// What the scene needs of this machine, whose root the guest shares, and the package that has it.
const ACTORS: [(&str, &str); 4] = [
    ("opendkim", "opendkim"),
    ("opendkim-genkey", "opendkim-tools"),
    ("script", "bsdutils"),
    ("setpriv", "util-linux"),
];

/// Boots, watches, draws.
pub(crate) fn main(arguments: &Arguments) -> Result<ExitCode> {
    let bytes = match &arguments.from {
        Some(file) => fs::read(file).with_context(|| format!("cannot read {}", file.display()))?,
        None => record(&arguments.kernel)?,
    };
    let svg = draw(&shown(&bytes));
    fs::write(workspace::root().join(PICTURE), svg).with_context(|| format!("cannot write {PICTURE}"))?;
    println!("{PICTURE} is drawn; look at it before it is committed");
    Ok(ExitCode::SUCCESS)
}

/// What script(1) wrote down of the watch in the guest.
fn record(series: &str) -> Result<Vec<u8>> {
    for (program, package) in ACTORS {
        if require(program).is_err() {
            bail!("the scene needs {program}, which is not here: apt-get install --no-install-recommends {package}");
        }
    }
    setup::require(&[Need::Build, Need::Guests])?;
    capture(&mut command::cargo(["build", "-p", "dkimwatch"]))?;
    let out = workspace::target().join("picture");
    command::folder(&out)?;
    let typescript = out.join("typescript");
    let _ = fs::remove_file(&typescript);
    let product = workspace::target().join("debug/dkimwatch");
    let script = format!(
        "export PRODUCT={} OUT={}\n{}",
        quote(&product.to_string_lossy()),
        quote(&out.to_string_lossy()),
        include_str!("scene.sh")
    );
    let boot = Boot {
        script,
        disk: Some(FileSystem::Ext4),
        out: Some(out),
        timeout: Duration::from_secs(120),
        ..Boot::new(kernels::obtain(series)?)
    };
    let finished = boot.run(&mut io::stdout())?;
    if finished.status != 0 {
        bail!("the scene was not played to its end: exit {}\n{}", finished.status, finished.console);
    }
    fs::read(&typescript).with_context(|| format!("the guest left no {}", typescript.display()))
}

/// The terminal after everything was shown. script(1)'s own first and last line are no part of it.
fn shown(typescript: &[u8]) -> Parser {
    let mut terminal = Parser::new(ROWS, COLUMNS, 0);
    for line in typescript.split_inclusive(|byte| *byte == b'\n') {
        if !line.starts_with(b"Script started") && !line.starts_with(b"Script done") {
            terminal.process(line);
        }
    }
    terminal
}

/// A stretch of cells of one look.
struct Run {
    column: u16,
    cells: u16,
    text: String,
    look: Look,
}

#[derive(Clone, Copy, PartialEq)]
struct Look {
    ink: &'static str,
    paper: Option<&'static str>,
    bold: bool,
}

fn draw(terminal: &Parser) -> String {
    let screen = terminal.screen();
    let rows: Vec<Vec<Run>> = (0..ROWS).map(|row| runs(screen, row)).collect();
    let used = rows.iter().rposition(|row| !row.is_empty()).map_or(0, |last| last + 1);
    let (width, height) = (f64::from(COLUMNS) * CELL.0 + 2.0 * MARGIN, used as f64 * CELL.1 + 2.0 * MARGIN);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         font-family=\"ui-monospace, 'DejaVu Sans Mono', Menlo, Consolas, monospace\" font-size=\"13\">\n\
         <title>dkimwatch watch on a mail host</title>\n\
         <rect width=\"{width}\" height=\"{height}\" rx=\"8\" fill=\"{PAPER}\"/>\n"
    );
    for (row, runs) in rows.iter().take(used).enumerate() {
        let top = MARGIN + row as f64 * CELL.1;
        for run in runs {
            let (x, wide) = (MARGIN + f64::from(run.column) * CELL.0, f64::from(run.cells) * CELL.0);
            if let Some(paper) = run.look.paper {
                let _ = writeln!(
                    svg,
                    "<rect x=\"{x}\" y=\"{top}\" width=\"{wide}\" height=\"{}\" fill=\"{paper}\"/>",
                    CELL.1
                );
            }
            let weight = if run.look.bold { " font-weight=\"bold\"" } else { "" };
            // The length is given, so that the columns stay where they are in any font.
            let _ = writeln!(
                svg,
                "<text x=\"{x}\" y=\"{}\" textLength=\"{wide}\" lengthAdjust=\"spacingAndGlyphs\" fill=\"{}\"{weight} \
                 xml:space=\"preserve\">{}</text>",
                top + 13.5,
                run.look.ink,
                escaped(&run.text)
            );
        }
    }
    svg + "</svg>\n"
}

/// A row's stretches, without the blanks at its end.
fn runs(screen: &Screen, row: u16) -> Vec<Run> {
    let mut runs: Vec<Run> = Vec::new();
    for column in 0..COLUMNS {
        let Some(cell) = screen.cell(row, column).filter(|cell| !cell.is_wide_continuation()) else { continue };
        let look = Look { ink: ink(cell.fgcolor()), paper: paper(cell.bgcolor()), bold: cell.bold() };
        let text = if cell.has_contents() { cell.contents() } else { " " };
        let cells = if cell.is_wide() { 2 } else { 1 };
        match runs.last_mut() {
            Some(run) if run.look == look => {
                run.text.push_str(text);
                run.cells += cells;
            }
            _ => runs.push(Run { column, cells, text: text.to_owned(), look }),
        }
    }
    while let Some(last) = runs.last_mut() {
        let blank = last.text.len() - last.text.trim_end_matches(' ').len();
        if last.look.paper.is_some() || blank == 0 {
            break;
        }
        last.text.truncate(last.text.len() - blank);
        last.cells -= u16::try_from(blank).unwrap_or(last.cells);
        if last.text.is_empty() {
            runs.pop();
        }
    }
    runs
}

const PAPER: &str = "#14181d";

/// The colours that the product uses (ECMA-48, 8.3.117), as a dark terminal shows them.
fn ink(colour: Color) -> &'static str {
    match colour {
        Color::Idx(1) => "#ff7b72",
        Color::Idx(2) => "#56d364",
        Color::Idx(3) => "#e3b341",
        Color::Idx(6) => "#39c5cf",
        Color::Idx(15) => "#ffffff",
        _ => "#d0d7de",
    }
}

fn paper(colour: Color) -> Option<&'static str> {
    match colour {
        Color::Idx(1) => Some("#c62828"),
        _ => None,
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_shows_is_drawn() {
        let bytes = b"Script started on x\r\nplain \x1b[1;97;41m!! a<b \x1b[0m  end   \r\nScript done\r\n";
        let svg = draw(&shown(bytes));
        assert!(svg.contains(">plain </text>"), "{svg}");
        assert!(
            svg.contains("fill=\"#ffffff\" font-weight=\"bold\" xml:space=\"preserve\">!! a&lt;b </text>"),
            "{svg}"
        );
        assert!(svg.contains("width=\"56\" height=\"18\" fill=\"#c62828\""), "seven cells of paper: {svg}");
        assert!(svg.contains(">  end</text>") && !svg.contains("Script"), "{svg}");
        let one_row = MARGIN + MARGIN + CELL.1;
        assert!(svg.contains(&format!(" {one_row}\" role")), "only the rows that are used: {svg}");
    }

    #[test]
    fn a_long_line_wraps_as_on_a_terminal() {
        let long = "x".repeat(usize::from(COLUMNS) + 3);
        let terminal = shown(long.as_bytes());
        assert_eq!(runs(terminal.screen(), 1).first().map(|run| run.text.as_str()), Some("xxx"));
    }
}
