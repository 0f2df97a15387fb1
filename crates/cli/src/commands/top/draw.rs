//! A report as lines of a terminal: a pure function of the report and the size.

use super::rates::{DropRates, ElementRates, PathRates, ProofRates, Top};

/// Cells of a terminal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size {
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Size {
    /// No terminal at all.
    pub(super) const UNBOUNDED: Size = Size { columns: usize::MAX, rows: usize::MAX };
}

/// The lines, none wider and no more than there is room for. What finds no room is counted in the last line.
pub(super) fn draw(top: &Top, size: Size) -> Vec<String> {
    let mut lines = Vec::new();
    let up = top.up_s;
    lines.push(format!(
        "{}  up {}:{:02}:{:02}  rates over {:.1} s",
        top.domain,
        up / 3600,
        up / 60 % 60,
        up % 60,
        top.interval_s
    ));
    lines.push(String::new());
    lines.push(format!(
        "{:<20} {:<8} {:>12} {:>10} {:>10}  way",
        "PATH", "", "packets/s", "Mbit/s", "inside µs"
    ));
    lines.extend(top.paths.iter().map(path));
    lines.push(String::new());
    lines.push(format!(
        "{:<12} {:<8} {:>12} {:>10} {:>12} {:>9} {:>9} {:>9} {:>9}  state",
        "ELEMENT", "", "in/s", "Mbit/s", "out/s", "drops/s", "flows", "µs", "µs p99"
    ));
    lines.extend(top.elements.iter().map(element));
    if !top.proofs.is_empty() {
        lines.push(String::new());
        lines.push(format!(
            "{:<20} {:<12} {:>12} {:>14} {:>9}",
            "PROOFS", "end", "proved/s", "proved", "failed"
        ));
        lines.extend(top.proofs.iter().map(proofs));
    }
    if !top.drops.is_empty() {
        lines.push(String::new());
        lines.push(format!(
            "{:<12} {:<20} {:>12} {:>12}",
            "DROPS", "reason", "packets", "packets/s"
        ));
        lines.extend(top.drops.iter().map(drops));
    }
    if lines.len() > size.rows {
        let hidden = lines.len() - size.rows + 1;
        lines.truncate(size.rows - 1);
        lines.push(format!("… {hidden} more lines"));
    }
    for line in &mut lines {
        if let Some((cut, _)) = line.char_indices().nth(size.columns) {
            line.truncate(cut);
        }
        let len = line.trim_end().len();
        line.truncate(len);
    }
    lines
}

fn path(path: &PathRates) -> String {
    let PathRates { name, direction, hops, state, packets_per_s, mbits_per_s, inside_us } = path;
    let inside = optional(*inside_us);
    let way = hops.join(" → ");
    let state = if state == "ready" { String::new() } else { format!("  [{state}]") };
    format!(
        "{name:<20} {direction:<8} {packets_per_s:>12.0} {mbits_per_s:>10.2} {inside:>10}  {way}{state}"
    )
}

fn element(element: &ElementRates) -> String {
    let ElementRates {
        name,
        role,
        state,
        in_packets_per_s,
        in_mbits_per_s,
        out_packets_per_s,
        drops_per_s,
        flows,
        inside_median_us,
        inside_p99_us,
    } = element;
    let flows = flows.map_or_else(|| "-".to_owned(), |flows| flows.to_string());
    let (median, p99) = (optional(*inside_median_us), optional(*inside_p99_us));
    format!(
        "{name:<12} {role:<8} {in_packets_per_s:>12.0} {in_mbits_per_s:>10.2} \
         {out_packets_per_s:>12.0} {drops_per_s:>9.0} {flows:>9} {median:>9} {p99:>9}  {state}"
    )
}

fn proofs(proofs: &ProofRates) -> String {
    let ProofRates { path, end, proved_per_s, proved, failed } = proofs;
    format!("{path:<20} {end:<12} {proved_per_s:>12.0} {proved:>14} {failed:>9}")
}

fn drops(drops: &DropRates) -> String {
    let DropRates { element, reason, packets, packets_per_s } = drops;
    format!("{element:<12} {reason:<20} {packets:>12} {packets_per_s:>12.0}")
}

fn optional(value: Option<f64>) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.1}"))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::rates::tests::status;
    use super::*;

    fn top() -> Top {
        Top::between(&status(1000), &status(3000), Duration::from_secs(2))
    }

    #[test]
    fn a_domain_is_drawn() {
        insta::assert_snapshot!(draw(&top(), Size::UNBOUNDED).join("\n"));
    }

    #[test]
    fn nothing_is_wider_or_longer_than_the_terminal() {
        for (columns, rows) in [(1, 1), (20, 3), (80, 5), (200, 60)] {
            let lines = draw(&top(), Size { columns, rows });
            assert!(lines.len() <= rows, "{rows}");
            assert!(lines.iter().all(|line| line.chars().count() <= columns), "{columns}");
        }
        let cut = draw(&top(), Size { columns: 80, rows: 4 });
        assert_eq!(cut.last().map(String::as_str), Some("… 11 more lines"));
    }
}
