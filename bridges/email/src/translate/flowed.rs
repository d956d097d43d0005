//! Undoes format=flowed and delsp (RFC 3676).

/// Joins soft line breaks. `delsp`: the space before the break goes too (languages that write without spaces).
/// Quote marks stay, one `> ` each level, so that quoted history can be told from the text.
pub(crate) fn unflow(text: &str, delsp: bool) -> String {
    let mut out = String::with_capacity(text.len());
    // The depth of the paragraph that the next line may go on with.
    let mut open: Option<usize> = None;
    for (i, line) in text.split('\n').enumerate() {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let rest = line.trim_start_matches('>');
        let depth = line.len() - rest.len();
        let rest = rest.strip_prefix(' ').unwrap_or(rest); // space-stuffing, section 4.4
        let signature = rest == "-- ";
        if open != Some(depth) || signature {
            if i > 0 {
                out.push('\n');
            }
            for _ in 0..depth {
                out.push('>');
            }
            if depth > 0 {
                out.push(' ');
            }
        }
        let soft = rest.ends_with(' ') && !signature;
        out.push_str(if soft && delsp { &rest[..rest.len() - 1] } else { rest });
        open = soft.then_some(depth);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn paragraphs_are_joined() {
        let cases = [
            ("a \nb\nc", false, "a b\nc"),
            ("a \r\nb", true, "ab"),
            ("> a \n> b\nc \nd", false, "> a b\nc d"),
            (">a \n>>b \n>>c", false, "> a \n>> b c"),
            (" >not a quote\n From here", false, ">not a quote\nFrom here"),
            ("hi \n-- \nme", false, "hi \n-- \nme"),
            ("a\n\nb", false, "a\n\nb"),
        ];
        for (from, delsp, to) in cases {
            assert_eq!(unflow(from, delsp), to, "{from:?}");
        }
    }

    proptest! {
        #[test]
        fn never_longer_than_marks_allow(text in "[a> \n]{0,60}") {
            prop_assert!(unflow(&text, false).len() <= text.len() * 2 + 1);
        }
    }
}
