//! The paper's Figure 4 as SVG: throughput over the number of functions, one line a kind and layout.

use std::fmt::Write as _;

use super::chain::Row;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 160.0;
const TOP: f64 = 30.0;
const BOTTOM: f64 = 50.0;
const COLOURS: [&str; 4] = ["#1f6feb", "#d1495b", "#2a9d8f", "#8d6a9f"];

/// The plot of these rows.
pub fn plot(rows: &[Row]) -> String {
    let most_functions = rows.iter().map(|row| row.functions).max().unwrap_or(1).max(2) as f64;
    let fastest = rows.iter().map(|row| row.throughput_mbps.max).fold(0.0, f64::max);
    let step = step(fastest);
    let top = (fastest / step).ceil().max(1.0) * step;
    let x =
        |functions: f64| LEFT + (functions - 1.0) / (most_functions - 1.0) * (WIDTH - LEFT - RIGHT);
    let y = |mbps: f64| HEIGHT - BOTTOM - mbps / top * (HEIGHT - TOP - BOTTOM);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut mark = 0.0;
    while mark <= top {
        let (y, right) = (y(mark), WIDTH - RIGHT);
        svg += &format!(
            "<path d=\"M{LEFT} {y:.1}H{right}\" stroke=\"#ddd\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{mark}</text>\n",
            LEFT - 8.0,
            y + 4.0
        );
        mark += step;
    }
    for functions in 1..=most_functions as usize {
        let (x, y) = (x(functions as f64), HEIGHT - BOTTOM + 18.0);
        let _ = writeln!(
            svg,
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{functions}</text>"
        );
    }
    let middle = HEIGHT / 2.0;
    let _ = writeln!(
        svg,
        "<text x=\"18\" y=\"{middle}\" text-anchor=\"middle\" transform=\"rotate(-90 18 {middle})\">HTTPS throughput, Mb/s</text>\n\
         <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">functions in the chain</text>",
        f64::midpoint(LEFT, WIDTH - RIGHT),
        HEIGHT - 10.0
    );
    for (index, (name, points)) in series(rows).into_iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let line: Vec<String> = points
            .iter()
            .map(|row| {
                format!("{:.1},{:.1}", x(row.functions as f64), y(row.throughput_mbps.median))
            })
            .collect();
        let _ = writeln!(
            svg,
            "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>",
            line.join(" ")
        );
        for row in &points {
            let (x, figure) = (x(row.functions as f64), &row.throughput_mbps);
            let _ = writeln!(
                svg,
                "<path d=\"M{x:.1} {:.1}V{:.1}\" stroke=\"{colour}\"/><circle cx=\"{x:.1}\" cy=\"{:.1}\" r=\"3.5\" fill=\"{colour}\"/>",
                y(figure.min),
                y(figure.max),
                y(figure.median)
            );
        }
        let (x, y) = (WIDTH - RIGHT + 16.0, TOP + 10.0 + 20.0 * index as f64);
        let _ = writeln!(
            svg,
            "<circle cx=\"{x}\" cy=\"{}\" r=\"4\" fill=\"{colour}\"/><text x=\"{}\" y=\"{y}\">{name}</text>",
            y - 4.0,
            x + 10.0
        );
    }
    svg + "</svg>\n"
}

fn series(rows: &[Row]) -> Vec<(String, Vec<&Row>)> {
    let mut series: Vec<(String, Vec<&Row>)> = Vec::new();
    for row in rows.iter().filter(|row| row.functions > 0) {
        let name = format!("{}, {}", row.kind.name(), row.layout.name());
        match series.iter_mut().find(|(known, _)| *known == name) {
            Some((_, points)) => points.push(row),
            None => series.push((name, vec![row])),
        }
    }
    for (_, points) in &mut series {
        points.sort_by_key(|row| row.functions);
    }
    series
}

/// A round distance between marks, such that there are about five.
fn step(top: f64) -> f64 {
    let rough = (top / 5.0).max(1.0);
    let magnitude = 10_f64.powf(rough.log10().floor());
    let factor = [1.0, 2.0, 5.0, 10.0].into_iter().find(|factor| factor * magnitude >= rough);
    factor.unwrap_or(10.0) * magnitude
}
