//! `docs/bench.md`: the figures as tables, and how they were measured.

use super::{Report, figures::thousands, flood::Flood};

const HEAD: &str = "\
# What watching costs

`cargo xtask bench` writes this page; it is not edited by hand. It fails where one of the promises below does not hold.
";

const INSTRUCTIONS: &str = "\
## What an unrelated open pays

One `open` and `close` of a file that nobody watches, on stock Debian kernels in an emulated machine in which each
instruction takes one nanosecond of its clock (QEMU, `-icount shift=0`), so that the figures repeat on any host. Each
figure is the median of 3,000 rounds in a fresh process, less the same before the program was attached. All rows of a
table are from one boot. `auditd` is Debian's, with the rule `-w /etc/dkimkeys -p rwa`. Promised for `lsm` and `fentry`: at
most 2.00 times what an empty program costs at the same hook, and less than a third of what auditd adds.
";

const FLOOD: &str = "\
## How fast a stranger may be

A stranger opens one watched key again and again; the watch prints each open as an ECS document into a pipe that is read
at once. The rate is doubled until something is lost, and the gap halved twice; three seconds at each rate, a fresh watch
each time. The last row is as fast as the stranger could. Promised: what was told and what was reported as lost
(`events-lost`) are together exactly the opens. The rates are this machine's and say nothing of another.
";

const BURSTS: &str = "\
## A burst in each backend

As many opens as fast as they go, on stock Debian kernels in an emulated machine with two processors: it is slow, so only
the sums and the memory mean something.
";

const MEMORY: &str = "\
## Memory

Resident memory of the watch (`VmRSS`) when it has begun and when the flood is over, and the kernel's for its maps (`memlock`
of their `fdinfo`, which before Linux 6.4 is an estimate).
";

/// The page.
pub(super) fn page(report: &Report) -> String {
    let mut text = HEAD.to_owned();
    if !report.instructions.is_empty() {
        text += &format!("\n{INSTRUCTIONS}");
        for figures in &report.instructions {
            text += &format!("\n{}", figures.table());
        }
    }
    if let Some(flood) = &report.flood {
        let Report { processor, processors, .. } = report;
        text += &format!(
            "\n{FLOOD}\nThis machine: Linux {}, {processors} × {processor}, backend `{}`. ",
            flood.release, flood.backend
        );
        text += &match flood.lossless() {
            Some(rate) => format!("**{} opens a second without a loss.**\n", number(rate)),
            None => "At no rate was nothing lost.\n".to_owned(),
        };
        text +=
            "\n| asked, a second | reached, a second | opens | told | reported as lost |\n|---:|---:|---:|---:|---:|\n";
        for rung in &flood.rungs {
            let asked = rung.asked.map_or("as fast as it goes".to_owned(), number);
            let counts = [rung.rate(), rung.opens, rung.seen, rung.lost].map(number).join(" | ");
            text += &format!("| {asked} | {counts} |\n");
        }
    }
    if !report.bursts.is_empty() {
        text +=
            &format!("\n{BURSTS}\n| kernel | backend | opens | told | reported as lost |\n|---|---|---:|---:|---:|\n");
        for burst in &report.bursts {
            for rung in &burst.rungs {
                let counts = [rung.opens, rung.seen, rung.lost].map(number).join(" | ");
                text += &format!("| {} | {} | {counts} |\n", burst.release, burst.backend);
            }
        }
    }
    let floods: Vec<&Flood> = report.flood.iter().chain(&report.bursts).collect();
    if !floods.is_empty() {
        text +=
            &format!("\n{MEMORY}\n| kernel | backend | begun | after the flood | maps |\n|---|---|---:|---:|---:|\n");
        for flood in floods {
            let memory = [flood.memory.idle, flood.memory.after, flood.memory.maps].map(mebibytes).join(" | ");
            text += &format!("| {} | {} | {memory} |\n", flood.release, flood.backend);
        }
    }
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
        let rung = |asked, seen, lost| Rung { asked, opens: 3_000, took: 1_000_000_000, seen, lost };
        let flood = Flood {
            release: "6.18.5".to_owned(),
            backend: "tracepoint".to_owned(),
            rungs: vec![rung(Some(1_000), 3_000, 0), rung(None, 2_500, 500)],
            memory: Memory { idle: 10 << 20, after: (12 << 20) + (1 << 19), maps: 31 << 20 },
        };
        let report = Report {
            processor: "A processor".to_owned(),
            processors: 2,
            flood: Some(flood.clone()),
            bursts: vec![Flood { release: "6.1".to_owned(), ..flood }],
            ..Report::default()
        };
        let page = page(&report);
        for line in [
            "This machine: Linux 6.18.5, 2 × A processor, backend `tracepoint`. **3,000 opens a second without a loss.**",
            "| 1,000 | 3,000 | 3,000 | 3,000 | 0 |",
            "| as fast as it goes | 3,000 | 3,000 | 2,500 | 500 |",
            "| 6.1 | tracepoint | 3,000 | 2,500 | 500 |",
            "| 6.18.5 | tracepoint | 10.0 MiB | 12.5 MiB | 31.0 MiB |",
        ] {
            assert!(page.lines().any(|own| own == line), "{line}\n{page}");
        }
        assert!(!page.contains("What an unrelated open pays"), "nothing was measured of it");
        assert_eq!(report.broken(), Vec::<String>::new());
    }

    #[test]
    fn an_inexact_flood_is_a_broken_promise() {
        let rung = Rung { asked: None, opens: 10, took: 1, seen: 4, lost: 5 };
        let memory = Memory { idle: 0, after: 0, maps: 0 };
        let flood = Flood { release: "6.1".into(), backend: "lsm".into(), rungs: vec![rung], memory };
        assert_eq!(Report { flood: Some(flood), ..Report::default() }.broken().len(), 1);
    }
}
