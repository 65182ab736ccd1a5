//! Blocks of other encoders, read from the first one on, and from every later one.

use super::*;

/// Blocks that other libraries wrote, one after the other with one table, and the fields that went in.
const STORIES: [(&str, &str); 3] = [
    ("python_4096", include_str!("../../../../../tests/corpus/hpack/python_4096.blocks")),
    ("python_changes", include_str!("../../../../../tests/corpus/hpack/python_changes.blocks")),
    ("python_small", include_str!("../../../../../tests/corpus/hpack/python_small.blocks")),
];

type Field = (Option<String>, Option<String>);

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect()
}

/// A block, and the names and values in it.
type Block = (Vec<u8>, Vec<(String, String)>);

fn story(text: &str) -> Vec<Block> {
    text.split_terminator("\n\n")
        .map(|block| {
            let (hex, fields) = block.split_once('\n').expect("fields");
            let field = |line: &str| line.split_once('\t').map(|(name, value)| (name.into(), value.into()));
            (bytes(hex), fields.lines().map(|line| field(line).expect("a field")).collect())
        })
        .collect()
}

fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<Field>, Wrong> {
    let mut fields = Vec::new();
    let text = |part: Option<&[u8]>| part.map(|part| String::from_utf8_lossy(part).into_owned());
    decoder.block(block, |name, value| fields.push((text(name), text(value))))?;
    Ok(fields)
}

#[test]
fn stories_of_other_encoders() {
    for (name, text) in STORIES {
        let mut decoder = Decoder::default();
        for (index, (block, fields)) in story(text).into_iter().enumerate() {
            let found = read(&mut decoder, &block).expect("a block");
            let expect: Vec<Field> =
                fields.into_iter().map(|(name, value)| (Some(name), Some(value))).collect();
            assert_eq!(found, expect, "{name}, block {index}");
        }
    }
}

#[test]
fn joined_anywhere_nothing_is_wrong() {
    // From this block on the table was emptied once: nothing is left that could be unknown.
    const EMPTIED: [(&str, usize); 1] = [("python_changes", 10)];
    for (name, text) in STORIES {
        let blocks = story(text);
        let emptied = EMPTIED.iter().find(|(emptied, _)| *emptied == name).map(|(_, block)| *block);
        for start in 0..blocks.len() {
            let mut decoder = Decoder::default();
            decoder.forget();
            for (index, (block, fields)) in blocks.iter().enumerate().skip(start) {
                let found = read(&mut decoder, block).expect("a block");
                assert_eq!(found.len(), fields.len());
                for ((name, value), (real_name, real_value)) in found.iter().zip(fields) {
                    assert!(name.as_ref().is_none_or(|name| name == real_name));
                    assert!(value.as_ref().is_none_or(|value| value == real_value));
                }
                let unknown = found.iter().filter(|(name, value)| name.is_none() || value.is_none()).count();
                if emptied.is_some_and(|emptied| start < emptied && index >= emptied) {
                    assert_eq!(unknown, 0, "{name}, joined at {start}, block {index}");
                }
            }
        }
    }
}

#[test]
fn what_is_no_block() {
    for wrong in ["80", "ff", "ffffffffffffff", "40", "4001", "400161", "40016102", "0085", "7fffffffffff0f"]
    {
        assert_eq!(read(&mut Decoder::default(), &bytes(wrong)), Err(Wrong), "{wrong}");
    }
}

#[test]
fn every_prefix_and_every_changed_byte() {
    for (_, text) in STORIES {
        for (block, _) in story(text).iter().take(6) {
            for end in 0..block.len().min(400) {
                drop(read(&mut Decoder::default(), &block[..end]));
                for bit in 0..8 {
                    let mut changed = block.clone();
                    changed[end] ^= 1 << bit;
                    drop(read(&mut Decoder::default(), &changed));
                }
            }
        }
    }
}

#[test]
fn an_entry_above_the_size_empties_the_table() {
    let mut decoder = Decoder::default();
    // Size 64; "a: b"; then an entry of 70 bytes.
    read(&mut decoder, &bytes("3f21")).expect("a size");
    read(&mut decoder, &bytes("4001610162")).expect("a field");
    assert_eq!(read(&mut decoder, &bytes("be")), Ok(vec![(Some("a".into()), Some("b".into()))]));
    let long = format!("40016326{}", "64".repeat(38));
    read(&mut decoder, &bytes(&long)).expect("a field");
    assert_eq!(read(&mut decoder, &bytes("be")), Ok(vec![(None, None)]));
}

#[test]
fn long_text_is_bounded() {
    let mut decoder = Decoder::default();
    let long = format!("4001637f801e{}", "64".repeat(3967));
    read(&mut decoder, &bytes(&long)).expect("a field");
    let fields = read(&mut decoder, &vec![0xbe; 10_000]).expect("a block");
    assert_eq!(fields.len(), 10_000);
    assert!(fields.iter().filter(|(name, _)| name.is_some()).count() < 100);
}
