//! Resident memory over time as SVG, a line for each process.

use std::fmt::Write as _;

use super::memory::Memory;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 130.0;
const TOP: f64 = 20.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 8] =
    ["#1f6feb", "#d1495b", "#2a9d8f", "#8d6a9f", "#e09f3e", "#335c67", "#6a994e", "#bc4749"];

/// The plot of these samples.
pub(crate) fn plot(memory: &Memory) -> String {
    let all = || memory.samples.values().flatten();
    let last_s = all().map(|(at, _)| *at).max().unwrap_or(1).max(1) as f64;
    let most_mib = all().map(|(_, kib)| *kib).max().unwrap_or(1) as f64 / 1024.0;
    let step = step(most_mib);
    let top = (most_mib / step).ceil().max(1.0) * step;
    let x = |at_s: u64| LEFT + at_s as f64 / last_s * (WIDTH - LEFT - RIGHT);
    let y = |mib: f64| HEIGHT - BOTTOM - mib / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut mark = 0.0;
    while mark <= top {
        let _ = writeln!(
            svg,
            "<path d=\"M{LEFT} {0:.1}H{1}\" stroke=\"#ddd\"/><text x=\"{2:.1}\" y=\"{0:.1}\" text-anchor=\"end\">{mark}</text>",
            y(mark),
            WIDTH - RIGHT,
            LEFT - 8.0
        );
        mark += step;
    }
    let _ = writeln!(
        svg,
        "<text x=\"18\" y=\"{0}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {0})\">resident memory, MiB</text>\n\
         <text x=\"{1:.1}\" y=\"{2:.1}\" text-anchor=\"middle\">{3:.1} minutes</text>",
        HEIGHT / 2.0,
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 14.0,
        last_s / 60.0
    );
    for (index, (process, samples)) in memory.samples.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let point =
            |(at, kib): &(u64, u64)| format!("{:.1},{:.1}", x(*at), y(*kib as f64 / 1024.0));
        let points: Vec<String> = samples.iter().map(point).collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\"/>\n\
             <text x=\"{:.1}\" y=\"{:.1}\" fill=\"{colour}\">{process}</text>",
            points.join(" "),
            WIDTH - RIGHT + 8.0,
            TOP + 12.0 + index as f64 * 18.0
        );
    }
    svg += "</svg>\n";
    svg
}

/// Round steps, five to ten of them.
fn step(most: f64) -> f64 {
    let magnitude = 10_f64.powf(most.max(1.0).log10().floor());
    [0.1, 0.2, 0.5, 1.0]
        .map(|part| part * magnitude)
        .into_iter()
        .find(|step| most / step <= 10.0)
        .unwrap_or(magnitude)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_process_has_a_line_with_all_its_points() {
        let mut memory = Memory::default();
        for at in 0..10 {
            memory.note("gateway", at * 60, 30_000 + at * 100);
            memory.note("sf1", at * 60, 10_000);
        }
        let svg = plot(&memory);
        assert!(svg.starts_with("<svg") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches("<polyline").count(), 2);
        assert!(svg.contains(">gateway</text>") && svg.contains(">sf1</text>"));
        let points = svg.split("points=\"").nth(1).and_then(|rest| rest.split('"').next());
        assert_eq!(points.expect("points").split(' ').count(), 10);
    }

    #[test]
    fn steps_are_round_and_few() {
        for most in [1.0, 9.0, 30.0, 99.0, 140.0, 800.0, 5_000.0] {
            assert!((1.0..=10.0).contains(&(most / step(most))), "{most}: {}", step(most));
        }
    }
}
