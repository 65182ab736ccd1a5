//! Which rules may find the cause of an outbound request.

use spandrel_common::context::{Rule, STRICT};

use super::{
    mistake::{Findings, exit},
    settings::Distribution,
};

/// Every rule.
const ALL: u32 = !STRICT;
/// The names of those that can be left out.
pub(super) const NAMES: &[&str] =
    &["worker", "goroutine", "identifier", "upstream", "single_in_flight", "go_context"];
/// Evidence that can be wrong, if rarely: it does not count under `strict`.
const WEAK: u32 = 1 << Rule::Single as u32;

/// The mask of rules for `--causality` and for what the file says.
pub(super) fn read(typed: Option<&str>, ours: &Distribution, findings: &mut Findings) -> u32 {
    let typed = typed.and_then(|text| mode("--causality", text, exit::USAGE, findings));
    let place = format!("{}causality", ours.place);
    let written = ours.causality.as_deref().and_then(|text| mode(&place, text, exit::CONFIG, findings));
    let mut mask = typed.or(written).unwrap_or(ALL);
    for name in &ours.causality_without {
        match Rule::ALL.iter().find(|rule| **rule > Rule::Carried && rule.label() == name) {
            Some(rule) => mask &= !(1 << *rule as u32),
            None => findings.mistake(
                exit::CONFIG,
                format!("{}causality_without", ours.place),
                format!("{name:?} is not a rule"),
                format!("use some of {}", NAMES.join(", ")),
            ),
        }
    }
    mask
}

/// The mask as `config show` prints it: the mode, and the rules that it leaves on.
pub(super) fn show(mask: u32) -> String {
    let on: Vec<_> = Rule::ALL
        .iter()
        .filter(|rule| **rule > Rule::Carried && mask & (1 << **rule as u32) != 0)
        .map(|rule| rule.label())
        .collect();
    match (on.is_empty(), mask & STRICT != 0) {
        (true, _) => "off".to_owned(),
        (false, true) => format!("strict: {}", on.join(", ")),
        (false, false) => format!("default: {}", on.join(", ")),
    }
}

fn mode(place: &str, text: &str, code: u8, findings: &mut Findings) -> Option<u32> {
    match text {
        "default" => Some(ALL),
        "strict" => Some(STRICT | ALL & !WEAK),
        "off" => Some(0),
        _ => {
            findings.mistake(code, place, format!("{text:?} is not known"), "use default, strict or off");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_and_rules() {
        let on = |mask: u32, rule: Rule| mask & (1 << rule as u32) != 0;
        let mut findings = Findings::default();
        let mut ours = Distribution::default();
        let default = read(None, &ours, &mut findings);
        assert!(on(default, Rule::Worker) && on(default, Rule::Single) && default & STRICT == 0);
        ours.causality = Some("strict".to_owned());
        let strict = read(None, &ours, &mut findings);
        assert!(on(strict, Rule::Worker) && !on(strict, Rule::Single) && strict & STRICT != 0);
        assert_eq!(read(Some("default"), &ours, &mut findings), default);
        assert_eq!(read(Some("off"), &ours, &mut findings), 0);
        ours.causality_without = vec!["worker".to_owned()];
        assert!(!on(read(None, &ours, &mut findings), Rule::Worker));
        assert!(findings.mistakes.is_empty());
        ours.causality_without = vec!["carried".to_owned()];
        read(Some("sometimes"), &ours, &mut findings);
        assert_eq!(findings.mistakes.len(), 2);
    }

    #[test]
    fn the_names_are_those_of_the_rules() {
        let rules = Rule::ALL.iter().filter(|rule| **rule > Rule::Carried).map(|rule| rule.label());
        assert_eq!(rules.collect::<Vec<_>>(), NAMES);
    }
}
