//! The redactor: no panic, a secret in any text is hidden, and a text that a glance passes has none.

use spandrel::{
    span::redact::{Policy, Redactor, Values},
    stats::Stats,
};

/// Texts that must not come through, where nothing stands directly before or behind them.
const SECRETS: [&str; 4] = [
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
    "AKIAIOSFODNN7EXAMPLE",
    "4111111111111111",
    "Bearer abcdef123456",
];

/// Any text, as a value and as a query.
pub fn redact(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (stats, redactor) = (Stats::default(), Redactor::new(Policy::default()));
    let once = redactor.text(&*text, &stats).into_owned();
    // An equals sign makes it look at every byte, as an escape does. Behind a line of its own it changes nothing else,
    // unless a quote is open.
    if !text.contains(['"', '\'', '%']) {
        let looked_at = redactor.text(format!("{text}\n="), &stats);
        assert_eq!(looked_at.strip_suffix("\n="), Some(&*once), "{text:?}");
    }
    drop(redactor.text(once.as_str(), &stats));
    drop(redactor.query(&text, &stats));
    let eager = Policy { values: Values { emails: true, ..Values::default() }, ..Policy::default() };
    drop(Redactor::new(eager).text(&*text, &stats));
    for secret in SECRETS {
        let given = format!("{text}\n{secret}\n{text}");
        let shown = redactor.text(given.as_str(), &stats);
        // The text may hold it too, as a part of a longer word.
        assert!(shown.split('\n').all(|line| line != secret), "{secret} is shown in {shown:?}");
    }
}
