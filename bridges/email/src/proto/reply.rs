//! Answers, with enhanced status codes (RFC 2034).

use std::fmt;

/// One answer line: `550 5.1.1 no such person here`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// The three-digit code of RFC 5321.
    pub code: u16,
    /// The enhanced code of RFC 3463; empty where RFC 2034 wants none.
    pub status: &'static str,
    /// Words; control characters never reach the wire.
    pub text: String,
}

impl Reply {
    /// An answer with these words.
    pub(crate) fn new(code: u16, status: &'static str, text: impl Into<String>) -> Self {
        Self { code, status, text: text.into() }
    }

    /// 2xx or 3xx.
    pub(crate) fn is_positive(&self) -> bool {
        self.code < 400
    }

    /// 4xx: the client should try again.
    pub(crate) fn is_temporary(&self) -> bool {
        (400..500).contains(&self.code)
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.to_string().as_bytes());
        out.extend_from_slice(b"\r\n");
    }
}

/// Without the line end. Words are cut so that the line stays below the 512 octets of RFC 5321 section 4.5.3.1.5.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        if !self.status.is_empty() {
            write!(f, " {}", self.status)?;
        }
        let mut left = 480_usize;
        f.write_str(" ")?;
        for c in self.text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            match left.checked_sub(c.len_utf8()) {
                Some(rest) => left = rest,
                None => break,
            }
            write!(f, "{c}")?;
        }
        Ok(())
    }
}
