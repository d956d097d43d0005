//! Reading the mail itself, after DATA or BDAT, within a bound: what is over it is read and forgotten.

/// Takes the octets of one mail and keeps them up to a limit.
#[derive(Debug)]
pub(super) struct Body {
    kept: Vec<u8>,
    limit: usize,
    over: bool,
    dots: Dots,
}

/// Where we are within the transparency of RFC 5321 section 4.5.2. Only CR LF counts as a line end: a bare LF or CR before a dot ends nothing,
/// whatever another server thinks of it (SMTP smuggling).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dots {
    LineStart,
    Inside,
    Cr,
    Dot,
    DotCr,
}

impl Body {
    pub(super) fn new(limit: usize) -> Self {
        Self { kept: Vec::new(), limit, over: false, dots: Dots::LineStart }
    }

    /// Octets kept so far.
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }

    /// Takes octets as they are (BDAT).
    pub(super) fn raw(&mut self, bytes: &[u8]) {
        if self.over {
            return;
        }
        if self.kept.len() + bytes.len() > self.limit {
            self.over = true;
            self.kept = Vec::new();
            return;
        }
        self.kept.extend_from_slice(bytes);
    }

    /// Takes octets of DATA, with the dots undone. Gives how many were taken and whether the final dot was among them.
    pub(super) fn dotted(&mut self, bytes: &[u8]) -> (usize, bool) {
        // `from..i` is what goes through unchanged; a stuffed or final dot interrupts it.
        let (mut from, mut i) = (0, 0);
        while i < bytes.len() {
            if self.dots == Dots::Inside {
                match bytes[i..].iter().position(|b| *b == b'\r') {
                    Some(at) => i += at,
                    None => break,
                }
            }
            let b = bytes[i];
            self.dots = match (self.dots, b) {
                (Dots::LineStart, b'.') => {
                    self.raw(&bytes[from..i]);
                    from = i + 1;
                    Dots::Dot
                }
                (Dots::Cr, b'\n') => Dots::LineStart,
                (Dots::Dot, b'\r') => {
                    // Not kept until it is known that the line goes on.
                    from = i + 1;
                    Dots::DotCr
                }
                (Dots::DotCr, b'\n') => return (i + 1, true),
                (Dots::DotCr, b) => {
                    self.raw(b"\r");
                    if b == b'\r' { Dots::Cr } else { Dots::Inside }
                }
                (_, b'\r') => Dots::Cr,
                _ => Dots::Inside,
            };
            i += 1;
        }
        self.raw(&bytes[from.min(bytes.len())..]);
        (bytes.len(), false)
    }

    /// What was kept; `None` if it was over the limit.
    pub(super) fn finish(self) -> Option<Vec<u8>> {
        (!self.over).then_some(self.kept)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(chunks: &[&[u8]], limit: usize) -> (Option<Vec<u8>>, Option<usize>) {
        let mut body = Body::new(limit);
        let mut before = 0;
        for chunk in chunks {
            let (taken, end) = body.dotted(chunk);
            if end {
                return (body.finish(), Some(before + taken));
            }
            before += taken;
        }
        (body.finish(), None)
    }

    #[test]
    fn dots_are_undone() {
        let cases: [(&[u8], &[u8]); 7] = [
            (b"a\r\n.\r\n", b"a\r\n"),
            (b".\r\n", b""),
            (b"..\r\n.\r\n", b".\r\n"),
            (b".x\r\n\r\n.\r\n", b"x\r\n\r\n"),
            (b"a\r\n..b\r\n.\r\n", b"a\r\n.b\r\n"),
            (b"a\r\n.\rb\r\n.\r\n", b"a\r\n\rb\r\n"),
            (b"a\r\r\n.\r\n", b"a\r\r\n"),
        ];
        for (wire, mail) in cases {
            assert_eq!(
                read(&[wire], 1000),
                (Some(mail.to_vec()), Some(wire.len())),
                "{:?}",
                wire.escape_ascii().to_string()
            );
        }
    }

    #[test]
    fn a_bare_line_end_before_a_dot_ends_nothing() {
        for wire in [&b"a\n.\n"[..], b"a\n.\r\n", b"a\r.\r\n", b"a\r\n.\n", b"a\r\n.\r\r\n"] {
            assert_eq!(read(&[wire], 1000).1, None, "{}", wire.escape_ascii());
        }
    }

    #[test]
    fn what_is_over_the_limit_is_forgotten_but_read_to_its_end() {
        let mut wire = vec![b'x'; 5000];
        wire.extend_from_slice(b"\r\n.\r\nQUIT\r\n");
        assert_eq!(read(&[&wire], 100), (None, Some(5005)));
    }

    proptest! {
        #[test]
        fn any_split_reads_the_same(mail in "[.\r\na]{0,40}", cut in 0usize..60) {
            let mut wire = mail.into_bytes();
            wire.extend_from_slice(b"\r\n.\r\nrest");
            let cut = cut.min(wire.len());
            prop_assert_eq!(read(&[&wire[..cut], &wire[cut..]], 1000), read(&[&wire], 1000));
        }
    }
}
