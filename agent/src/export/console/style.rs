//! Text on a terminal: colours, widths, durations, and nothing that a traced program could smuggle in.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar as _, UnicodeWidthStr as _};

/// What a piece of text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ink {
    Plain,
    Bold,
    Quiet,
    Good,
    Warn,
    Bad,
    /// One of a few colours that tell services apart.
    Service(u8),
}

impl Ink {
    /// Always the same for one name.
    pub(super) fn of(service: &str) -> Self {
        let hash = service
            .bytes()
            .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
        Self::Service((hash >> 16) as u8)
    }

    /// The SGR parameters (ECMA-48, section 8.3.117). Only the sixteen basic colours: the terminal's own
    /// theme makes them readable on its background.
    const fn sgr(self) -> &'static str {
        const SERVICES: [&str; 6] = ["36", "35", "34", "96", "95", "94"];
        match self {
            Self::Plain => "",
            Self::Bold => "1",
            Self::Quiet => "2",
            Self::Good => "32",
            Self::Warn => "33",
            Self::Bad => "31",
            Self::Service(n) => SERVICES[n as usize % SERVICES.len()],
        }
    }
}

/// A line under construction.
#[derive(Debug)]
pub(super) struct Line {
    text: String,
    width: usize,
    colour: bool,
}

impl Line {
    pub(super) fn new(colour: bool) -> Self {
        Self { text: String::new(), width: 0, colour }
    }

    /// Columns so far.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Adds text as it is; it has to be clean.
    pub(super) fn put(&mut self, ink: Ink, text: &str) {
        self.width += text.width();
        if self.colour && ink != Ink::Plain && !text.is_empty() {
            self.text.extend(["\x1b[", ink.sgr(), "m", text, "\x1b[0m"]);
        } else {
            self.text.push_str(text);
        }
    }

    /// Adds text that may come from anywhere, cut to `max` columns.
    pub(super) fn put_fit(&mut self, ink: Ink, text: &str, max: usize) {
        let text = clean(text);
        self.put(ink, &fit(&text, max));
    }

    /// Spaces up to a column.
    pub(super) fn to(&mut self, column: usize) {
        while self.width < column {
            self.text.push(' ');
            self.width += 1;
        }
    }

    /// The line, with its line feed and without spaces before it.
    pub(super) fn end(self, out: &mut String) {
        out.push_str(self.text.trim_end_matches(' '));
        out.push('\n');
    }
}

/// The text without anything that would move the cursor, change colours or reorder what follows.
fn clean(text: &str) -> Cow<'_, str> {
    let odd = |c: char| {
        c.is_control()
            || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(odd) { text.replace(odd, "\u{b7}").into() } else { text.into() }
}

/// At most `max` columns of the text; an ellipsis stands for the rest.
pub(super) fn fit(text: &str, max: usize) -> Cow<'_, str> {
    if text.width() <= max {
        return text.into();
    }
    let mut width = 0;
    let end = text.char_indices().find(|(_, c)| {
        width += c.width().unwrap_or(0);
        width + 1 > max
    });
    let end = end.map_or(text.len(), |(at, _)| at);
    let head = text.get(..end).unwrap_or_default();
    if max == 0 { "".into() } else { format!("{head}\u{2026}").into() }
}

/// A duration in at most seven columns: three digits and a unit.
pub(super) fn duration(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..999_500 => (ns as f64 / 1e3, "\u{b5}s"),
        999_500..999_500_000 => (ns as f64 / 1e6, "ms"),
        999_500_000..99_950_000_000 => (ns as f64 / 1e9, "s"),
        _ => {
            let seconds = ns / 1_000_000_000;
            return match seconds {
                0..6_000 => format!("{}m{:02}s", seconds / 60, seconds % 60),
                6_000..360_000 => format!("{}h{:02}m", seconds / 3600, seconds / 60 % 60),
                360_000..86_400_000 => format!("{}d{:02}h", seconds / 86_400, seconds / 3600 % 24),
                _ => ">999 d".to_owned(),
            };
        }
    };
    match value {
        ..9.995 => format!("{value:.2} {unit}"),
        9.995..99.95 => format!("{value:.1} {unit}"),
        _ => format!("{value:.0} {unit}"),
    }
}

/// Digits of a binary id.
pub(super) fn hex(id: &[u8]) -> String {
    id.iter().flat_map(|byte| [byte >> 4, byte & 15]).filter_map(|n| char::from_digit(n.into(), 16)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_three_digits() {
        let cases = [
            (0, "0 ns"),
            (999, "999 ns"),
            (1_000, "1.00 \u{b5}s"),
            (999_499, "999 \u{b5}s"),
            (999_500, "1.00 ms"),
            (9_994_999, "9.99 ms"),
            (9_996_000, "10.0 ms"),
            (12_345_678, "12.3 ms"),
            (99_960_000, "100 ms"),
            (999_499_999, "999 ms"),
            (1_500_000_000, "1.50 s"),
            (61_000_000_000, "61.0 s"),
            (125_000_000_000, "2m05s"),
            (7_300_000_000_000, "2h01m"),
            (400_000_000_000_000, "4d15h"),
            (u64::MAX, ">999 d"),
        ];
        for (ns, text) in cases {
            assert_eq!(duration(ns), text);
            assert!(text.width() <= 7);
        }
    }

    #[test]
    fn text_is_cut_by_columns() {
        assert_eq!(fit("abc", 3), "abc");
        assert_eq!(fit("abcd", 3), "ab\u{2026}");
        assert_eq!(fit("abcd", 1), "\u{2026}");
        assert_eq!(fit("abcd", 0), "");
        assert_eq!(fit("\u{65e5}\u{672c}\u{8a9e}", 5), "\u{65e5}\u{672c}\u{2026}");
        assert_eq!(fit("\u{65e5}\u{672c}\u{8a9e}", 4), "\u{65e5}\u{2026}");
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(clean("GET /\x1b[2J\r\n\u{202e}x\u{9b}"), "GET /\u{b7}[2J\u{b7}\u{b7}\u{b7}x\u{b7}");
        assert_eq!(clean("/caf\u{e9}"), "/caf\u{e9}");
    }
}
