//! Card numbers: 13 to 19 digits of a known issuer whose check digit is right (ISO/IEC 7812-1, annex B).

use std::ops::RangeInclusive;

/// Digits of the longest card number.
const LONGEST: usize = 19;
/// Digits of the shortest one.
const SHORTEST: usize = 13;

/// Digits of a group between dots: what parts of whole numbers, versions and coordinates seldom have side by side.
const GROUP: RangeInclusive<usize> = 3..=6;
/// Digits in front of the first dot.
const FIRST_GROUP: usize = 4;

/// The end of the card number that begins at `start`, if there is one. Its digits may be grouped by one
/// space, dash, plus or dot each, or by `%20`. It ends where no more digits follow.
pub(super) fn card(bytes: &[u8], start: usize) -> Option<usize> {
    let mut digits = [0; LONGEST];
    let (mut count, mut at) = (0, start);
    let mut found = None;
    // Digits since the last gap.
    let mut group = 0;
    while let Some(digit) = bytes.get(at).filter(|byte| byte.is_ascii_digit()) {
        let Some(slot) = digits.get_mut(count) else { break };
        *slot = digit - b'0';
        count += 1;
        group += 1;
        at += 1;
        let gap = match bytes.get(at..).unwrap_or_default() {
            [b'0'..=b'9', ..] => continue,
            [b' ' | b'-' | b'+', ..] => 1,
            [b'%', b'2', b'0', ..] => 3,
            // Only around groups as they are on a card, or a number with a fraction would be one.
            [b'.', rest @ ..] if is_grouped(count, group, rest) => 1,
            _ => 0,
        };
        // Digits behind a gap may be of the number or not: the longest number counts.
        let whole = digits.get(..count).filter(|digits| digits.len() >= SHORTEST);
        if whole.is_some_and(|digits| issued(digits) && luhn(digits)) {
            found = Some(at);
        }
        if gap == 0 {
            break;
        }
        at += gap;
        group = 0;
    }
    found
}

/// Whether a dot parts two groups of a card number: behind `count` digits, of which `group` stand in front of it.
fn is_grouped(count: usize, group: usize, behind: &[u8]) -> bool {
    let next = behind.iter().take(LONGEST).take_while(|byte| byte.is_ascii_digit()).count();
    let first = count == group;
    (if first { group == FIRST_GROUP } else { GROUP.contains(&group) }) && GROUP.contains(&next)
}

/// Whether an issuer gives out numbers that begin so and are so long.
fn issued(digits: &[u8]) -> bool {
    let first = |n: usize| digits.iter().take(n).fold(0_u32, |number, digit| number * 10 + u32::from(*digit));
    match digits.len() {
        13 => first(1) == 4,
        14 => matches!(first(3), 300..=305 | 309 | 360..=369 | 380..=399),
        15 => matches!(first(2), 34 | 37),
        16..=19 => {
            let any = matches!(first(2), 62 | 64 | 65) || matches!(first(4), 3528..=3589 | 6011);
            let visa = first(1) == 4 && matches!(digits.len(), 16 | 19);
            let mastercard = digits.len() == 16 && matches!(first(4), 2221..=2720 | 5100..=5599);
            any || visa || mastercard
        }
        _ => false,
    }
}

/// The Luhn formula.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(at, digit)| {
            let weighted = u32::from(*digit) * if at % 2 == 0 { 1 } else { 2 };
            weighted / 10 + weighted % 10
        })
        .sum();
    sum.is_multiple_of(10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_issuers_print_in_their_manuals() {
        for number in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "4111-1111-1111-1111",
            "4111%201111%201111%201111",
            "4111+1111+1111+1111",
            "4111.1111.1111.1111",
            "3782.822463.10005",
            "3056.930902.5904",
            "4222222222222",
            "5555555555554444",
            "2223003122003222",
            "378282246310005",
            "30569309025904",
            "6011111111111117",
            "3530111333300000",
            "6221260000000000",
        ] {
            assert_eq!(card(number.as_bytes(), 0), Some(number.len()), "{number}");
            assert_eq!(card(format!("{number}/x").as_bytes(), 0), Some(number.len()), "{number}");
        }
    }

    #[test]
    fn other_numbers() {
        for number in [
            "",
            "4",
            "411111111111",
            "4111111111111112",
            "1111111111111117",
            "41111111111111111111111111111111",
            "1700000000000",
            "4111  1111 1111 1111",
            "4111_1111_1111_1111",
            "4111..1111.1111.1111",
            "4111.11111111.1111",
            "41.11111111111111",
            "4.111111111111111",
            "4111.111111111111",
            "192.168.100.200",
        ] {
            assert_eq!(card(number.as_bytes(), 0), None, "{number}");
        }
    }
}
