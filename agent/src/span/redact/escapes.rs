//! Percent-encoding (RFC 3986, section 2.1), taken off layer by layer: a URL inside of a parameter's value is encoded
//! once more than the value, and so is what stands in its own query.

/// Layers that are taken off. Two are seen in redirects; a third costs only texts that have it.
pub(super) const LAYERS: usize = 3;

/// The byte that a percent-encoding stands for, if there is one at `at`.
pub(super) fn escape(bytes: &[u8], at: usize) -> Option<u8> {
    let [b'%', high, low] = bytes.get(at..at + 3)? else { return None };
    let hex = |digit: &u8| char::from(*digit).to_digit(16).map(|value| value as u8);
    Some(hex(high)? << 4 | hex(low)?)
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
    let mut escapes =
        memchr::memchr_iter(b'%', text).filter_map(|at| escape(text, at)).filter(u8::is_ascii).peekable();
    escapes.peek().is_some()
        && (escapes.any(|byte| byte.is_ascii_graphic()) || memchr::memchr2(b'"', b'\'', text).is_some())
}

#[cfg(test)]
mod tests {
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
    fn texts_without_any() {
        for text in ["", "a b", "%", "%2", "%zz", "caf%C3%A9%20au%20lait"] {
            assert!(Layer::of(text.as_bytes()).is_none(), "{text}");
        }
        assert!(Layer::of(b"{%20\"").is_some());
    }
}
