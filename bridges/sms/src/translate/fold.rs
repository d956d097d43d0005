//! Letters that GSM-7 lacks and that have an equal in it for a reader: quotes, dashes, spaces, dots.

use super::letters::{Alphabet, alphabet, septets};

/// The text in GSM-7 if folding alone brings it there; else as it was: a text that has to be UCS-2 anyway keeps its own letters.
pub(crate) fn fold(text: &str) -> String {
    if alphabet(text) == Alphabet::Gsm7 {
        return text.to_owned();
    }
    let mut folded = String::with_capacity(text.len());
    for letter in text.chars() {
        if septets(letter).is_some() {
            folded.push(letter);
        } else if let Some(equal) = equal(letter) {
            folded.push_str(equal);
        } else {
            return text.to_owned();
        }
    }
    folded
}

/// What says the same to a reader. Accents are never dropped: a name without them is another name.
fn equal(letter: char) -> Option<&'static str> {
    Some(match letter {
        '‘' | '’' | '‚' | '‛' | '′' | '`' | '´' | '‹' | '›' => "'",
        '“' | '”' | '„' | '‟' | '″' | '«' | '»' => "\"",
        '‐' | '‑' | '‒' | '–' | '—' | '―' | '−' => "-",
        '…' => "...",
        '•' | '·' => "*",
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\t' => " ",
        '\u{ad}' | '\u{200b}' | '\u{2060}' | '\u{feff}' => "",
        '\u{2028}' | '\u{2029}' => "\n",
        '⁄' => "/",
        '™' => "(TM)",
        '©' => "(C)",
        '®' => "(R)",
        '½' => "1/2",
        '¼' => "1/4",
        '¾' => "3/4",
        '×' => "x",
        'ﬁ' => "fi",
        'ﬂ' => "fl",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_what_nobody_misses_and_leaves_the_rest() {
        for (text, folded) in [
            ("“It’s here” – at last…", "\"It's here\" - at last..."),
            ("non\u{a0}breaking", "non breaking"),
            ("10 € ½", "10 € 1/2"),
            ("Привет – “мир”", "Привет – “мир”"),
            ("Zürich’s ñandú", "Zürich’s ñandú"), // ú has no equal: the text stays as it is
            ("plain", "plain"),
        ] {
            assert_eq!(fold(text), folded);
        }
    }
}
