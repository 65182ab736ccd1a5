//! The shop's customer: three requests.

use anyhow::{Result, bail};

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
        curl.args(["--write-out", "%{http_code}", "--request", self.method]);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_as_one_types_them() {
        assert_eq!(REQUESTS[0].typed(80), "curl http://127.0.0.1:80/browse");
        assert_eq!(REQUESTS[2].typed(80), "curl -X POST http://127.0.0.1:80/checkout");
    }
}
