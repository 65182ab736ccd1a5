//! What a function does with its frame, as far as that can be told without knowing values: every way through the
//! function is walked, and what two ways disagree about is not known where they meet.
//!
//! The verifier knows more (it follows values, so it knows that some ways are never taken together) and so could take
//! what is told here; what it refuses and this does not see are words that a callee or a map's helper is given.

use super::functions::{CALL, Function, Instruction};

/// Bytes of the largest frame that can be addressed.
const FRAME: i64 = 512;
const WORD: i64 = 8;
/// As many as an instruction has numbers for; 11 are used.
const REGISTERS: usize = 16;
/// The register that holds the frame's upper end.
const FRAME_POINTER: usize = 10;
/// Helpers that fill the memory at their first argument; the second is its length (`enum bpf_func_id`: the reads of
/// kernel and user memory and strings, `get_current_comm`).
const FILLING: [i32; 7] = [4, 16, 45, 112, 113, 114, 115];

/// A function's frame.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Frame {
    /// Its size.
    pub(super) bytes: u32,
    /// Reads of what was not written.
    pub(super) unwritten: Vec<Read>,
}

/// A read of the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Read {
    /// Number of the instruction in its function.
    pub(super) instruction: usize,
    /// From the frame's upper end, so below 0.
    pub(super) offset: i64,
    pub(super) length: i64,
}

/// What is known of a register or a word of the frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Value {
    #[default]
    Unknown,
    Number(i64),
    /// An address in the frame, from its upper end.
    Frame(i64),
}

/// What is known before an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
struct State {
    registers: [Value; REGISTERS],
    words: [Value; (FRAME / WORD) as usize],
    /// Whether a byte was written.
    written: [bool; FRAME as usize],
}

impl State {
    fn new() -> Self {
        let mut registers = [Value::Unknown; REGISTERS];
        registers[FRAME_POINTER] = Value::Frame(0);
        Self { registers, words: [Value::Unknown; _], written: [false; _] }
    }

    /// What holds on this way and on another one. Whether that is less than what held on this one.
    fn meet(&mut self, other: &Self) -> bool {
        let before = self.clone();
        let values = self.registers.iter_mut().chain(&mut self.words);
        for (value, other) in values.zip(other.registers.iter().chain(&other.words)) {
            if value != other {
                *value = Value::Unknown;
            }
        }
        for (written, other) in self.written.iter_mut().zip(&other.written) {
            *written &= other;
        }
        *self != before
    }

    fn at(&self, base: usize, offset: i16) -> Option<i64> {
        match self.registers[base] {
            Value::Frame(at) => Some(at + i64::from(offset)),
            _ => None,
        }
    }

    /// Something is written to the frame.
    fn write(&mut self, at: i64, length: i64, value: Value) {
        for byte in (at..at + length).filter_map(place) {
            self.written[byte] = true;
            self.words[byte / WORD as usize] = Value::Unknown;
        }
        if length == WORD
            && at % WORD == 0
            && let Some(byte) = place(at)
        {
            self.words[byte / WORD as usize] = value;
        }
    }

    fn is_written(&self, at: i64, length: i64) -> bool {
        (at..at + length).all(|byte| place(byte).is_none_or(|byte| self.written[byte]))
    }

    /// The state after an instruction.
    fn step(&mut self, instruction: &Instruction) {
        let &Instruction { code, dst, src, offset, imm } = instruction;
        match (code & 7, code & 0xe0) {
            (LD, _) => self.registers[dst] = Value::Unknown,
            (LDX, _) => {
                let at = self.at(src, offset).filter(|at| code == LOAD_WORD && at % WORD == 0);
                self.registers[dst] =
                    at.and_then(place).map_or(Value::Unknown, |byte| self.words[byte / WORD as usize]);
            }
            (STX, ATOMIC) => {
                // The old value comes back into a register.
                let into = if imm == COMPARE_AND_SWAP { 0 } else { src };
                self.registers[into] = Value::Unknown;
                if let Some(at) = self.at(dst, offset) {
                    self.write(at, length(code), Value::Unknown);
                }
            }
            (ST | STX, _) => {
                if let Some(at) = self.at(dst, offset) {
                    let value =
                        if code & 7 == STX { self.registers[src] } else { Value::Number(i64::from(imm)) };
                    self.write(at, length(code), value);
                }
            }
            (ALU | ALU64, _) => self.registers[dst] = self.computed(instruction),
            (JMP, _) if code == CALL => self.call(instruction),
            _ => {}
        }
    }

    /// The result of arithmetic: of moves, and of additions of constants.
    fn computed(&self, &Instruction { code, dst, src, offset, imm }: &Instruction) -> Value {
        let wide = code & 7 == ALU64;
        let operand = match code & BY_REGISTER {
            0 => Value::Number(i64::from(imm)),
            _ => self.registers[src],
        };
        match (code & 0xf0, self.registers[dst], operand) {
            // With an offset, a move extends a sign.
            (MOV, ..) if offset != 0 => Value::Unknown,
            (MOV, _, Value::Number(number)) if !wide => Value::Number(i64::from(number as u32)),
            (MOV, _, value) if wide => value,
            (ADD, Value::Frame(at), Value::Number(number)) if wide => Value::Frame(at + number),
            (SUB, Value::Frame(at), Value::Number(number)) if wide => Value::Frame(at - number),
            _ => Value::Unknown,
        }
    }

    fn call(&mut self, instruction: &Instruction) {
        let arguments = &self.registers[1..=5];
        if instruction.calls() {
            // A function that is given a place may fill all that is above it.
            let places = arguments.iter().filter_map(|value| match value {
                Value::Frame(at) => Some(*at),
                _ => None,
            });
            if let Some(lowest) = places.min() {
                self.write(lowest, -lowest, Value::Unknown);
            }
        } else if let [Value::Frame(at), Value::Number(length), ..] = *arguments
            && FILLING.contains(&instruction.imm)
            && instruction.src == 0
        {
            self.write(at, length.min(FRAME), Value::Unknown);
        }
        self.registers[..=5].fill(Value::Unknown);
    }

    /// What of the frame an instruction reads.
    fn reads(&self, &Instruction { code, dst, src, offset, .. }: &Instruction) -> Option<(i64, i64)> {
        let base = match (code & 7, code & 0xe0) {
            (LDX, _) => src,
            (STX, ATOMIC) => dst,
            _ => return None,
        };
        Some((self.at(base, offset)?, length(code)))
    }

    /// How much of the frame an instruction needs: what it reads or writes, and every address that is at hand.
    fn depth(&self, &Instruction { code, dst, offset, .. }: &Instruction) -> i64 {
        let store = if matches!(code & 7, ST | STX) { self.at(dst, offset) } else { None };
        let addresses = self.registers.iter().filter_map(|value| match value {
            Value::Frame(at) => Some(*at),
            _ => None,
        });
        addresses.chain(store).map(|at| -at).max().unwrap_or(0)
    }
}

// Parts of an instruction's code (RFC 9669, sections 3 to 5).
const LD: u8 = 0;
const LDX: u8 = 1;
const ST: u8 = 2;
const STX: u8 = 3;
const ALU: u8 = 4;
const JMP: u8 = 5;
const JMP32: u8 = 6;
const ALU64: u8 = 7;
const ATOMIC: u8 = 0xc0;
const COMPARE_AND_SWAP: i32 = 0xf1;
const LOAD_WORD: u8 = 0x79;
const WIDE: u8 = 0x18;
const BY_REGISTER: u8 = 8;
const MOV: u8 = 0xb0;
const ADD: u8 = 0;
const SUB: u8 = 0x10;
const EXIT: u8 = 0x95;
const GOTO: u8 = 0x05;
const LONG_GOTO: u8 = 0x06;

/// Bytes that a load or a store moves.
const fn length(code: u8) -> i64 {
    match code & 0x18 {
        0x00 => 4,
        0x08 => 2,
        0x10 => 1,
        _ => 8,
    }
}

/// The number of a byte of the frame.
fn place(at: i64) -> Option<usize> {
    usize::try_from(at + FRAME).ok().filter(|byte| *byte < FRAME as usize)
}

/// Numbers of the instructions that may come next.
fn next(at: usize, &Instruction { code, offset, imm, .. }: &Instruction) -> Vec<usize> {
    let jump = |by: i64| usize::try_from(at as i64 + 1 + by).ok();
    let targets = match code {
        EXIT => [None, None],
        GOTO => [jump(offset.into()), None],
        LONG_GOTO => [jump(imm.into()), None],
        CALL => [jump(0), None],
        WIDE => [jump(1), None],
        _ if matches!(code & 7, JMP | JMP32) => [jump(0), jump(offset.into())],
        _ => [jump(0), None],
    };
    targets.into_iter().flatten().collect()
}

/// Walks every way through a function.
pub(super) fn walk(function: &Function) -> Frame {
    let instructions = &function.instructions;
    let mut states: Vec<Option<Box<State>>> = vec![None; instructions.len()];
    if let Some(first) = states.first_mut() {
        *first = Some(Box::new(State::new()));
    }
    let mut waiting = vec![0];
    while let Some(at) = waiting.pop() {
        let (Some(instruction), Some(Some(state))) = (instructions.get(at), states.get(at)) else { continue };
        let mut after = state.clone();
        after.step(instruction);
        for target in next(at, instruction) {
            match states.get_mut(target) {
                Some(Some(known)) => {
                    if !known.meet(&after) {
                        continue;
                    }
                }
                Some(unknown) => *unknown = Some(after.clone()),
                None => continue,
            }
            waiting.push(target);
        }
    }
    let mut frame = Frame::default();
    for (number, (instruction, state)) in instructions.iter().zip(&states).enumerate() {
        let Some(state) = state else { continue };
        let mut deepest = state.depth(instruction);
        if let Some((offset, length)) = state.reads(instruction) {
            deepest = deepest.max(-offset);
            if !state.is_written(offset, length) {
                frame.unwritten.push(Read { instruction: number, offset, length });
            }
        }
        frame.bytes = frame.bytes.max(u32::try_from(deepest).unwrap_or(0));
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    const STORE: u8 = 0x7b;
    const JUMP_IF_EQUAL: u8 = 0x15;
    const ADD_NUMBER: u8 = 0x07;
    const MOVE_REGISTER: u8 = 0xbf;
    const MOVE_NUMBER: u8 = 0xb4;

    fn op(code: u8, dst: usize, src: usize, offset: i16, imm: i32) -> Instruction {
        Instruction { code, dst, src, offset, imm }
    }

    fn frame(instructions: &[Instruction]) -> Frame {
        let instructions = [instructions, &[op(EXIT, 0, 0, 0, 0)]].concat();
        walk(&Function { instructions, ..Function::default() })
    }

    fn unwritten(instructions: &[Instruction]) -> Vec<usize> {
        frame(instructions).unwritten.iter().map(|read| read.instruction).collect()
    }

    #[test]
    fn what_one_way_leaves_out_is_unwritten() {
        let store = op(STORE, 10, 1, -104, 0);
        let load = op(LOAD_WORD, 3, 10, -104, 0);
        assert_eq!(unwritten(&[op(JUMP_IF_EQUAL, 1, 0, 1, 0), store, load]), [2]);
        assert!(unwritten(&[store, op(JUMP_IF_EQUAL, 1, 0, 1, 0), load]).is_empty());
        assert_eq!(frame(&[store, load]), Frame { bytes: 104, unwritten: Vec::new() });
        // Half of a word is not all of it.
        assert_eq!(unwritten(&[op(0x63, 10, 1, -104, 0), load]), [1]);
    }

    #[test]
    fn a_helper_fills_what_it_is_given() {
        let given = |length| {
            [
                op(MOVE_REGISTER, 1, 10, 0, 0),
                op(ADD_NUMBER, 1, 0, 0, -24),
                op(MOVE_NUMBER, 2, 0, 0, length),
                op(CALL, 0, 0, 0, 112),
                op(LOAD_WORD, 3, 10, -16, 0),
            ]
        };
        assert!(unwritten(&given(16)).is_empty());
        assert_eq!(unwritten(&given(8)), [4]);
        assert_eq!(frame(&given(16)).bytes, 24);
    }

    #[test]
    fn an_address_that_was_put_aside_is_known() {
        let aside = [
            op(MOVE_REGISTER, 1, 10, 0, 0),
            op(ADD_NUMBER, 1, 0, 0, -64),
            op(STORE, 10, 1, -8, 0),
            op(LOAD_WORD, 6, 10, -8, 0),
            op(STORE, 6, 0, 8, 0),
            op(LOAD_WORD, 3, 10, -56, 0),
            op(LOAD_WORD, 3, 10, -64, 0),
        ];
        assert_eq!(unwritten(&aside), [6]);
    }

    #[test]
    fn a_loop_ends() {
        let turn = [op(STORE, 10, 1, -8, 0), op(ADD_NUMBER, 1, 0, 0, 1), op(JUMP_IF_EQUAL, 1, 0, -3, 9)];
        assert!(unwritten(&turn).is_empty());
    }
}
