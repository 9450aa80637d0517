//! The table, and the same as JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::goal::{Spread, Verdict};
use crate::machine::Machine;
use crate::options::Options;
use crate::row::{Part, Row};

/// What is compared does not do the same work, so it is said.
const HASHING: [&str; 4] = [
    "nginx, curl and docker-registry: no hash over what they send or receive",
    "dfdaemon, each piece that arrives: BLAKE3, once, on each node",
    "dfdaemon, digest-addressed content: SHA-256 over the whole as well, once, on each node that downloads it",
    "dfdaemon, what it serves: no hash; it was checked on arrival",
];

pub(crate) struct Report {
    machine: Machine,
    /// What bare system calls and hashes cost here.
    pub(crate) floor: Option<Vec<Part>>,
    pub(crate) rows: Vec<Row>,
    /// Row and why it has no figures.
    pub(crate) failures: Vec<(String, String)>,
}

// === impl Report ===

impl Report {
    pub(crate) fn begin(options: &Options) -> anyhow::Result<Self> {
        Ok(Self { machine: Machine::look(options)?, floor: None, rows: Vec::new(), failures: Vec::new() })
    }

    pub(crate) fn write(&self, options: &Options) -> anyhow::Result<()> {
        let path = options.report();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        Ok(std::fs::write(path, format!("{:#}\n", self.json(options)))?)
    }

    fn json(&self, options: &Options) -> Value {
        json!({
            "machine": self.machine.json(),
            "options": format!("{options:?}"),
            "judged": options.judges(),
            "hashing": HASHING,
            "floor": self.floor.iter().flatten().map(Part::json).collect::<Vec<_>>(),
            "rows": self.rows.iter().map(|row| row.json(options.judges())).collect::<Vec<_>>(),
            "failures": self.failures.iter().map(|(row, why)| json!({ "row": row, "why": why })).collect::<Vec<_>>(),
        })
    }

    pub(crate) fn text(&self, options: &Options) -> String {
        let mut text = String::from("\n");
        for line in self.machine.lines() {
            let _ = writeln!(text, "{line}");
        }
        for line in HASHING {
            let _ = writeln!(text, "hashing: {line}");
        }
        for part in self.floor.iter().flatten() {
            let _ = writeln!(text, "floor: {}", part_text(part));
        }
        let _ = writeln!(text, "\n{}", heading());
        for row in &self.rows {
            text.push_str(&row_text(row, options.judges()));
        }
        for (row, why) in &self.failures {
            let _ = writeln!(text, "{row}: NOT MEASURED: {why}");
        }
        if options.judges() {
            let count = |verdict| self.rows.iter().filter(|row| row.verdict() == Some(verdict)).count();
            let (aim, must, missed) = (count(Verdict::Aim), count(Verdict::Must), count(Verdict::Missed));
            let _ = writeln!(text, "\n{aim} reach the aim, {must} only the must, {missed} miss it");
        } else {
            let _ = writeln!(text, "\nA quick run: the figures say nothing about the goals.");
        }
        let _ = writeln!(text, "{}", options.report().display());
        text
    }
}

fn heading() -> String {
    let line = format!("{:<64} {:>8}  {:<17} {:>7} {:>7}", "row", "median", "min … max", "must", "aim");
    format!("{line}\n{}", "─".repeat(116))
}

/// A row, and beneath it what it comes from.
pub(crate) fn row_text(row: &Row, judged: bool) -> String {
    let Some(spread) = Spread::of(&row.values) else { return format!("{}: no figures\n", row.name) };
    let name = format!("{} [{}]", row.name, row.unit.text());
    let range = format!("{} … {}", figure(spread.min), figure(spread.max));
    let limit = |pick: fn(crate::goal::Goal) -> f64| {
        row.goal.map(|goal| format!("{}{}", goal.sign(), figure(pick(goal)))).unwrap_or_default()
    };
    let verdict = row.verdict().filter(|_| judged).map(Verdict::word).unwrap_or_default();
    let (must, aim) = (limit(|goal| goal.must), limit(|goal| goal.aim));
    let mut text = format!("{name:<64} {:>8}  {range:<17} {must:>7} {aim:>7}  {verdict}\n", figure(spread.median));
    for part in &row.parts {
        let _ = writeln!(text, "    {}", part_text(part));
    }
    text
}

fn part_text(part: &Part) -> String {
    let Some(spread) = Spread::of(&part.values) else { return format!("{}: no figures", part.name) };
    let unit = part.unit.text();
    match part.values.len() {
        1 => format!("{}: {} {unit}", part.name, figure(spread.median)),
        _ => {
            format!("{}: {} {unit} ({} … {})", part.name, figure(spread.median), figure(spread.min), figure(spread.max))
        }
    }
}

/// Three digits that count.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::goal::Goal;
    use crate::row::Unit;

    #[test]
    fn a_row_shows_median_spread_limits_and_verdict() {
        let row = Row::new("a ÷ b", Unit::Ratio, Goal::at_least(0.9, 1.0), vec![0.95, 1.2, 0.8]);
        let text = row_text(&row, true);
        for shown in ["a ÷ b [×]", "0.95", "0.8 … 1.2", "≥0.9", "≥1", "must"] {
            assert!(text.contains(shown), "{text}");
        }
        assert!(!row_text(&row, false).contains("must"));
        assert_eq!([123.4, 12.34, 1.2345, 0.0].map(figure), ["123", "12.3", "1.234", "0"]);
    }
}
