//! Where Go counts its goroutines: `runtime.sched.goidgen`, whose symbol stripping takes away.
//!
//! `runtime.newproc1` takes goroutine ids in batches of 16, by the only three instructions of their kind in it, which
//! all of Go 1.18 to 1.27 have: put 16 in a register, put the address of the counter in another, add atomically.

/// `_GoidCacheBatch` of Go's `runtime/proc.go`.
pub(crate) const BATCH: u8 = 16;
/// Bytes of the longest of the sequences: 6, 7 and 5.
const LONGEST: usize = 18;

/// The counter's address. `code` is the function's, `start` its address. `None` unless there is exactly one.
pub(super) fn address(code: &[u8], start: u64) -> Option<u64> {
    let mut found = None;
    for at in 0..code.len() {
        let Some(rest) = code.get(at..code.len().min(at + LONGEST)) else { continue };
        let Some((len, displacement)) = sequence(rest) else { continue };
        let next = start.checked_add(at as u64)?.checked_add(len as u64)?;
        let address = next.checked_add_signed(i64::from(displacement))?;
        if found.is_some_and(|other| other != address) {
            return None;
        }
        found = Some(address);
    }
    found
}

/// If the three instructions stand at the start: bytes of the first two, and the displacement of the second, which
/// counts from their end.
fn sequence(code: &[u8]) -> Option<(usize, i32)> {
    // mov $16, %r32: [REX.B] B8+r imm32
    let (rex, rest) = match code {
        [0x41, rest @ ..] => (1, rest),
        rest => (0, rest),
    };
    let [mov, BATCH, 0, 0, 0, rest @ ..] = rest else { return None };
    if mov & 0xf8 != 0xb8 {
        return None;
    }
    let addend = (mov & 7) | (rex << 3);
    // lea disp32(%rip), %r64: REX.W[R] 8D modrm(00, r, 101) disp32
    let [lea_rex, 0x8d, lea, a, b, c, d, rest @ ..] = rest else { return None };
    if lea_rex & 0xfb != 0x48 || lea & 0xc7 != 0x05 {
        return None;
    }
    let pointer = ((lea >> 3) & 7) | ((lea_rex & 4) << 1);
    // lock xadd %r64, (%r64): F0 REX.W[RB] 0F C1 modrm(00, r, r)
    let [0xf0, add_rex, 0x0f, 0xc1, add, ..] = rest else { return None };
    if add_rex & 0xfa != 0x48 || add & 0xc0 != 0 {
        return None;
    }
    let register = ((add >> 3) & 7) | ((add_rex & 4) << 1);
    let base = (add & 7) | ((add_rex & 1) << 3);
    (register == addend && base == pointer).then_some(())?;
    // In this form, 4 and 5 mean something else than a plain base register.
    (!matches!(add & 7, 4 | 5)).then_some((5 + rex as usize + 7, i32::from_le_bytes([*a, *b, *c, *d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Go 1.18's: `mov $16, %ecx; lea 0x466d0b(%rip), %rdx; lock xadd %rcx, (%rdx)` at 0x43fca9.
    const OLD: [u8; 17] =
        [0xb9, 0x10, 0, 0, 0, 0x48, 0x8d, 0x15, 0x0b, 0x6d, 0x46, 0x00, 0xf0, 0x48, 0x0f, 0xc1, 0x0a];
    /// Go 1.26's: `mov $16, %r10d; lea 0x5abd69(%rip), %r11; lock xadd %r10, (%r11)` at 0x45920a.
    const NEW: [u8; 18] =
        [0x41, 0xba, 0x10, 0, 0, 0, 0x4c, 0x8d, 0x1d, 0x69, 0xbd, 0x5a, 0x00, 0xf0, 0x4d, 0x0f, 0xc1, 0x13];

    #[test]
    fn both_encodings_are_read() {
        assert_eq!(address(&OLD, 0x43_fca9), Some(0x8a_69c0));
        assert_eq!(address(&NEW, 0x45_920a), Some(0xa0_4f80));
        let code = [&[0x90; 7][..], &NEW, &[0xc3; 9]].concat();
        assert_eq!(address(&code, 0x45_9203), Some(0xa0_4f80));
    }

    #[test]
    fn two_counters_are_none() {
        let both = [&OLD[..], &OLD].concat();
        assert_eq!(address(&both, 0x43_fca9), None);
    }

    #[test]
    fn nothing_else_is_taken_for_it() {
        for code in [&OLD[..], &NEW] {
            for end in 0..code.len() {
                assert_eq!(address(&code[..end], 0x40_0000), None, "{end}");
            }
            // The displacement is any; every other byte has to be as it is, or its register's number.
            for at in 0..code.len() {
                let mut other = code.to_vec();
                other[at] ^= 0x80;
                let displacement = code.len() - 9..code.len() - 5;
                assert_eq!(address(&other, 0x2_0000_0000).is_some(), displacement.contains(&at), "{at}");
            }
        }
        assert_eq!(address(&OLD, 0), Some(0x46_6d0b + 12));
        assert_eq!(address(&[], 0), None);
    }
}
