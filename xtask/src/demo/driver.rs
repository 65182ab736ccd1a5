//! The shop's customer: three requests, each with a trace of its own.

use std::{fs::File, io::Read as _};

use anyhow::{Context as _, Result, bail};

use super::shop::{Shop, without_variables};
use crate::run::{command, output};

/// A request to the front door.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    /// What to expect of it, for people.
    pub(super) note: &'static str,
    status: &'static str,
    /// The spans that it makes in any case.
    least: u64,
    /// Those that a program in this language adds.
    more: Option<(&'static str, u64)>,
}

/// One that is well, one that is slow, one that fails deep inside.
pub(super) const REQUESTS: [Request; 3] = [
    // nginx is asked, asks the storefront, which is asked; twice the storefront asks and pricing is asked.
    Request { method: "GET", path: "/browse", note: "", status: "200", least: 3, more: Some(("Go", 4)) },
    // The storefront asks, the cart is asked; the cart asks and pricing is asked.
    Request {
        method: "GET",
        path: "/cart",
        note: "asks an old database",
        status: "200",
        least: 5,
        more: Some(("Go", 2)),
    },
    // The storefront asks, the cart is asked; between them, payment is asked and asks.
    Request {
        method: "POST",
        path: "/checkout",
        note: "fails deep inside",
        status: "502",
        least: 5,
        more: Some(("Java", 2)),
    },
];

impl Request {
    /// How many spans it makes in this shop.
    pub(super) fn spans(&self, shop: &Shop) -> u64 {
        self.least + self.more.filter(|(language, _)| shop.speaks(language)).map_or(0, |(_, spans)| spans)
    }

    /// As one types it.
    pub(super) fn typed(&self, port: u16) -> String {
        let method = if self.method == "GET" { String::new() } else { format!("-X {} ", self.method) };
        format!("curl {method}http://127.0.0.1:{port}{}", self.path)
    }

    fn send(&self, port: u16) -> Result<()> {
        let mut curl = command("curl");
        without_variables(&mut curl);
        curl.args(["--silent", "--show-error", "--max-time", "60", "--output", "/dev/null"]);
        curl.args(["--write-out", "%{http_code}", "--request", self.method, "--header"]);
        curl.arg(format!("traceparent: {}", traceparent()?));
        curl.arg(format!("http://127.0.0.1:{port}{}", self.path));
        let out = output(&mut curl)?;
        let status = String::from_utf8_lossy(&out.stdout);
        if status != self.status {
            let said = String::from_utf8_lossy(&out.stderr);
            bail!("{} gave {status}, not {}. {}", self.typed(port), self.status, said.trim());
        }
        Ok(())
    }
}

/// Makes all requests, one after another.
pub(super) fn visit(port: u16) -> Result<()> {
    REQUESTS.iter().try_for_each(|request| request.send(port))
}

/// A new trace: sampled, with random ids (W3C Trace Context Level 2, section 3.2).
fn traceparent() -> Result<String> {
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    let mut random = File::open("/dev/urandom").context("there are no random numbers")?;
    for id in [&mut trace[..], &mut span] {
        random.read_exact(id).context("there are no random numbers")?;
    }
    Ok(format!("00-{:032x}-{:016x}-03", u128::from_be_bytes(trace), u64::from_be_bytes(span)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_visit_is_a_new_trace() {
        let (one, other) = (traceparent().unwrap(), traceparent().unwrap());
        assert_eq!((one.len(), one.split('-').count()), (55, 4));
        assert_ne!(one, other);
    }

    #[test]
    fn requests_as_one_types_them() {
        assert_eq!(REQUESTS[0].typed(80), "curl http://127.0.0.1:80/browse");
        assert_eq!(REQUESTS[2].typed(80), "curl -X POST http://127.0.0.1:80/checkout");
    }
}
