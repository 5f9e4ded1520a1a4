//! A picture of the rows, for the page that a reader opens first.

use super::Row;
use std::fmt::Write as _;

/// One panel: which rows, and under which title.
const PANELS: [(&str, &str); 3] = [
    ("issuance", "Provision, one unit an envelope"),
    ("issuance-gang", "Provision, 32 units an envelope"),
    ("unit", "challenge, Provision, Confirm"),
];
/// Modules with their colours.
const MODULES: [(&str, &str); 2] = [("softhsm2", "#c8553d"), ("hsm-sim", "#28666e")];
/// Of one panel, with its margins.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 250.0;
const LEFT: f64 = 52.0;
const TOP: f64 = 64.0;
const BOTTOM: f64 = 40.0;

/// Draws rates as bars and their floors as lines above them, as SVG. The same rows always give the same picture.
#[must_use]
pub fn plot(rows: &[Row]) -> String {
    let panels: Vec<_> = PANELS
        .iter()
        .map(|(name, title)| (*title, rows.iter().filter(|row| row.name == *name)))
        .map(|(title, rows)| (title, rows.collect::<Vec<_>>()))
        .filter(|(_, rows)| !rows.is_empty())
        .collect();
    let width = WIDTH * panels.len() as f64;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {HEIGHT}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"{width}\" height=\"{HEIGHT}\" fill=\"#ffffff\"/>\n"
    );
    for (place, (module, colour)) in MODULES.iter().enumerate() {
        let x = LEFT + 110.0 * place as f64;
        _ = writeln!(
            svg,
            "<rect x=\"{x}\" y=\"8\" width=\"10\" height=\"10\" fill=\"{colour}\"/><text x=\"{}\" y=\"17\">{module}</text>",
            x + 15.0
        );
    }
    let x = LEFT + 110.0 * MODULES.len() as f64;
    _ = writeln!(
        svg,
        "<path d=\"M{x} 13h16\" stroke=\"#555555\" stroke-dasharray=\"3 2\"/><text x=\"{}\" y=\"17\">floor: the parts that nobody can leave out</text>",
        x + 21.0
    );
    for (place, (title, rows)) in panels.iter().enumerate() {
        panel(&mut svg, WIDTH * place as f64, title, rows);
    }
    svg.push_str("</svg>\n");
    svg
}

/// Bars of one panel, grouped by how many calls are in flight.
fn panel(svg: &mut String, x: f64, title: &str, rows: &[&Row]) {
    let mut levels: Vec<_> = rows.iter().map(|row| row.in_flight).collect();
    levels.sort_unstable();
    levels.dedup();
    let most = rows.iter().map(|row| row.rate_per_s.max(row.floor_per_s));
    let step = step(most.fold(1.0, f64::max));
    let most = step
        * (rows.iter().map(|row| row.rate_per_s.max(row.floor_per_s)))
            .map(|rate| (rate / step).ceil())
            .fold(1.0, f64::max);
    let (bottom, plot) = (HEIGHT - BOTTOM, HEIGHT - BOTTOM - TOP);
    let y = |rate: f64| bottom - plot * rate / most;
    _ = writeln!(
        svg,
        "<g><text x=\"{}\" y=\"{}\" font-weight=\"bold\">{title}</text>",
        x + LEFT,
        TOP - 18.0
    );
    let mut mark = 0.0;
    while mark <= most {
        _ = writeln!(
            svg,
            "<path d=\"M{:.1} {:.1}h{:.1}\" stroke=\"#dddddd\"/><text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\" fill=\"#555555\">{mark:.0}</text>",
            x + LEFT,
            y(mark),
            WIDTH - LEFT - 10.0,
            x + LEFT - 5.0,
            y(mark) + 4.0
        );
        mark += step;
    }
    let group = (WIDTH - LEFT - 10.0) / levels.len() as f64;
    let bar = group * 0.36;
    for (at, level) in levels.iter().enumerate() {
        let from = x + LEFT + group * at as f64;
        _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{level}</text>",
            from + group / 2.0,
            bottom + 15.0
        );
        for row in rows.iter().filter(|row| row.in_flight == *level) {
            let module = MODULES.iter().position(|(name, _)| *name == row.hsm);
            let (place, colour) = module.map_or((0, "#888888"), |at| (at, MODULES[at].1));
            let left = from + group * 0.12 + (bar + group * 0.04) * place as f64;
            _ = writeln!(
                svg,
                "<rect x=\"{left:.1}\" y=\"{:.1}\" width=\"{bar:.1}\" height=\"{:.1}\" fill=\"{colour}\"/>\
                 <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\" font-size=\"9\" fill=\"#333333\">{:.0}</text>\
                 <path d=\"M{left:.1} {:.1}h{bar:.1}\" stroke=\"#555555\" stroke-dasharray=\"3 2\"/>",
                y(row.rate_per_s),
                bottom - y(row.rate_per_s),
                left + bar / 2.0,
                y(row.rate_per_s) - 3.0,
                row.rate_per_s,
                y(row.floor_per_s)
            );
        }
    }
    _ = writeln!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" fill=\"#555555\">a second, by calls in flight</text></g>",
        x + LEFT,
        bottom + 32.0
    );
}

/// A round distance between marks, so that there are at most six of them.
fn step(most: f64) -> f64 {
    let mut step = 1.0;
    while most / step > 6.0 {
        step *= if (step / 2.0).log10().fract() == 0.0 {
            2.5
        } else {
            2.0
        };
    }
    step
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn marks_are_round() {
        for (most, expected) in [
            (5.0, 1.0),
            (9.0, 2.0),
            (700.0, 200.0),
            (4_100.0, 1_000.0),
            (13_000.0, 5_000.0),
        ] {
            assert_eq!(step(most), expected, "{most}");
        }
    }

    /// The picture in the documentation is drawn from the rows beside it, and from nothing else.
    #[test]
    fn the_picture_is_that_of_the_rows_beside_it() {
        let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs");
        let rows = std::fs::read(docs.join("bench.json")).unwrap();
        let rows: Vec<Row> = serde_json::from_slice(&rows).unwrap();
        let picture = std::fs::read_to_string(docs.join("bench.svg")).unwrap();
        assert!(picture == plot(&rows), "make plot draws docs/bench.svg");
    }
}
