//! Durations of exchanges that the kernel side withheld: what nobody looked at has no label.

use std::{borrow::Cow, sync::Arc};

use super::{Builder, attr, authority, default_port, is_server, text};
use crate::{
    discover::resource::Resource,
    exchange::{Outcome, Role, Withheld},
    span::{
        Value,
        measure::{Key, Observed},
        outcome::judge,
    },
    stats::Count,
};

impl Builder {
    /// Measures an exchange that is in no span, unless nobody knows how long it took.
    pub fn withheld(&self, withheld: &Withheld, resource: &Arc<Resource>) {
        let Some(measures) = self.measures.as_deref() else { return };
        if withheld.outcome == Outcome::Unseen {
            return self.stats.count(Count::Unmeasured);
        }
        let role = withheld.connection.role;
        // Who wanted nothing of the content is told of as one who got all.
        let error = match judge(role, withheld.response, 1, withheld.outcome).error {
            Some(Value::Static(error)) => Cow::Borrowed(error),
            Some(Value::Str(error)) => Cow::Owned(error.into()),
            _ => Cow::Borrowed(""),
        };
        let mut key = Key {
            method: self.method_of(&withheld.method).unwrap_or(Cow::Borrowed(attr::OTHER)),
            code: withheld.response.unwrap_or(0),
            error,
            version: match withheld.version {
                b'1' => "1.1",
                b'0' => "1.0",
                _ => "",
            },
            service: 0,
            ..Key::overflow(is_server(role))
        };
        if role == Role::Client
            && let Some(host) = line(&withheld.host)
        {
            let named = authority(host);
            key.address = self.redactor.text(text(named.host), &self.stats).into();
            key.port = named.port.or_else(|| default_port("http")).unwrap_or(0);
        }
        measures.observe(Observed {
            key,
            resource,
            connection: &withheld.connection,
            start_ns: withheld.start_ns,
            end_ns: withheld.end_ns,
            exemplar: None,
        });
    }

    /// The known method that a request begins with.
    fn method_of(&self, first: &[u8]) -> Option<Cow<'static, str>> {
        let at = first.iter().position(|byte| *byte == b' ')?;
        self.known_method(first.get(..at)?)
    }
}

/// The value of a field, if its line ends there and it has one.
fn line(first: &[u8]) -> Option<&[u8]> {
    let at = first.iter().position(|byte| matches!(byte, b'\r' | b'\n'))?;
    let value = first.get(..at)?.trim_ascii();
    (!value.is_empty()).then_some(value)
}
