//! Header compression (RFC 7541), read.
//!
//! Indices count back from the newest entry of the dynamic table. So a decoder that joins in the middle, or behind a
//! gap, knows exactly what was inserted since, and knows of everything else that it does not know it. An entry that it
//! keeps although the encoder has evicted it does no harm: no valid block names it.

use std::collections::VecDeque;

use bytes::Bytes;
use zeroize::Zeroizing;

use super::huffman;

/// The static table (RFC 7541, appendix A).
const STATIC: [(&[u8], &[u8]); 61] = [
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// Bytes of a table until its encoder says otherwise (RFC 9113, section 6.5.2).
const USUAL: usize = 4096;

/// Bytes of the entries that are kept, whatever size an encoder says, or could have said unseen. Few use more than
/// 4 KiB; what is older counts as unknown.
const LARGEST: usize = 64 * 1024;

/// Bytes that count for an entry beside its text (RFC 7541, section 4.1).
const OVERHEAD: usize = 32;

/// Bytes of the text that one block may stand for, in all. A block that names a long entry often stands for far more
/// than its length; from here on its fields are left out.
const TEXT: usize = 256 * 1024;

/// What stands in a block where something is no header compression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wrong;

/// A part of a field that may not be known.
type Part = Option<Bytes>;

#[derive(Clone, Debug)]
struct Entry {
    name: Part,
    value: Part,
}

impl Entry {
    fn size(&self) -> usize {
        let len = |part: &Part| part.as_ref().map_or(0, Bytes::len);
        len(&self.name) + len(&self.value) + OVERHEAD
    }
}

/// One direction's decoder.
#[derive(Debug)]
pub(super) struct Decoder {
    /// The newest entry comes first.
    entries: VecDeque<Entry>,
    /// Of all entries.
    size: usize,
    max: usize,
}

impl Default for Decoder {
    /// A decoder of a direction that begins.
    fn default() -> Self {
        Self { entries: VecDeque::new(), size: 0, max: USUAL }
    }
}

impl Decoder {
    /// Blocks were missed: what they inserted is unknown, and so is the size that they may have set.
    pub(super) fn forget(&mut self) {
        self.entries = VecDeque::new();
        self.size = 0;
        self.max = LARGEST;
    }

    /// Reads a block and hands its fields on, in order, as name and value, as far as they are known.
    pub(super) fn block(
        &mut self,
        block: &[u8],
        mut field: impl FnMut(Option<&[u8]>, Option<&[u8]>),
    ) -> Result<(), Wrong> {
        let mut read = Read { rest: block };
        let mut told = 0;
        while let Some(first) = read.rest.first().copied() {
            let entry = if first & 0x80 != 0 {
                self.get(read.number(7)?)?
            } else if first & 0xe0 == 0x20 {
                self.resize(usize::try_from(read.number(5)?).unwrap_or(usize::MAX));
                continue;
            } else {
                let insert = first & 0x40 != 0;
                let name = match read.number(if insert { 6 } else { 4 })? {
                    0 => Some(read.text()?),
                    index => self.get(index)?.name,
                };
                let entry = Entry { name, value: Some(read.text()?) };
                if insert {
                    self.insert(entry.clone());
                }
                entry
            };
            told += entry.size();
            if told <= TEXT {
                field(entry.name.as_deref(), entry.value.as_deref());
            } else {
                field(None, None);
            }
        }
        Ok(())
    }

    fn get(&self, index: u64) -> Result<Entry, Wrong> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let place = index.checked_sub(1).ok_or(Wrong)?;
        if let Some((name, value)) = STATIC.get(place) {
            return Ok(Entry {
                name: Some(Bytes::from_static(name)),
                value: Some(Bytes::from_static(value)),
            });
        }
        let found = self.entries.get(place - STATIC.len()).cloned();
        Ok(found.unwrap_or(Entry { name: None, value: None }))
    }

    fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.shrink(self.max.saturating_sub(size));
        if size <= self.max {
            self.size += size;
            self.entries.push_front(entry);
        }
    }

    fn resize(&mut self, max: usize) {
        self.max = max.min(LARGEST);
        self.shrink(self.max);
    }

    fn shrink(&mut self, max: usize) {
        while self.size > max
            && let Some(oldest) = self.entries.pop_back()
        {
            self.size = self.size.saturating_sub(oldest.size());
        }
    }
}

/// Bytes of a block that are to be read.
struct Read<'a> {
    rest: &'a [u8],
}

/// Continuation bytes of a number: five make 35 bits, and every bound of HTTP/2 is below.
const CONTINUED: u32 = 5;

impl Read<'_> {
    /// A number whose first byte has so many bits of it (RFC 7541, section 5.1).
    fn number(&mut self, prefix: u32) -> Result<u64, Wrong> {
        let (first, rest) = self.rest.split_first().ok_or(Wrong)?;
        self.rest = rest;
        let most = (1 << prefix) - 1;
        let mut number = u64::from(*first) & most;
        if number < most {
            return Ok(number);
        }
        for index in 0..CONTINUED {
            let (byte, rest) = self.rest.split_first().ok_or(Wrong)?;
            self.rest = rest;
            number += u64::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Wrong)
    }

    /// A string (RFC 7541, section 5.2). Its memory is overwritten when its last owner drops it: it may be a
    /// credential.
    fn text(&mut self) -> Result<Bytes, Wrong> {
        let huffman = self.rest.first().is_some_and(|first| first & 0x80 != 0);
        let len = usize::try_from(self.number(7)?).unwrap_or(usize::MAX);
        let (text, rest) = self.rest.split_at_checked(len).ok_or(Wrong)?;
        self.rest = rest;
        let mut plain = Zeroizing::new(Vec::with_capacity(if huffman { len * 8 / 5 } else { len }));
        if huffman {
            huffman::decode(text, &mut plain).ok_or(Wrong)?;
        } else {
            plain.extend_from_slice(text);
        }
        Ok(Bytes::from_owner(plain))
    }
}

#[cfg(test)]
mod tests;
