//! Bytes → lines, bounded: a connection keeps nothing but its partial line, and a line that is too long is skipped to its end.

/// A line with its tags, at most (IRCv3: 8,191 bytes of tags and 512 of the rest; some servers allow more of the rest).
pub(crate) const MAX_LINE: usize = 16 * 1024;

/// The unfinished end of what was read.
#[derive(Debug, Default)]
pub(crate) struct LineReader {
    partial: Vec<u8>,
    /// Inside a line that was too long.
    skipping: bool,
    /// Lines that were too long.
    pub(crate) skipped: u32,
}

impl LineReader {
    /// Gives each line that is complete to `line`, without its end. What is left is kept.
    pub(crate) fn feed(&mut self, mut bytes: &[u8], mut line: impl FnMut(&[u8])) {
        while let Some(end) = bytes.iter().position(|b| *b == b'\n') {
            let (head, rest) = bytes.split_at(end);
            bytes = &rest[1..];
            if self.skipping {
                self.skipping = false;
                continue;
            }
            if self.partial.is_empty() {
                self.one(head, &mut line);
            } else {
                self.partial.extend_from_slice(head);
                let whole = std::mem::take(&mut self.partial);
                self.one(&whole, &mut line);
            }
        }
        if self.skipping || bytes.is_empty() {
            return;
        }
        if self.partial.len() + bytes.len() > MAX_LINE {
            self.partial = Vec::new();
            self.skipping = true;
            self.skipped += 1;
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    fn one(&mut self, bytes: &[u8], line: &mut impl FnMut(&[u8])) {
        let bytes = bytes.strip_suffix(b"\r").unwrap_or(bytes);
        if bytes.len() > MAX_LINE {
            self.skipped += 1;
        } else if !bytes.is_empty() {
            line(bytes);
        }
    }

    /// Bytes that wait for the end of their line.
    #[cfg(test)]
    fn waiting(&self) -> usize {
        self.partial.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn lines(reader: &mut LineReader, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        reader.feed(bytes, |line| all.push(line.to_vec()));
        all
    }

    #[test]
    fn a_line_of_a_mebibyte_is_skipped_and_the_next_is_read() {
        let mut reader = LineReader::default();
        for _ in 0..1024 {
            assert!(lines(&mut reader, &[b'x'; 1024]).is_empty());
            assert!(reader.waiting() <= 2 * MAX_LINE, "{}", reader.waiting());
        }
        assert_eq!(lines(&mut reader, b"end\r\nPING :1\r\n"), [b"PING :1"]);
        assert_eq!(reader.skipped, 1);
        let mut long = vec![b'y'; MAX_LINE + 1];
        long.extend_from_slice(b"\nnext\n");
        assert_eq!(lines(&mut reader, &long), [b"next"]);
        assert_eq!(reader.waiting(), 0, "nothing is kept between lines");
    }

    proptest! {
        #[test]
        fn any_split_of_the_bytes_gives_the_same_lines(
            text in proptest::collection::vec("[a-z ]{0,20}", 0..8), sizes in proptest::collection::vec(1usize..9, 1..60),
        ) {
            let whole = text.join("\r\n") + "\n";
            let (mut at, mut got, mut reader) = (0, Vec::new(), LineReader::default());
            for size in sizes.iter().cycle() {
                if at >= whole.len() { break; }
                let end = (at + size).min(whole.len());
                got.extend(lines(&mut reader, &whole.as_bytes()[at..end]));
                at = end;
            }
            let expected: Vec<Vec<u8>> = text.iter().filter(|l| !l.is_empty()).map(|l| l.clone().into_bytes()).collect();
            prop_assert_eq!(got, expected);
        }
    }
}
