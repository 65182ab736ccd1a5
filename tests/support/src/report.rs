//! What `--report` wrote.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value;

/// The report, the ledger of requests typed.
#[derive(Clone, Debug)]
pub struct Report {
    pub ledger: Ledger,
    /// All of it.
    pub json: Value,
}

/// Every request that was seen is in exactly one of the other columns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ledger {
    pub seen: u64,
    pub exported: u64,
    pub unsampled: u64,
    pub dropped: BTreeMap<String, u64>,
    pub open: i64,
}

impl Ledger {
    /// All drops.
    pub fn lost(&self) -> u64 {
        self.dropped.values().sum()
    }

    /// Fails the test unless `seen = exported + unsampled + sum(dropped) + open`.
    #[track_caller]
    pub fn assert_closed(&self) {
        let rest = i128::from(self.exported + self.unsampled + self.lost()) + i128::from(self.open);
        assert_eq!(i128::from(self.seen), rest, "the ledger does not close: {self:?}");
    }
}

impl Report {
    /// Reads a report.
    #[track_caller]
    pub fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).expect("the agent's report");
        Self::parse(&text)
    }

    #[track_caller]
    fn parse(text: &str) -> Self {
        let json: Value = serde_json::from_str(text).expect("a report in JSON");
        let ledger = json.get("ledger").expect("a ledger");
        let number = |name: &str| ledger.get(name).and_then(Value::as_u64).expect("a number in the ledger");
        let dropped = ledger.get("dropped").and_then(Value::as_object).expect("drops by cause");
        let ledger = Ledger {
            seen: number("seen"),
            exported: number("exported"),
            unsampled: number("unsampled"),
            dropped: dropped
                .iter()
                .map(|(cause, n)| (cause.clone(), n.as_u64().expect("a number of drops")))
                .collect(),
            open: ledger.get("open").and_then(Value::as_i64).expect("a number in the ledger"),
        };
        Self { ledger, json }
    }

    /// A counter of the kernel side (`kernel`), 0 if it is not there.
    pub fn kernel(&self, name: &str) -> u64 {
        self.number("kernel", name)
    }

    /// A counter of the agent (`counts`), 0 if it is not there.
    pub fn count(&self, name: &str) -> u64 {
        self.number("counts", name)
    }

    fn number(&self, part: &str, name: &str) -> u64 {
        self.json.get(part).and_then(|part| part.get(name)).and_then(Value::as_u64).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"{"ledger":{"seen":9,"exported":4,"unsampled":2,"dropped":{"a":1,"b":2},"open":0},
        "kernel":{"gaps":3},"counts":{"not_http":1}}"#;

    #[test]
    fn a_report_is_read() {
        let report = Report::parse(TEXT);
        report.ledger.assert_closed();
        assert_eq!((report.ledger.lost(), report.kernel("gaps"), report.count("not_http")), (3, 3, 1));
        assert_eq!(report.count("nothing"), 0);
    }

    #[test]
    #[should_panic(expected = "does not close")]
    fn a_ledger_that_does_not_close_fails() {
        crate::told::expect_failure();
        Report::parse(&TEXT.replace('9', "8")).ledger.assert_closed();
    }
}
