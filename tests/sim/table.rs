//! The table for people.

use std::time::Duration;

use crate::cases::{Case, Goal, Measure, Verdict};
use crate::outcome::Outcome;

pub fn heading() -> String {
    let line = format!(
        "{:<29} {:>6} {:>4} {:>6} {:>6} {:>5}  {:<24} {:>6} {:>6} {:>6} {:>5} {:>5} {:>5} {:>6}",
        "case",
        "peers",
        "seed",
        "p50",
        "p99",
        "ref",
        "goal: must/aim",
        "TTFB",
        "seed",
        "origin",
        "asks",
        "syncs",
        "lists",
        "took"
    );
    format!("{line}\n{}", "─".repeat(line.chars().count()))
}

pub fn line(case: &Case, outcome: &Outcome, took: Duration) -> String {
    let goals: Vec<String> = case.goals.iter().map(|goal| goal_text(*goal, outcome)).collect();
    format!(
        "{:<29} {:>6} {:>4} {:>6.3} {:>6.3} {:>5}  {:<24} {:>4}ms {:>5.2}F {:>5.2}F {:>5.0} {:>5.0} {:>5.0} {:>5.1}s{}",
        case.name,
        case.hosts,
        outcome.seed,
        outcome.p50,
        outcome.p99,
        case.reference_p99.map(|p99| format!("{p99:.2}")).unwrap_or_default(),
        goals.join(" "),
        outcome.first_byte_p99_ms,
        outcome.seed_sent,
        outcome.origin_sent,
        outcome.requests,
        outcome.reports,
        outcome.lists,
        took.as_secs_f64(),
        remarks(outcome),
    )
}

fn goal_text(goal: Goal, outcome: &Outcome) -> String {
    let of = match goal.of {
        Measure::Completion => "p99",
        Measure::OriginBytes => "origin",
    };
    let verdict = match goal.verdict(outcome) {
        Verdict::Aim => "aim",
        Verdict::Must => "must",
        Verdict::Missed => "MISSED",
    };
    format!("{of} {}/{} {verdict}", goal.must, goal.aim)
}

/// What is not as it should be, or worth knowing.
fn remarks(outcome: &Outcome) -> String {
    let mut remarks = String::new();
    let mut remark = |is: bool, text: String| {
        if is {
            remarks.push_str("  ");
            remarks.push_str(&text);
        }
    };
    remark(outcome.unfinished > 0, format!("{} NOT DONE", outcome.unfinished));
    remark(outcome.wrong_marks > 0, format!("{} WRONG PIECES", outcome.wrong_marks));
    remark(outcome.went_to_origin > 0, format!("{} at the origin", outcome.went_to_origin));
    remark(outcome.demoted > 0, format!("{} demoted", outcome.demoted));
    remark(outcome.circle_ms > 0, format!("a circle for {} ms", outcome.circle_ms));
    remark(outcome.twice >= 0.001, format!("{:.1} % twice", outcome.twice * 100.0));
    remarks
}
