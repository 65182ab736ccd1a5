//! What it costs to look through everyday texts for what may not be shown, on one core.
//!
//! `redact ROUNDS` prints a JSON object a line: a text, and the nanoseconds that it took in every round.
#![expect(clippy::print_stdout, reason = "its result goes to standard output")]

use std::{env, hint::black_box, time::Instant};

use anyhow::{Context as _, Result};
use spandrel::{
    span::redact::{Policy, Redactor},
    stats::Stats,
};

/// Looks at a text in each round: enough that the clock does not count.
const LOOKS: u32 = 2_000;

/// Paths, fields and bodies as they come, the last one with a secret in it.
const TEXTS: [(&str, &str); 7] = [
    ("a short path", "/api/items"),
    ("a path with a query", "/v1/orders/4711/items?page=2&sort=name&q=a%20b"),
    ("a URL in a URL", "https://shop.example.org/v1/orders/4711?redirect=%2Fhome%3Fa%3Db"),
    ("a browser's name", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
    (
        "JSON",
        r#"{"id":4711,"items":[{"name":"cup","value":"blue"},{"name":"pot","value":"red"}],"note":"a: b"}"#,
    ),
    ("media types", "text/html, application/xhtml+xml;q=0.9, */*;q=0.8"),
    ("a secret", "token=abcdef&a=b"),
];

fn main() -> Result<()> {
    let rounds: usize = env::args().nth(1).context("usage: redact ROUNDS")?.parse()?;
    let (redactor, stats) = (Redactor::new(Policy::default()), Stats::default());
    for (name, text) in TEXTS {
        let round = |_| {
            let begun = Instant::now();
            for _ in 0..LOOKS {
                black_box(redactor.text(black_box(text), &stats));
            }
            format!("{:.1}", begun.elapsed().as_nanos() as f64 / f64::from(LOOKS))
        };
        let times: Vec<_> = (0..rounds).map(round).collect();
        println!("{{\"name\":\"{name}\",\"bytes\":{},\"ns\":[{}]}}", text.len(), times.join(","));
    }
    Ok(())
}
