//! One line of the table: a figure per run, its goal, and what it was computed from.

use serde_json::{Value, json};

use crate::goal::{Goal, Spread, Verdict};

#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    /// `None`: for comparison only.
    pub(crate) goal: Option<Goal>,
    /// One per run.
    pub(crate) values: Vec<f64>,
    pub(crate) parts: Vec<Part>,
}

/// What a row's figure comes from, as measured.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) name: String,
    pub(crate) unit: Unit,
    pub(crate) values: Vec<f64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Ratio,
    GibPerSecond,
    CpuPerGib,
    Milliseconds,
    Seconds,
    Mib,
    Kib,
    PerSecond,
    Percent,
}

// === impl Row ===

impl Row {
    pub(crate) fn new(name: impl Into<String>, unit: Unit, goal: Goal, values: Vec<f64>) -> Self {
        Self { name: name.into(), unit, goal: Some(goal), values, parts: Vec::new() }
    }

    /// Per run `ours ÷ theirs`.
    pub(crate) fn ratio(name: impl Into<String>, goal: Goal, ours: &Part, theirs: &Part) -> Self {
        let values = ours.values.iter().zip(&theirs.values).map(|(ours, theirs)| ours / theirs).collect();
        Self { parts: vec![ours.clone(), theirs.clone()], ..Self::new(name, Unit::Ratio, goal, values) }
    }

    /// Per run `ours - theirs`.
    pub(crate) fn difference(name: impl Into<String>, goal: Goal, ours: &Part, theirs: &Part) -> Self {
        let values = ours.values.iter().zip(&theirs.values).map(|(ours, theirs)| ours - theirs).collect();
        Self { parts: vec![ours.clone(), theirs.clone()], ..Self::new(name, ours.unit, goal, values) }
    }

    pub(crate) fn for_comparison(self) -> Self {
        Self { goal: None, ..self }
    }

    pub(crate) fn with(mut self, parts: impl IntoIterator<Item = Part>) -> Self {
        self.parts.extend(parts);
        self
    }

    pub(crate) fn verdict(&self) -> Option<Verdict> {
        Some(self.goal?.verdict(Spread::of(&self.values)?.median))
    }

    pub(crate) fn json(&self, judged: bool) -> Value {
        let spread = Spread::of(&self.values);
        json!({
            "name": self.name,
            "unit": self.unit.text(),
            "median": spread.map(|spread| spread.median),
            "min": spread.map(|spread| spread.min),
            "max": spread.map(|spread| spread.max),
            "values": self.values,
            "better": self.goal.map(|goal| goal.sign()),
            "must": self.goal.map(|goal| goal.must),
            "aim": self.goal.map(|goal| goal.aim),
            "verdict": self.verdict().filter(|_| judged).map(Verdict::word),
            "parts": self.parts.iter().map(Part::json).collect::<Vec<_>>(),
        })
    }
}

// === impl Part ===

impl Part {
    pub(crate) fn new(name: impl Into<String>, unit: Unit) -> Self {
        Self { name: name.into(), unit, values: Vec::new() }
    }

    pub(crate) fn json(&self) -> Value {
        let median = Spread::of(&self.values).map(|spread| spread.median);
        json!({ "name": self.name, "unit": self.unit.text(), "median": median, "values": self.values })
    }
}

// === impl Unit ===

impl Unit {
    pub(crate) fn text(self) -> &'static str {
        match self {
            Self::Ratio => "×",
            Self::GibPerSecond => "GiB/s",
            Self::CpuPerGib => "CPU-s/GiB",
            Self::Milliseconds => "ms",
            Self::Seconds => "s",
            Self::Mib => "MiB",
            Self::Kib => "KiB",
            Self::PerSecond => "/s",
            Self::Percent => "%",
        }
    }
}
