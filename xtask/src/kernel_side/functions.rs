//! The functions of a BPF object: instructions, and who calls whom.

use std::collections::{BTreeMap, HashMap};

use anyhow::{Context as _, Result, bail};
use object::{
    Object as _, ObjectSection as _, ObjectSymbol as _, RelocationTarget, SectionIndex, SectionKind,
    SymbolKind, read::elf::ElfFile64,
};

/// Bytes of an instruction. Wide ones have two.
const SLOT: u64 = 8;

/// An instruction (RFC 9669, section 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Instruction {
    pub(super) code: u8,
    pub(super) dst: usize,
    pub(super) src: usize,
    pub(super) offset: i16,
    pub(super) imm: i32,
}

/// `call`, and what its source register says of a function of the object (RFC 9669, section 4.3).
pub(super) const CALL: u8 = 0x85;
pub(super) const LOCAL: usize = 1;

impl Instruction {
    const fn new(bytes: [u8; 8]) -> Self {
        let [code, registers, o0, o1, i0, i1, i2, i3] = bytes;
        Self {
            code,
            dst: (registers & 15) as usize,
            src: (registers >> 4) as usize,
            offset: i16::from_le_bytes([o0, o1]),
            imm: i32::from_le_bytes([i0, i1, i2, i3]),
        }
    }

    /// Whether it calls a function of the object.
    pub(super) const fn calls(&self) -> bool {
        self.code == CALL && self.src == LOCAL
    }
}

/// A function of the object: a program, or what one calls.
#[derive(Debug, Default)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) instructions: Vec<Instruction>,
    /// By the place of the call, which function.
    pub(super) calls: BTreeMap<usize, usize>,
}

/// A place in the object's code.
type Place = (SectionIndex, u64);

/// All functions of an object.
pub(super) fn all(bytes: &[u8]) -> Result<Vec<Function>> {
    let file: ElfFile64<'_> = ElfFile64::parse(bytes)?;
    let mut functions = Vec::new();
    let mut starts: Vec<Place> = Vec::new();
    for symbol in file.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text) {
        let section = symbol.section_index().context("a function that is nowhere")?;
        let code = file.section_by_index(section)?.data_range(symbol.address(), symbol.size())?;
        let (slots, rest) = code.context("a function that is cut off")?.as_chunks();
        if !rest.is_empty() {
            bail!("a function with half an instruction");
        }
        let instructions = slots.iter().copied().map(Instruction::new).collect();
        functions.push(Function { name: symbol.name()?.to_owned(), instructions, calls: BTreeMap::new() });
        starts.push((section, symbol.address()));
    }
    let named = relocations(&file)?;
    let by_place: HashMap<Place, usize> =
        starts.iter().enumerate().map(|(number, place)| (*place, number)).collect();
    for (function, (section, start)) in functions.iter_mut().zip(&starts) {
        for (at, instruction) in function.instructions.iter().enumerate() {
            let place = (*section, start + at as u64 * SLOT);
            if !instruction.calls() {
                if named.get(&place).is_some_and(|target| by_place.contains_key(target)) {
                    bail!("{} takes a function's address, and who calls that cannot be told", function.name);
                }
                continue;
            }
            // From the symbol's place, or from here.
            let (section, base) = named.get(&place).copied().unwrap_or((place.0, place.1));
            let target = base.wrapping_add_signed((i64::from(instruction.imm) + 1) * SLOT as i64);
            let callee = by_place.get(&(section, target));
            function.calls.insert(at, *callee.context("a call of something that is no function")?);
        }
    }
    Ok(functions)
}

/// What instructions refer to.
fn relocations(file: &ElfFile64<'_>) -> Result<HashMap<Place, Place>> {
    let mut all = HashMap::new();
    for section in file.sections().filter(|section| section.kind() == SectionKind::Text) {
        for (at, relocation) in section.relocations() {
            let RelocationTarget::Symbol(symbol) = relocation.target() else { continue };
            let symbol = file.symbol_by_index(symbol)?;
            if let Some(target) = symbol.section_index() {
                all.insert((section.index(), at), (target, symbol.address()));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_is_read_by_its_fields() {
        let load = Instruction::new([0x79, 0xa1, 0x98, 0xff, 0, 0, 0, 0]);
        assert_eq!(load, Instruction { code: 0x79, dst: 1, src: 10, offset: -104, imm: 0 });
        let call = Instruction::new([0x85, 0x10, 0, 0, 0xff, 0xff, 0xff, 0xff]);
        assert!(call.calls() && call.imm == -1);
        assert!(!Instruction::new([0x85, 0, 0, 0, 112, 0, 0, 0]).calls());
    }
}
