//! What differs between two plays of one scenario, and what of it is known.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::known::{ANYWHERE, KNOWN, Known};
use crate::stage::{Side, Step};

/// Differences that stand nowhere, and known ones that did not occur, in words; empty if there are none.
pub(crate) fn faults(scenario: &str, biboumi: &[Step], ours: &[Step]) -> String {
    let mut met = BTreeSet::new();
    let mut said = String::new();
    let names = |steps: &[Step]| steps.iter().map(|s| s.name.clone()).collect::<Vec<_>>();
    if names(biboumi) != names(ours) {
        return format!("the scripts went different ways: {:?} and {:?}\n", names(biboumi), names(ours));
    }
    for (theirs, ours) in biboumi.iter().zip(ours) {
        let (a, b) = (heard(scenario, theirs, Side::Biboumi, &mut met), heard(scenario, ours, Side::Ours, &mut met));
        for who in a.keys().chain(b.keys()).collect::<BTreeSet<_>>() {
            let none = Vec::new();
            let (a, b) = (a.get(who).unwrap_or(&none), b.get(who).unwrap_or(&none));
            if a != b {
                let _ = writeln!(said, "{scenario}, {}, {who}:", theirs.name);
                said += &diff(a, b);
            }
        }
    }
    for known in KNOWN.iter().filter(|k| k.scenarios.contains(&scenario) && !met.contains(k.key)) {
        let _ = writeln!(said, "{scenario}: the known difference `{}` does not occur any more", known.key);
    }
    said
}

/// What each heard from whom, in lines; known differences are taken out. Messages have their order; that of presences, and between both, is
/// promised for a join alone, where `Stage::join` looks at it.
fn heard(scenario: &str, step: &Step, side: Side, met: &mut BTreeSet<&'static str>) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for ((to, from), stanzas) in &step.heard {
        for stanza in stanzas {
            all.entry(format!("{to} from {from}, {}", stanza.name)).or_default().push(stanza.to_string());
        }
    }
    for (nick, lines) in &step.lines {
        all.insert(format!("{nick} on the network"), lines.clone());
    }
    for lines in all.values_mut() {
        for line in lines.iter_mut() {
            // What is known of a script is known of it on the other server, too, where it need not occur.
            let script = scenario.strip_prefix("inspircd_").unwrap_or(scenario);
            let here = |k: &&Known| [scenario, script, ANYWHERE].iter().any(|name| k.scenarios.contains(name));
            for known in KNOWN.iter().filter(here) {
                if apply(known, side, line) {
                    met.insert(known.key);
                }
            }
        }
        lines.iter_mut().for_each(collapse);
        lines.retain(|line| !line.is_empty());
    }
    // A presence that says the same again says nothing.
    for (_, lines) in all.iter_mut().filter(|(who, _)| who.ends_with(", presence")) {
        lines.sort();
        lines.dedup();
    }
    all.retain(|_, lines| !lines.is_empty());
    all
}

/// An element that is empty now is spelled as one: `<a></a>` is `<a/>`.
fn collapse(line: &mut String) {
    while let Some(at) = line.match_indices("></").map(|(at, _)| at).find(|at| is_empty_element(line, *at)) {
        let end = line[at + 3..].find('>').map_or(line.len(), |n| at + 3 + n + 1);
        line.replace_range(at..end, "/>");
    }
}

/// Whether the tag that ends at this place is a start tag whose end tag follows.
fn is_empty_element(line: &str, at: usize) -> bool {
    let start = line[..at].rfind('<').map_or("", |n| &line[n + 1..at]);
    let name = start.split([' ', '>']).next().unwrap_or_default();
    !start.starts_with('/') && !start.ends_with('/') && line[at + 3..].starts_with(name) && !name.is_empty()
}

/// Takes a known difference out of a line; says whether it was there.
fn apply(known: &Known, side: Side, line: &mut String) -> bool {
    let pattern = if side == Side::Biboumi { known.biboumi } else { known.ours };
    if pattern.is_empty() || !line.contains(known.when) {
        return false;
    }
    // Where both have something, its name stands in its place; where one has nothing, nothing does.
    let instead =
        if known.biboumi.is_empty() || known.ours.is_empty() { String::new() } else { format!("⟨{}⟩", known.key) };
    let mut rest = std::mem::take(line);
    let mut found = false;
    while let Some((from, to)) = find(&rest, pattern) {
        found = true;
        *line += &rest[..from];
        *line += &instead;
        rest.drain(..to);
    }
    *line += &rest;
    found
}

/// Where the pattern stands first, if it does: `*` stands for any text without the text that follows it, `^` and `$` for the ends of the line.
fn find(line: &str, pattern: &str) -> Option<(usize, usize)> {
    let (pattern, first) = pattern.strip_prefix('^').map_or((pattern, false), |p| (p, true));
    let (pattern, last) = pattern.strip_suffix('$').map_or((pattern, false), |p| (p, true));
    let mut parts = pattern.split('*');
    let head = parts.next().unwrap_or_default();
    let parts: Vec<&str> = parts.collect();
    let mut start = 0;
    'starts: while let Some(at) = line.get(start..)?.find(head) {
        let from = start + at;
        if first && from != 0 {
            return None;
        }
        let mut to = from + head.len();
        for part in &parts {
            match line[to..].find(part) {
                Some(at) => to += at + part.len(),
                None => break 'starts,
            }
        }
        if !last || to == line.len() || parts.last().is_some_and(|p| p.is_empty()) {
            let to = if last { line.len() } else { to };
            return (to > from).then_some((from, to));
        }
        start = from + line[from..].chars().next().map_or(1, char::len_utf8);
    }
    None
}

/// Lines that only one has: `-` biboumi's, `+` ours.
fn diff(a: &[String], b: &[String]) -> String {
    // The longest common part, by the textbook: both are short.
    let mut length = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            length[i][j] = if a[i] == b[j] { length[i + 1][j + 1] + 1 } else { length[i + 1][j].max(length[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut said) = (0, 0, String::new());
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            (i, j) = (i + 1, j + 1);
        } else if j == b.len() || (i < a.len() && length[i + 1][j] >= length[i][j + 1]) {
            let _ = writeln!(said, "  - {}", a[i]);
            i += 1;
        } else {
            let _ = writeln!(said, "  + {}", b[j]);
            j += 1;
        }
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_finds_the_shortest_text() {
        for (line, pattern, found) in [
            ("<a><b x='1'/></a>", "<b*/>", Some((3, 13))),
            ("abcabc", "b*a", Some((1, 4))),
            ("abc", "^b", None),
            ("abcd", "c*$", Some((2, 4))),
            ("abc", "^*$", Some((0, 3))),
            ("abc", "x", None),
            ("aXbaYc", "a*c$", Some((0, 6))),
        ] {
            assert_eq!(find(line, pattern), found, "{pattern} in {line}");
        }
    }

    #[test]
    fn every_known_difference_has_its_reason_in_the_documentation_and_no_other_has() {
        let page = include_str!("../../docs/from-biboumi.md");
        let rows = page.lines().skip_while(|line| !line.starts_with("| key |")).skip(2);
        let cells = rows.filter_map(|row| row.trim_start_matches('|').split('|').next());
        let told: BTreeSet<&str> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        let known: BTreeSet<&str> = KNOWN.iter().map(|k| k.key).collect();
        assert_eq!(told, known);
    }

    #[test]
    fn a_difference_shows_what_only_one_has() {
        let lines = |l: &[&str]| l.iter().map(|l| (*l).to_owned()).collect::<Vec<_>>();
        assert_eq!(diff(&lines(&["a", "b", "c"]), &lines(&["a", "x", "c"])), "  - b\n  + x\n");
    }
}
