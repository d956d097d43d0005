//! What the fuzz targets (`tests/fuzz`) and a test with generated input call: everything that reads an IRC server's bytes or a user's text, with its
//! laws asserted.

use crate::proto::isupport::{Isupport, ModeKind};
use crate::proto::line::Line;
use crate::proto::reader::{LineReader, MAX_LINE};
use crate::proto::{ctcp, modes, time, write};
use crate::translate::encoding::{decode, encode, is_xml, named};
use crate::translate::formatting::{from_irc, to_irc};
use crate::translate::split;

/// A server's bytes in pieces of `octets[0]`: no panic, the same lines however they are cut, and nothing in a line that ends one.
pub fn reader(octets: &[u8]) {
    let Some((piece, stream)) = octets.split_first() else { return };
    let (mut whole, mut pieces) = (Vec::new(), Vec::new());
    LineReader::default().feed(stream, |line| whole.push(line.to_vec()));
    let mut reader = LineReader::default();
    for piece in stream.chunks(usize::from(*piece).max(1)) {
        reader.feed(piece, |line| pieces.push(line.to_vec()));
    }
    // Of a line over the bound, whether it is skipped at its end or before is the only thing that may depend on the pieces.
    if stream.len() <= MAX_LINE {
        assert_eq!(whole, pieces, "the pieces make a difference");
    }
    let mut server = Isupport::default();
    for bytes in pieces {
        assert!(!bytes.is_empty() && bytes.len() <= MAX_LINE && !bytes.contains(&b'\n'));
        let text = decode(&bytes, || named("koi8-r"));
        assert!(!text.contains('\0'));
        let Some(line) = Line::parse(&text) else { continue };
        let (last, words) = line.params().split_last().map_or(("", &[][..]), |(last, words)| (*last, words));
        assert!(words.iter().all(|word| !word.is_empty() && !word.contains(' ')), "{words:?}");
        for tag in ["time", "msgid", "account", "batch", "label", "+draft/reply"] {
            line.tag(tag);
        }
        line.tag("time").and_then(|at| time::server_time(&at));
        time::epoch(last);
        ctcp::parse(last);
        let _ = (line.source.nick(), line.source.host(), line.source.is_server(), line.words(1));
        match line.command {
            "005" => server.learn(line.params()),
            "MODE" | "324" => mode_line(&server, line.params().get(1..).unwrap_or_default()),
            _ => {
                let _ = (server.is_channel(line.param(0)), server.without_status(line.param(0)));
                line.params().iter().for_each(|name| {
                    let (_, rest) = server.rank_of(name);
                    assert!(name.ends_with(rest));
                });
            }
        }
        formatting(last.as_bytes());
    }
}

/// Text in both directions: the words stay, nothing reaches XML or a line that must not.
pub fn formatting(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let mark = |c: &char| !"*_~`".contains(*c);
    let plain = from_irc(&text, false);
    let styled = from_irc(&text, true);
    assert!(plain.chars().chain(styled.chars()).all(is_xml), "a character that XML forbids");
    assert!(plain.chars().filter(mark).eq(styled.chars().filter(mark)), "words were changed");
    for max in [8, 50, 400] {
        for line in split::lines(&text, max) {
            assert!(!line.is_empty() && line.len() <= max && !line.contains(['\r', '\n']), "{line:?}");
        }
    }
    for line in text.split('\n') {
        let coded = to_irc(line);
        let codes = |c: &char| !matches!(c, '\u{2}' | '\u{1d}' | '\u{1e}' | '\u{11}');
        assert!(coded.chars().filter(|c| mark(c) && codes(c)).eq(line.chars().filter(|c| mark(c) && codes(c))));
        for encoding in ["utf-8", "windows-1252", "shift_jis"] {
            is_one_line(&write::text("PRIVMSG", &[line, "#c"], &encode(&coded, named(encoding))));
        }
        is_one_line(&write::line("TOPIC", &["#c", line]));
        is_one_line(&write::line("KICK", &[line, line, line]));
        if let Some(raw) = write::raw(line) {
            is_one_line(&raw);
        }
    }
}

fn is_one_line(bytes: &[u8]) {
    let body = bytes.strip_suffix(b"\r\n").unwrap_or_else(|| panic!("no end: {bytes:?}"));
    assert!(bytes.len() <= write::MAX, "{} bytes", bytes.len());
    assert!(!body.contains(&b'\r') && !body.contains(&b'\n') && !body.contains(&0), "{body:?}");
}

/// First a line of ISUPPORT tokens, then MODE lines by those rules.
pub fn server_modes(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let mut lines = text.lines();
    let mut server = Isupport::default();
    let tokens: Vec<&str> = lines.next().unwrap_or_default().split(' ').collect();
    server.learn(&tokens);
    for line in lines.take(100) {
        let words: Vec<&str> = line.split(' ').filter(|w| !w.is_empty()).collect();
        mode_line(&server, &words);
        let folded = server.casemapping.fold()(line);
        assert_eq!(server.casemapping.fold()(&folded), folded, "folding twice is folding once");
    }
}

fn mode_line(server: &Isupport, words: &[&str]) {
    let mut kept = String::new();
    for change in modes::changes(server, words).iter().take(100) {
        kept = modes::apply(&kept, change, server);
        let is_kept = modes::get(&kept, change.mode, server);
        match change.kind {
            ModeKind::List | ModeKind::Rank => assert!(is_kept.is_none(), "{kept}"),
            ModeKind::Never if change.on => assert_eq!(is_kept, Some(""), "{kept}"),
            _ if change.on => assert_eq!(is_kept, Some(change.param.unwrap_or("*")), "{kept}"),
            _ => assert!(is_kept.is_none(), "{kept}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_servers_bytes(piece in 1u8..40, lines in proptest::collection::vec("(@[a-z=;\\\\]{0,12} )?(:[a-z!@.]{1,9} )?(005|MODE|324|[A-Z]{1,6}) [ -~\u{2}\u{3}]{0,60}", 0..6)) {
            let mut stream = vec![piece];
            stream.extend_from_slice(lines.join("\r\n").as_bytes());
            reader(&stream);
        }

        #[test]
        fn any_text(text in "[\\x00-\\x20 a-z*_~`0-9,]{0,120}|\\PC{0,40}") {
            formatting(text.as_bytes());
        }

        #[test]
        fn any_modes(tokens in "(PREFIX=\\([a-z]{0,4}\\)[ -/]{0,4} )?(CHANMODES=[a-zA-Z,]{0,16})?", lines in proptest::collection::vec("[+-]?[a-zA-Z+-]{0,8}( [!-~]{1,6}){0,5}", 0..4)) {
            server_modes(format!("{tokens}\n{}", lines.join("\n")).as_bytes());
        }
    }

    #[test]
    fn the_cost_of_styling_does_not_grow_with_the_square_of_a_line() {
        // Thousands of marks that open nothing, and of spans that cross: minutes, if each looked at all the others.
        let text = "*a _b ".repeat(20_000);
        assert_eq!(to_irc(&text), text);
        let codes = "\u{2}a \u{1d}b ".repeat(20_000);
        assert_eq!(from_irc(&codes, true).chars().filter(|c| c.is_alphabetic()).count(), 40_000);
    }
}
