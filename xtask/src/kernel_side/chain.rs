//! The deepest chain of calls: the verifier adds up the frames of all functions in it, also of those that it checks by
//! themselves (kernel/bpf/verifier.c, `check_max_stack_depth`; until 6.12 on x86, and later where the JIT has no
//! private stacks).

use std::{collections::BTreeSet, fmt};

use anyhow::{Result, bail};

use super::{frame::Frame, functions::Function};

/// The kernel's own bound on the frames of a chain together (`MAX_BPF_STACK`).
const MAX_STACK: u32 = 512;
/// A frame is rounded up to this, and an empty one is one.
const GRAIN: u32 = 32;
/// The kernel's own bound on the functions of a chain (`MAX_CALL_FRAMES`).
const MAX_FRAMES: usize = 8;

/// A chain of calls and what it needs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Chain {
    bytes: u32,
    /// Names and own bytes, from the program on.
    links: Vec<(String, u32)>,
    /// Functions of the longest chain, which may be another one.
    longest: usize,
}

impl Chain {
    /// Takes what is more of another one.
    fn replace_if_more(&mut self, other: Self) {
        let longest = self.longest.max(other.longest);
        if other.bytes > self.bytes {
            *self = other;
        }
        self.longest = longest;
    }

    /// What a kernel has against it.
    pub(super) fn complaints(&self) -> Vec<String> {
        let mut wrong = Vec::new();
        if self.bytes > MAX_STACK {
            wrong.push(format!(
                "a chain of calls needs {} bytes of stack, and has {MAX_STACK}. Make a function of it a global one that is \
                 called beside the others, not below them",
                self.bytes
            ));
        }
        if self.longest > MAX_FRAMES {
            wrong.push(format!("a chain of calls has {} functions, and may have {MAX_FRAMES}", self.longest));
        }
        wrong
    }
}

impl fmt::Display for Chain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let links: Vec<_> = self.links.iter().map(|(name, bytes)| format!("{name} {bytes}")).collect();
        write!(f, "{} of {MAX_STACK} bytes: {}", self.bytes, links.join(", "))
    }
}

/// Functions that no other calls: the programs.
pub(super) fn entries(functions: &[Function]) -> impl Iterator<Item = usize> {
    let called: BTreeSet<_> =
        functions.iter().flat_map(|function| function.calls.values().copied()).collect();
    (0..functions.len()).filter(move |number| !called.contains(number))
}

/// Those and all that they call.
pub(super) fn reached(functions: &[Function], from: impl Iterator<Item = usize>) -> BTreeSet<usize> {
    let mut waiting: Vec<_> = from.collect();
    let mut reached = BTreeSet::new();
    while let Some(number) = waiting.pop() {
        if reached.insert(number) {
            waiting.extend(functions[number].calls.values());
        }
    }
    reached
}

/// The chain that needs most, of all programs.
pub(super) fn deepest(functions: &[Function], frames: &[Frame]) -> Result<Chain> {
    let mut known = vec![None; functions.len()];
    let mut deepest = Chain::default();
    for entry in 0..functions.len() {
        deepest.replace_if_more(below(entry, functions, frames, &mut known, &mut Vec::new())?);
    }
    Ok(deepest)
}

/// The chain that needs most from a function on.
fn below(
    number: usize,
    functions: &[Function],
    frames: &[Frame],
    known: &mut [Option<Chain>],
    above: &mut Vec<usize>,
) -> Result<Chain> {
    if let Some(chain) = &known[number] {
        return Ok(chain.clone());
    }
    let Function { name, calls, .. } = &functions[number];
    if above.contains(&number) {
        bail!("{name} calls itself");
    }
    above.push(number);
    let mut chain = Chain::default();
    for callee in calls.values().copied().collect::<BTreeSet<_>>() {
        chain.replace_if_more(below(callee, functions, frames, known, above)?);
    }
    above.pop();
    let own = frames[number].bytes;
    chain.bytes += own.max(1).next_multiple_of(GRAIN);
    chain.links.insert(0, (name.clone(), own));
    chain.longest += 1;
    known[number] = Some(chain.clone());
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Functions by their frames and whom they call.
    fn deepest_of(graph: &[(u32, &[usize])]) -> Result<Chain> {
        let functions = graph.iter().enumerate().map(|(number, (_, callees))| Function {
            name: number.to_string(),
            calls: callees.iter().copied().enumerate().collect(),
            ..Function::default()
        });
        let functions: Vec<_> = functions.collect();
        let frames: Vec<_> =
            graph.iter().map(|(bytes, _)| Frame { bytes: *bytes, ..Frame::default() }).collect();
        deepest(&functions, &frames)
    }

    #[test]
    fn frames_are_rounded_up_and_added() {
        let chain = deepest_of(&[(80, &[1, 2]), (0, &[3]), (33, &[]), (200, &[])]).unwrap();
        assert_eq!(chain.to_string(), "352 of 512 bytes: 0 80, 1 0, 3 200");
        assert!(chain.complaints().is_empty());
        let chain = deepest_of(&[(480, &[1]), (8, &[2]), (0, &[])]).unwrap();
        assert_eq!((chain.bytes, chain.complaints().len()), (544, 1));
    }

    #[test]
    fn a_long_chain_and_a_circle_are_told() {
        let long: Vec<_> = (1..=9_usize).map(|next| if next < 9 { vec![next] } else { vec![] }).collect();
        let long: Vec<_> = long.iter().map(|callees| (8, &callees[..])).collect();
        assert_eq!(deepest_of(&long).unwrap().complaints().len(), 1);
        assert!(deepest_of(&[(8, &[1]), (8, &[0])]).is_err());
    }
}
