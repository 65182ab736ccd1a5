//! Results beside the goals: a table for people, a JSON file for everything else.

use std::{fs, path::Path};

use anyhow::{Context as _, Result};
use serde_json::{Map, Value, json};

use super::figures::Spread;

/// What a number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A share, shown in per cent.
    Share,
    Nanoseconds,
    Seconds,
    /// 10^6 bytes.
    Megabytes,
    Bytes,
    PerSecond,
    /// How many times as much.
    Times,
    Count,
}

impl Unit {
    fn show(self, value: f64) -> String {
        match self {
            Self::Share => format!("{:.1} %", value * 100.0),
            Self::Nanoseconds => format!("{value:.0} ns"),
            Self::Seconds => format!("{value:.2} s"),
            Self::Megabytes => format!("{value:.1} MB"),
            Self::Bytes => format!("{value:.0} B"),
            Self::PerSecond => format!("{}/s", grouped(value)),
            Self::Times => format!("x {value:.2}"),
            Self::Count => grouped(value),
        }
    }

    const fn label(self) -> &'static str {
        match self {
            Self::Share => "share",
            Self::Nanoseconds => "ns",
            Self::Seconds => "s",
            Self::Megabytes => "MB",
            Self::Bytes => "B",
            Self::PerSecond => "1/s",
            Self::Times => "ratio",
            Self::Count => "count",
        }
    }
}

/// Thousands apart, as in 600,000.
fn grouped(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) && !out.ends_with('-') {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// What is to be reached.
#[derive(Clone, Copy, Debug)]
pub(super) enum Goal {
    AtMost(f64),
    AtLeast(f64),
}

impl Goal {
    fn met(self, value: f64) -> bool {
        match self {
            Self::AtMost(most) => value <= most,
            Self::AtLeast(least) => value >= least,
        }
    }

    fn show(self, unit: Unit) -> String {
        match self {
            Self::AtMost(most) => format!("at most {}", unit.show(most)),
            Self::AtLeast(least) => format!("at least {}", unit.show(least)),
        }
    }

    /// By the middle; with a question mark if the quartiles do not agree.
    fn verdict(self, spread: &Spread) -> &'static str {
        let sure = self.met(spread.low) == self.met(spread.high);
        match (self.met(spread.median), sure) {
            (true, true) => "met",
            (true, false) => "met?",
            (false, true) => "MISSED",
            (false, false) => "missed?",
        }
    }
}

/// One line of the table.
struct Row {
    what: String,
    unit: Unit,
    spread: Spread,
    goal: Option<Goal>,
}

/// The lines of one benchmark.
pub(super) struct Section {
    name: &'static str,
    title: String,
    rows: Vec<Row>,
    notes: Vec<String>,
    details: Map<String, Value>,
}

impl Section {
    pub(super) fn new(name: &'static str, title: impl Into<String>) -> Self {
        Self { name, title: title.into(), rows: Vec::new(), notes: Vec::new(), details: Map::new() }
    }

    /// A line without a goal. What was not measured makes none.
    pub(super) fn row(&mut self, what: &str, unit: Unit, values: impl IntoIterator<Item = f64>) {
        self.add(what, unit, values, None);
    }

    /// A line with a goal.
    pub(super) fn goal(&mut self, what: &str, unit: Unit, values: impl IntoIterator<Item = f64>, goal: Goal) {
        self.add(what, unit, values, Some(goal));
    }

    fn add(&mut self, what: &str, unit: Unit, values: impl IntoIterator<Item = f64>, goal: Option<Goal>) {
        if let Some(spread) = Spread::of(values) {
            self.rows.push(Row { what: what.to_owned(), unit, spread, goal });
        }
    }

    /// Whether nothing was measured yet.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// A remark below the lines.
    pub(super) fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Something for the JSON file only.
    pub(super) fn detail(&mut self, name: &str, value: Value) {
        self.details.insert(name.to_owned(), value);
    }

    /// The lines, as shown.
    pub(super) fn text(&self) -> String {
        let mut out = format!("\n{}\n", self.title);
        for Row { what, unit, spread, goal } in &self.rows {
            let range = if spread.count > 1 {
                format!("{} .. {}", unit.show(spread.low), unit.show(spread.high))
            } else {
                String::new()
            };
            let (goal, verdict) = match goal {
                Some(goal) => (goal.show(*unit), goal.verdict(spread)),
                None => (String::new(), ""),
            };
            let value = unit.show(spread.median);
            let line = format!("  {what:<44} {value:>13}  {range:<25} {goal:<20} {verdict}");
            out.push_str(line.trim_end());
            out.push('\n');
        }
        for note in &self.notes {
            out.extend(["  (", note, ")\n"]);
        }
        out
    }

    fn json(&self) -> Value {
        let row = |row: &Row| {
            let Row { what, unit, spread, goal } = row;
            let mut json = json!({"what": what, "unit": unit.label(), "value": spread.json()});
            if let Some(goal) = goal {
                json["goal"] = match goal {
                    Goal::AtMost(most) => json!({"at_most": most}),
                    Goal::AtLeast(least) => json!({"at_least": least}),
                };
                json["met"] = goal.met(spread.median).into();
                json["verdict"] = goal.verdict(spread).into();
            }
            json
        };
        json!({
            "name": self.name,
            "title": self.title,
            "results": self.rows.iter().map(row).collect::<Vec<_>>(),
            "notes": self.notes,
            "details": self.details,
        })
    }
}

/// The head of the table.
pub(super) fn heading() -> String {
    format!("{:<46} {:>13}  {:<25} {:<20} {}", "what", "median", "quartiles", "goal", "verdict")
}

/// Goals met, and all of them.
pub(super) fn tally(sections: &[Section]) -> (usize, usize) {
    let rows = || sections.iter().flat_map(|section| &section.rows);
    let met = |row: &&Row| row.goal.is_some_and(|goal| goal.met(row.spread.median));
    (rows().filter(met).count(), rows().filter(|row| row.goal.is_some()).count())
}

/// Writes everything to a file.
pub(super) fn write(path: &Path, machine: &Value, sections: &[Section], left_out: &[String]) -> Result<()> {
    let all = json!({
        "machine": machine,
        "benchmarks": sections.iter().map(Section::json).collect::<Vec<_>>(),
        "left_out": left_out,
    });
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    fs::write(path, format!("{all:#}\n")).with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        assert_eq!(grouped(600_000.0), "600,000");
        assert_eq!(grouped(999.4), "999");
        assert_eq!(grouped(-1234.0), "-1,234");
        assert_eq!(grouped(-123.0), "-123");
        assert_eq!(Unit::Share.show(0.0512), "5.1 %");
    }

    #[test]
    fn verdicts_say_when_the_spread_disagrees() {
        let goal = Goal::AtMost(0.05);
        let verdict = |values: [f64; 3]| goal.verdict(&Spread::of(values).unwrap());
        assert_eq!(verdict([0.01, 0.02, 0.03]), "met");
        assert_eq!(verdict([0.01, 0.02, 0.20]), "met?");
        assert_eq!(verdict([0.01, 0.06, 0.20]), "missed?");
        assert_eq!(verdict([0.07, 0.08, 0.20]), "MISSED");
    }

    #[test]
    fn goals_are_counted() {
        let mut section = Section::new("a", "A");
        section.row("reported", Unit::Count, [1.0]);
        section.goal("good", Unit::Count, [1.0], Goal::AtLeast(1.0));
        section.goal("bad", Unit::Count, [1.0], Goal::AtLeast(2.0));
        section.goal("not measured", Unit::Count, [], Goal::AtLeast(2.0));
        assert!(section.text().contains("MISSED"));
        assert_eq!(tally(&[section]), (1, 2));
    }
}
