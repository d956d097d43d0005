//! Lines to a server. Nothing that a user sent can end a line or begin a parameter: what could is replaced here, once, for every command.

/// A line without its tags may have this many bytes, its end included (RFC 1459 section 2.3).
pub(crate) const MAX: usize = 512;

/// Tags of one line, at most.
const MAX_TAGS: usize = 4_000;

/// A line of a command and its parameters, with its end. All but the last parameter are single words; the last may be anything.
pub(crate) fn line(command: &str, params: &[&str]) -> Vec<u8> {
    let mut out = Vec::with_capacity(64 + params.last().map_or(0, |p| p.len()));
    out.extend_from_slice(command.as_bytes());
    if let Some((last, words)) = params.split_last() {
        for word in words {
            out.push(b' ');
            push_word(&mut out, word);
        }
        out.push(b' ');
        if last.is_empty() || last.starts_with(':') || last.contains([' ', '\r', '\n', '\0']) {
            out.push(b':');
        }
        out.extend(last.bytes().map(|b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { b }));
    }
    cut(&mut out);
    out.extend_from_slice(b"\r\n");
    out
}

/// The same, the last parameter always with its colon: some servers want it for texts.
pub(crate) fn text(command: &str, words: &[&str], text: &[u8]) -> Vec<u8> {
    let size = command.len() + words.iter().map(|word| 1 + word.len()).sum::<usize>() + text.len() + 4;
    let mut out = Vec::with_capacity(size);
    out.extend_from_slice(command.as_bytes());
    for word in words {
        out.push(b' ');
        push_word(&mut out, word);
    }
    out.extend_from_slice(b" :");
    out.extend(text.iter().map(|b| if matches!(b, b'\r' | b'\n' | 0) { b' ' } else { *b }));
    cut(&mut out);
    out.extend_from_slice(b"\r\n");
    out
}

/// A message of tags alone (IRCv3 message-tags).
pub(crate) fn tags(tags: &[(&str, &str)], target: &str) -> Vec<u8> {
    tagged(tags, line("TAGMSG", &[target]))
}

/// The line with these tags before it; a tag without a value has an empty one. Tags that do not fit into what a client may send (4,094 bytes,
/// IRCv3 message-tags "Size limit") are left out.
pub(crate) fn tagged(tags: &[(&str, &str)], line: Vec<u8>) -> Vec<u8> {
    let mut out = Vec::with_capacity(line.len() + 64);
    for (key, value) in tags {
        let mut tag = vec![if out.is_empty() { b'@' } else { b';' }];
        tag.extend_from_slice(key.as_bytes());
        if !value.is_empty() {
            tag.push(b'=');
            escape(value, &mut tag);
        }
        if out.len() + tag.len() < MAX_TAGS {
            out.append(&mut tag);
        }
    }
    match line.strip_prefix(b"@") {
        _ if out.is_empty() => return line,
        Some(tagged) => {
            out.push(b';');
            out.extend_from_slice(tagged);
        }
        None => {
            out.push(b' ');
            out.extend_from_slice(&line);
        }
    }
    out
}

/// The escapes of tag values (IRCv3 message-tags, "Escaping values"); NUL cannot be said.
fn escape(value: &str, out: &mut Vec<u8>) {
    for b in value.bytes().filter(|b| *b != 0) {
        match b {
            b';' => out.extend_from_slice(b"\\:"),
            b' ' => out.extend_from_slice(b"\\s"),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b => out.push(b),
        }
    }
}

/// A line that a user typed; `None` where it is more than one, nothing, or more than a line holds.
pub(crate) fn raw(typed: &str) -> Option<Vec<u8>> {
    let typed = typed.trim_matches(' ');
    if typed.is_empty() || typed.contains(['\r', '\n', '\0']) {
        return None;
    }
    if typed.len() > MAX - 2 {
        return None;
    }
    let mut out = typed.as_bytes().to_vec();
    out.extend_from_slice(b"\r\n");
    Some(out)
}

/// A word cannot be empty, hold a space or begin with a colon.
fn push_word(out: &mut Vec<u8>, word: &str) {
    if word.is_empty() {
        out.push(b'*');
    }
    for (i, b) in word.bytes().enumerate() {
        let bad = matches!(b, b' ' | b'\r' | b'\n' | 0) || (i == 0 && b == b':');
        out.push(if bad { b'_' } else { b });
    }
}

/// Cuts before the character that would not fit. Texts are split to size before; this is the last resort.
fn cut(out: &mut Vec<u8>) {
    if out.len() > MAX - 2 {
        let mut end = MAX - 2;
        while end > 0 && out[end] & 0xc0 == 0x80 {
            end -= 1;
        }
        out.truncate(end);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_are_written() {
        let cases: &[(&str, &[&str], &str)] = &[
            ("JOIN", &["#c", "key"], "JOIN #c key\r\n"),
            ("PART", &["#c", "so long"], "PART #c :so long\r\n"),
            ("AWAY", &[], "AWAY\r\n"),
            ("TOPIC", &["#c", ""], "TOPIC #c :\r\n"),
            ("KICK", &["#c", "a b", ":x"], "KICK #c a_b ::x\r\n"),
            ("PART", &["#c", "x\r\nQUIT"], "PART #c :x  QUIT\r\n"),
            ("JOIN", &["", "\0"], "JOIN * : \r\n"),
        ];
        for (command, params, expected) in cases {
            assert_eq!(String::from_utf8_lossy(&line(command, params)), *expected);
        }
        assert_eq!(raw("WHOIS ann"), Some(b"WHOIS ann\r\n".to_vec()));
        assert_eq!((raw("a\nb"), raw(" "), raw("a\0")), (None, None, None));
        assert!(raw(&"a".repeat(510)).is_some_and(|line| line.len() == 512));
        assert_eq!(raw(&"a".repeat(511)), None, "half of a line is another one");
        assert_eq!(text("PRIVMSG", &["#c"], b"hi"), b"PRIVMSG #c :hi\r\n");
        assert_eq!(tags(&[("+typing", "active")], "#c"), b"@+typing=active TAGMSG #c\r\n");
        assert_eq!(tags(&[("a", "; \r\n\\\0"), ("b", "")], "x y"), b"@a=\\:\\s\\r\\n\\\\;b TAGMSG :x y\r\n");
        assert_eq!(tagged(&[("a", "1")], b"@b=2 X\r\n".to_vec()), b"@a=1;b=2 X\r\n");
        assert_eq!(tagged(&[], b"X\r\n".to_vec()), b"X\r\n");
    }

    proptest! {
        #[test]
        fn a_line_is_one_line_of_at_most_512_bytes(params in proptest::collection::vec("[\\x00-\\x20:a-z]{0,20}|\\PC{0,300}", 0..5)) {
            let params: Vec<&str> = params.iter().map(String::as_str).collect();
            for made in [line("CMD", &params), text("CMD", &params, params.concat().as_bytes())] {
                prop_assert!(made.len() <= MAX);
                prop_assert!(made.ends_with(b"\r\n"));
                prop_assert!(!made[..made.len() - 2].iter().any(|b| matches!(b, b'\r' | b'\n' | 0)));
                prop_assert!(std::str::from_utf8(&made).is_ok());
            }
        }
    }
}
