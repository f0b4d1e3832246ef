//! The figures as tables, for `docs/bench.md`, whose text says how they were measured.

use anyhow::{Context as _, Result};

use super::{Report, figures::thousands, flood::Flood};

/// Between these lines stands what `bench` writes; the rest of the document is written by hand.
const BEGIN: &str = "<!-- bench -->\n";
const END: &str = "<!-- /bench -->\n";

/// The document with other tables.
///
/// # Errors
/// The two lines are not there.
pub(super) fn put(document: &str, tables: &str) -> Result<String> {
    let parts = document.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) = parts.context("it has no lines `<!-- bench -->` and `<!-- /bench -->`, or one of them")?;
    Ok(format!("{before}{BEGIN}{tables}{END}{after}"))
}

/// The tables.
pub(super) fn tables(report: &Report) -> String {
    let mut text: String = report.instructions.iter().map(|figures| figures.table() + "\n").collect();
    if let Some(flood) = &report.flood {
        text += &climb(report, flood);
    }
    if !report.bursts.is_empty() {
        text += "### A burst in each backend\n\n| kernel | backend | opens | told | reported as lost |\n|---|---|---:|---:|---:|\n";
        for burst in &report.bursts {
            for rung in &burst.rungs {
                let counts = [rung.opens, rung.seen, rung.lost].map(number).join(" | ");
                text += &format!("| {} | {} | {counts} |\n", burst.release, burst.backend);
            }
        }
        text.push('\n');
    }
    let floods: Vec<&Flood> = report.flood.iter().chain(&report.bursts).collect();
    if !floods.is_empty() {
        text += "### Memory\n\n| kernel | backend | begun | after the flood | of it its own | maps |\n|---|---|---:|---:|---:|---:|\n";
        for flood in floods {
            let memory =
                [flood.memory.idle, flood.memory.after, flood.memory.own, flood.memory.maps].map(mebibytes).join(" | ");
            text += &format!("| {} | {} | {memory} |\n", flood.release, flood.backend);
        }
    }
    text
}

/// The rates that were tried on this machine.
fn climb(report: &Report, flood: &Flood) -> String {
    let Report { processor, processors, .. } = report;
    let mut text = format!(
        "### A stranger's flood\n\nThis machine: Linux {}, {processors} × {processor}, backend `{}`. ",
        flood.release, flood.backend
    );
    text += &match flood.lossless() {
        Some(rate) => format!("**{} opens a second without a loss.**\n", number(rate)),
        None => "At no rate was nothing lost.\n".to_owned(),
    };
    text += "\n| asked, a second | reached, a second | opens | told | reported as lost |\n|---:|---:|---:|---:|---:|\n";
    for rung in &flood.rungs {
        let asked = rung.asked.map_or("as fast as it goes".to_owned(), number);
        let counts = [rung.rate(), rung.opens, rung.seen, rung.lost].map(number).join(" | ");
        text += &format!("| {asked} | {counts} |\n");
    }
    text.push('\n');
    text
}

fn number(number: u64) -> String {
    thousands(number.cast_signed())
}

/// Tenths are enough.
fn mebibytes(bytes: u64) -> String {
    let tenths = (bytes * 10 + (1 << 19)) >> 20;
    format!("{}.{} MiB", tenths / 10, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::flood::{Memory, Rung};

    #[test]
    fn the_page_shows_the_flood_and_the_memory() {
        let rung = |asked, seen, lost| Rung { asked, opens: 3_000, took: 1_000_000_000, seen, lost, passed: 0 };
        let flood = Flood {
            release: "6.18.5".to_owned(),
            backend: "tracepoint".to_owned(),
            rungs: vec![rung(Some(1_000), 3_000, 0), rung(None, 2_500, 500)],
            memory: Memory { idle: 10 << 20, after: (12 << 20) + (1 << 19), own: 5 << 20, maps: 31 << 20 },
        };
        let report = Report {
            processor: "A processor".to_owned(),
            processors: 2,
            flood: Some(flood.clone()),
            bursts: vec![Flood { release: "6.1".to_owned(), ..flood }],
            ..Report::default()
        };
        let page = tables(&report);
        for line in [
            "This machine: Linux 6.18.5, 2 × A processor, backend `tracepoint`. **3,000 opens a second without a loss.**",
            "| 1,000 | 3,000 | 3,000 | 3,000 | 0 |",
            "| as fast as it goes | 3,000 | 3,000 | 2,500 | 500 |",
            "| 6.1 | tracepoint | 3,000 | 2,500 | 500 |",
            "| 6.18.5 | tracepoint | 10.0 MiB | 12.5 MiB | 5.0 MiB | 31.0 MiB |",
        ] {
            assert!(page.lines().any(|own| own == line), "{line}\n{page}");
        }
        assert!(!page.contains("One open and close"), "nothing was measured of it");
        assert_eq!(report.broken(), Vec::<String>::new());
    }

    #[test]
    fn only_the_tables_of_a_document_are_replaced() {
        let document = "# Title\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n";
        assert_eq!(
            put(document, "new\n").expect("both lines are there"),
            "# Title\n<!-- bench -->\nnew\n<!-- /bench -->\nafter\n"
        );
        assert!(put("# Title\n<!-- bench -->\n", "new\n").is_err());
    }

    #[test]
    fn an_inexact_flood_is_a_broken_promise() {
        let rung = Rung { asked: None, opens: 10, took: 1, seen: 4, lost: 5, passed: 0 };
        let memory = Memory { idle: 0, after: 0, own: 0, maps: 0 };
        let flood = Flood { release: "6.1".into(), backend: "lsm".into(), rungs: vec![rung], memory };
        assert_eq!(Report { flood: Some(flood), ..Report::default() }.broken().len(), 1);
    }
}
