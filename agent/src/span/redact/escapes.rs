//! Percent-encoding (RFC 3986, section 2.1) and the `\uXXXX` and `\/` of JSON (RFC 8259, section 7), taken off layer by layer: a
//! URL inside of a parameter's value is encoded once more than the value, and so is what stands in its own query.

/// Layers that are taken off. Two are seen in redirects; a third costs only texts that have it.
pub(super) const LAYERS: usize = 3;

/// The byte that a percent-encoding stands for, if there is one at `at`.
pub(super) fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = bytes.get(at..at + 3)? else { return None };
    let hex = |digit: &u8| char::from(*digit).to_digit(16).map(|value| value as u8);
    Some(hex(high)? << 4 | hex(low)?)
}

/// Backslashes in front of the `u` of an escape at most: JSON in JSON in JSON doubles them twice.
const SLASHES: usize = 4;

/// A character of an escape of JSON, `\uXXXX`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Unicode {
    /// Halves of pairs are none: they stand for nothing that is looked for.
    character: char,
    /// Its own backslashes: more than one where the JSON is itself a text of JSON.
    slashes: usize,
    /// Bytes of the escape, from its first own backslash on.
    width: usize,
}

/// The escape whose `u` is at `at`, with `before` backslashes in front of it.
fn unicode(bytes: &[u8], at: usize, before: usize) -> Option<Unicode> {
    let [b'u', a, b, c, d] = bytes.get(at..at + 5)? else { return None };
    let number = [a, b, c, d]
        .iter()
        .try_fold(0, |number, digit| Some(number << 4 | char::from(**digit).to_digit(16)?))?;
    let slashes = own(before);
    let character = char::from_u32(number).filter(|_| before > 0)?;
    Some(Unicode { character, slashes, width: slashes + 5 })
}

/// How many of the backslashes in front of an escape are its own. In front of those each depth has twice as many, in
/// pairs, for backslashes of the text.
fn own(before: usize) -> usize {
    1 << before.trailing_zeros().min(SLASHES.trailing_zeros())
}

impl Unicode {
    /// What it stands for, so that quotes and backslashes of a text do not end it. Never longer than the escape.
    fn shown(self, out: &mut Vec<u8>) {
        match self.character {
            '"' | '\'' => {
                out.resize(out.len() + 2 * self.slashes - 1, b'\\');
                out.push(self.character as u8);
            }
            '\\' => out.resize(out.len() + 2 * self.slashes, b'\\'),
            other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
}

/// A text with layers taken off, and where each byte of it stands in the text.
pub(super) struct Layer {
    pub(super) bytes: Vec<u8>,
    /// One more than there are bytes: the last is the end of the text.
    places: Vec<usize>,
}

impl Layer {
    /// A text with its first layer taken off. `None` if that can show nothing.
    pub(super) fn of(text: &[u8]) -> Option<Self> {
        decode(text, |at| at)
    }

    /// This text with one more layer taken off. `None` if that can show nothing.
    pub(super) fn next(&self) -> Option<Self> {
        decode(&self.bytes, |at| self.place(at))
    }

    /// Where a byte of the layer, or its end, stands in the text.
    pub(super) fn place(&self, at: usize) -> usize {
        self.places.get(at).or(self.places.last()).copied().unwrap_or_default()
    }
}

fn decode(text: &[u8], place: impl Fn(usize) -> usize) -> Option<Layer> {
    if !shows(text) {
        return None;
    }
    let mut layer =
        Layer { bytes: Vec::with_capacity(text.len()), places: Vec::with_capacity(text.len() + 1) };
    let mut at = 0;
    while let Some(byte) = text.get(at) {
        if *byte == b'\\' {
            let run = text.get(at..).unwrap_or_default().iter().take_while(|byte| **byte == b'\\').count();
            let found = unicode(text, at + run, run);
            let solidus = text.get(at + run) == Some(&b'/');
            let own = if found.is_some() || solidus { own(run) } else { 0 };
            // Those in front of its own stay what they are.
            for slash in at..at + run - own {
                layer.bytes.push(b'\\');
                layer.places.push(place(slash));
            }
            at += run - own;
            if let Some(found) = found {
                found.shown(&mut layer.bytes);
                layer.places.resize(layer.bytes.len(), place(at));
                at += found.width;
            } else if solidus {
                layer.bytes.push(b'/');
                layer.places.push(place(at));
                at += own + 1;
            }
            continue;
        }
        let decoded = escape(text, at);
        layer.bytes.push(decoded.unwrap_or(*byte));
        layer.places.push(place(at));
        at += if decoded.is_some() { 3 } else { 1 };
    }
    layer.places.push(place(text.len()));
    Some(layer)
}

/// Whether a text says more with a layer taken off. Most escapes stand for spaces and for other alphabets: those
/// matter only between quotes.
fn shows(text: &[u8]) -> bool {
    let decoded = |at| match text.get(at)? {
        b'%' => escape(text, at),
        _ if text.get(at + 1) == Some(&b'/') => Some(b'/'),
        // The last of its backslashes is enough to see that it is one.
        _ => unicode(text, at + 1, 1).and_then(|found| u8::try_from(found.character).ok()),
    };
    let mut escapes =
        memchr::memchr2_iter(b'%', b'\\', text).filter_map(decoded).filter(u8::is_ascii).peekable();
    escapes.peek().is_some()
        && (escapes.any(|byte| byte.is_ascii_graphic()) || memchr::memchr2(b'"', b'\'', text).is_some())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn layers() {
        let text = b"a%3Db%2520%zz%C3%A9%";
        let first = Layer::of(text).unwrap();
        assert_eq!(first.bytes, b"a=b%20%zz\xC3\xA9%");
        assert_eq!([0, 1, 2, 3, 4, 6].map(|at| first.place(at)), [0, 1, 4, 5, 8, 10]);
        assert_eq!((first.place(12), first.place(13)), (text.len(), text.len()));
        assert!(first.next().is_none(), "a space shows nothing");
        let twice = Layer::of(b"x%253Dy").unwrap().next().unwrap();
        assert_eq!((&*twice.bytes, twice.place(1), twice.place(2)), (&b"x=y"[..], 1, 6));
        assert!(twice.next().is_none());
    }

    #[test]
    fn escapes_of_json() {
        for (text, shown) in [
            (&br#""pass\u0077ord""#[..], &br#""password""#[..]),
            (br"\u0026a\u003Db", b"&a=b"),
            // Deeper down an escape has more backslashes, and a quote of the text stays one of the text.
            (br#"\"pass\\u0077ord\""#, br#"\"password\""#),
            (br#""a\u0022b""#, br#""a\"b""#),
            (br#"\"a\\u0022b\""#, br#"\"a\\\"b\""#),
            (br#""a\u005cu0041""#, br#""a\\u0041""#),
            (br#""a\\\u0041""#, br#""a\\A""#),
            (br"\u00e9\u0041", "\u{e9}A".as_bytes()),
            (br"\ud83d\u0041\uzzzz\u004", br"\ud83dA\uzzzz\u004"),
            (br"\\\\\\\\u0041\", br"\\\\A\"),
            (br"a%3Db\u003d%5Cu003d", br"a=b=\u003d"),
        ] {
            let layer = Layer::of(text).unwrap();
            let (found, expect) = (String::from_utf8_lossy(&layer.bytes), String::from_utf8_lossy(shown));
            assert_eq!(found, expect, "{}", String::from_utf8_lossy(text));
            assert_eq!(layer.places.len(), layer.bytes.len() + 1);
            assert_eq!(layer.place(layer.bytes.len()), text.len());
            assert!(layer.places.is_sorted());
        }
        for text in [&br"\u"[..], br"\u004", br"\\n\t", br"u0041", br"\u00e9", br"\ud83d\ude00", b"\\"] {
            assert!(Layer::of(text).is_none(), "{}", String::from_utf8_lossy(text));
        }
    }

    /// What escapes are made of, and what they may be mistaken for.
    const PIECES: &[&[u8]] =
        &[b"\\", b"\\u0022", b"\\u005c", b"u00", b"%5C", b"%", b"41", b"\"", b"\xff", b"\\u2028", b"="];

    proptest! {
        /// Whatever it is, a layer is no longer than its text, and knows where each byte comes from.
        #[test]
        fn hostile_escapes(parts in prop::collection::vec(prop::sample::select(PIECES), 0..40)) {
            let text = parts.concat();
            let mut layer = Layer::of(&text);
            for _ in 0..LAYERS {
                let Some(shown) = layer else { break };
                prop_assert!(shown.bytes.len() <= text.len());
                prop_assert_eq!(shown.places.len(), shown.bytes.len() + 1);
                prop_assert!(shown.places.is_sorted() && shown.places.last() == Some(&text.len()));
                layer = shown.next();
            }
        }
    }

    #[test]
    fn texts_without_any() {
        for text in ["", "a b", "%", "%2", "%zz", "caf%C3%A9%20au%20lait"] {
            assert!(Layer::of(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Layer::of(b"{%20\"").is_some());
    }
}
