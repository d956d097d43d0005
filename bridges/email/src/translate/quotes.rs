//! Finds what somebody wrote in a mail among what their program added: quoted history, signature, list footer.

/// How the line above a quotation begins, in a few languages.
const INTRODUCTIONS: [&str; 11] = ["on ", "am ", "le ", "el ", "il ", "op ", "den ", "em ", "dnia ", "в ", "at "];

/// The text without quoted history, signature and (for mails of a list) footer; the same text if nothing would be left.
///
/// Only what stands at the end, or a single quotation before the answer, is cut; answers between quoted lines keep what they answer.
pub(crate) fn cut(text: &str, from_list: bool) -> String {
    let lines: Vec<&str> = text.split('\n').map(|l| l.strip_suffix('\r').unwrap_or(l)).collect();
    if lines.iter().any(|l| is_forward(l)) {
        return tidy(&lines);
    }
    let mut end = lines.len();
    if from_list && let Some(at) = list_footer(&lines[..end]) {
        end = at;
    }
    if let Some(at) = lines[..end].iter().position(|l| is_separator(l)) {
        end = at;
    }
    if let Some(at) = header_block(&lines[..end]) {
        end = at;
    }
    if let Some(at) = signature(&lines[..end]) {
        end = at;
    }
    end = trailing_quote(&lines[..end]);
    if let Some(at) = signature(&lines[..end]) {
        end = at;
    }
    let start = leading_quote(&lines[..end]);
    let kept = tidy(&lines[start..end]);
    if kept.is_empty() { tidy(&lines) } else { kept }
}

/// The subject without `Re:`, `AW:`, `Fwd:` and list tags in front: what two mails of one thread have in common.
pub(crate) fn base_subject(subject: &str) -> &str {
    let mut rest = subject.trim();
    loop {
        let Some((head, tail)) = rest.split_once(':') else { return rest };
        let word = head.trim().split('[').next().unwrap_or("").to_lowercase();
        if !matches!(
            word.as_str(),
            "re" | "aw"
                | "sv"
                | "vs"
                | "fw"
                | "fwd"
                | "wg"
                | "antw"
                | "rv"
                | "tr"
                | "ref"
                | "r"
                | "odp"
                | "vá"
                | "ynt"
                | "回复"
                | "答复"
                | "转发"
        ) {
            return rest;
        }
        rest = tail.trim();
    }
}

fn tidy(lines: &[&str]) -> String {
    let blank = |l: &&&str| l.trim().is_empty();
    let skip = lines.iter().take_while(blank).count();
    let keep = lines.len() - lines.iter().rev().take_while(blank).count();
    let mut out = String::new();
    let mut empty = 0;
    for line in lines.get(skip..keep).unwrap_or_default() {
        let line = line.trim_end();
        // More than one empty line in a row says nothing in a chat.
        empty = if line.is_empty() { empty + 1 } else { 0 };
        if empty > 1 {
            continue;
        }
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(line);
    }
    out
}

fn is_quoted(line: &str) -> bool {
    line.starts_with('>')
}

fn is_forward(line: &str) -> bool {
    let line = line.trim().trim_matches('-').trim().to_lowercase();
    matches!(
        line.as_str(),
        "forwarded message"
            | "begin forwarded message:"
            | "weitergeleitete nachricht"
            | "message transféré"
            | "mensaje reenviado"
    )
}

/// `-----Original Message-----` and its like: all below is history.
fn is_separator(line: &str) -> bool {
    let trimmed = line.trim();
    let inner = trimmed.trim_matches(['-', '_', ' ']).to_lowercase();
    trimmed.starts_with("--")
        && matches!(
            inner.as_str(),
            "original message"
                | "ursprüngliche nachricht"
                | "originalnachricht"
                | "message d'origine"
                | "mensaje original"
                | "messaggio originale"
                | "oorspronkelijk bericht"
                | "исходное сообщение"
        )
}

/// The block of `From:`, `Sent:`, `To:`, `Subject:` lines that Outlook puts above history. Gives where it begins, a rule above it included.
fn header_block(lines: &[&str]) -> Option<usize> {
    const FROM: [&str; 7] = ["from:", "von:", "de:", "da:", "van:", "från:", "от:"];
    const OTHERS: [&str; 18] = [
        "sent:",
        "date:",
        "to:",
        "subject:",
        "gesendet:",
        "an:",
        "betreff:",
        "envoyé:",
        "à:",
        "objet:",
        "enviado:",
        "para:",
        "asunto:",
        "inviato:",
        "a:",
        "oggetto:",
        "verzonden:",
        "onderwerp:",
    ];
    let word = |line: &str, words: &[&str]| {
        let line = line.trim_start_matches(['*', ' ']).to_lowercase();
        words.iter().any(|w| line.starts_with(w))
    };
    let at = (1..lines.len())
        .find(|&i| word(lines[i], &FROM) && lines[i + 1..].iter().take(5).filter(|l| word(l, &OTHERS)).count() >= 2)?;
    let mut start = at;
    while start > 0 && (lines[start - 1].trim().is_empty() || is_rule(lines[start - 1])) {
        start -= 1;
    }
    Some(start)
}

fn is_rule(line: &str) -> bool {
    let line = line.trim();
    line.len() >= 5 && line.chars().all(|c| matches!(c, '_' | '-' | '=' | '*'))
}

/// `-- ` (some programs lose the space) within the last 40 lines, or the advertisement of a phone as the last line.
fn signature(lines: &[&str]) -> Option<usize> {
    if let Some(at) = lines.iter().rposition(|l| matches!(*l, "-- " | "--"))
        && lines.len() - at <= 40
    {
        return Some(at);
    }
    let last = lines.iter().rposition(|l| !l.trim().is_empty())?;
    let line = lines[last].trim().to_lowercase();
    let phone = ["sent from my ", "von meinem ", "envoyé de mon ", "enviado desde mi ", "get outlook for "];
    (phone.iter().any(|p| line.starts_with(p)) && line.len() < 80).then_some(last)
}

/// A quotation at the end and the line that introduces it. Gives the number of lines before it.
fn trailing_quote(lines: &[&str]) -> usize {
    let mut end = lines.len();
    let mut quoted = false;
    while end > 0 && (is_quoted(lines[end - 1]) || lines[end - 1].trim().is_empty()) {
        quoted |= is_quoted(lines[end - 1]);
        end -= 1;
    }
    if !quoted {
        return lines.len();
    }
    before_introduction(lines, end)
}

/// `On Monday, Juliet wrote:`, which may be wrapped over up to three lines.
fn before_introduction(lines: &[&str], end: usize) -> usize {
    let Some(last) = lines[..end].iter().rposition(|l| !l.trim().is_empty()) else { return end };
    if end - last > 2 || !lines[last].trim_end().ends_with([':', '：']) {
        return end;
    }
    let starts = |l: &str| {
        let l = l.trim_start().to_lowercase();
        INTRODUCTIONS.iter().any(|w| l.starts_with(w))
    };
    for first in (last.saturating_sub(2)..=last).rev() {
        if first < last && lines[first].trim().is_empty() {
            break;
        }
        if starts(lines[first]) {
            return first;
        }
    }
    // `Juliet Capulet wrote:` alone.
    if lines[last].len() < 120 { last } else { end }
}

/// One quotation before the answer, none after it. Gives where the answer begins.
fn leading_quote(lines: &[&str]) -> usize {
    let Some(first) = lines.iter().position(|l| is_quoted(l)) else { return 0 };
    let intro = before_introduction(lines, first);
    if lines[..intro].iter().any(|l| !l.trim().is_empty()) {
        return 0;
    }
    let after = lines[first..].iter().position(|l| !is_quoted(l) && !l.trim().is_empty()).map(|n| first + n);
    match after {
        Some(after) if !lines[after..].iter().any(|l| is_quoted(l)) => after,
        _ => 0,
    }
}

/// What list software puts below each mail: a rule followed by a few lines that name the list.
fn list_footer(lines: &[&str]) -> Option<usize> {
    let from = lines.len().saturating_sub(20);
    let at = (from..lines.len()).rev().find(|&i| is_rule(lines[i]) || matches!(lines[i], "-- " | "--"))?;
    let below = lines[at + 1..].join("\n").to_lowercase();
    ["mailing list", "unsubscribe", "listinfo", "subscribed to", "abmelden", "désinscri", "http://", "https://"]
        .iter()
        .any(|w| below.contains(w))
        .then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn history_and_signatures_are_cut() {
        let cases = [
            ("yes\n\nOn Monday, J wrote:\n> really?\n> ok", "yes"),
            ("yes\n\nOn Mon, 1 Jan 2024 at 10:00, Juliet Capulet\n<juliet@capulet.lit> wrote:\n\n> really?\n", "yes"),
            ("Am 01.01.2024 um 10:00 schrieb J:\n> was?\n\nnichts", "nichts"),
            ("> really?\nyes", "yes"),
            ("> one?\nyes\n> two?\nno", "> one?\nyes\n> two?\nno"),
            ("hi\n-- \nJuliet\nVerona", "hi"),
            ("hi\n\nSent from my iPhone", "hi"),
            ("yes\n-----Original Message-----\nFrom: J\nreally?", "yes"),
            (
                "yes\n\n________________________________\nFrom: J <j@x>\nSent: Monday\nTo: A\nSubject: s\n\nreally?",
                "yes",
            ),
            ("yes\n-- \nme\n\nOn Monday, J wrote:\n> ok", "yes"),
            (
                "see below\n---------- Forwarded message ----------\nFrom: x\n> y",
                "see below\n---------- Forwarded message ----------\nFrom: x\n> y",
            ),
            ("> only a quote", "> only a quote"),
            ("a\n\n\n\nb\n\n", "a\n\nb"),
            ("", ""),
            ("Note:\n> not by me", "Note:\n> not by me"),
        ];
        for (text, kept) in &cases {
            assert_eq!(&cut(text, false), kept, "{text:?}");
        }
    }

    #[test]
    fn the_footer_of_a_list_is_cut_only_from_mails_of_a_list() {
        let text = "hello list\n_______________________________________________\nxmpp mailing list\nhttps://lists.example.org/xmpp";
        assert_eq!(cut(text, true), "hello list");
        assert!(cut(text, false).contains("mailing list"));
    }

    #[test]
    fn subjects_of_one_thread_are_equal() {
        for s in ["Dinner", "Re: Dinner", "RE: re: Dinner", "AW: WG: Dinner", "Re[2]: Dinner", " Fwd:Dinner "] {
            assert_eq!(base_subject(s), "Dinner", "{s}");
        }
        assert_eq!(base_subject("Plan: dinner"), "Plan: dinner");
    }

    proptest! {
        #[test]
        fn something_is_always_left(text in "(> |On x wrote:|-- |a|\n|From: x|Sent: y|To: z|_____){0,30}", list in any::<bool>()) {
            prop_assert_eq!(cut(&text, list).trim().is_empty(), text.trim().is_empty());
        }
    }
}
