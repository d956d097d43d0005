//! What the relay answers, and what that means for a delivery.

use std::time::Duration;

use isthmus_bridge::{DeliveryError, Failure, Text};

/// Characters of a server's words that are passed on.
const MAX_WORDS: usize = 400;

/// An SMTP reply (RFC 5321, 4.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    /// Three digits.
    pub code: u16,
    /// The text of each line.
    pub lines: Vec<String>,
}

impl Reply {
    /// Takes one line, without its end. `None`: it is no line of this reply. `Some(true)`: it was the last one.
    pub(crate) fn push(&mut self, line: &str) -> Option<bool> {
        let code: u16 = line.get(..3).filter(|c| c.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()?;
        if !(200..600).contains(&code) || (!self.lines.is_empty() && code != self.code) {
            return None;
        }
        let last = match line.as_bytes().get(3) {
            None | Some(b' ') => true,
            Some(b'-') => false,
            Some(_) => return None,
        };
        self.code = code;
        self.lines.push(line.get(4..).unwrap_or_default().to_owned());
        Some(last)
    }

    /// None yet.
    pub(crate) fn empty() -> Self {
        Self { code: 0, lines: Vec::new() }
    }

    /// 2xx.
    pub(crate) fn is_good(&self) -> bool {
        self.code / 100 == 2
    }

    /// 5xx.
    pub(crate) fn is_permanent(&self) -> bool {
        self.code / 100 == 5
    }

    /// The enhanced status code (RFC 2034), if it fits the code.
    pub(crate) fn enhanced(&self) -> Option<&str> {
        let word = self.lines.first()?.split(' ').next()?;
        let mut numbers = word.split('.');
        let class: u16 = numbers.next()?.parse().ok()?;
        let fits =
            class == self.code / 100 && numbers.clone().count() == 2 && numbers.all(|n| n.parse::<u16>().is_ok());
        fits.then_some(word)
    }

    /// Its words on one line, without enhanced codes, control characters or more than a person would read.
    pub(crate) fn words(&self) -> String {
        let enhanced = self.enhanced().unwrap_or_default();
        let words: Vec<&str> = self.lines.iter().map(|l| l.strip_prefix(enhanced).unwrap_or(l).trim()).collect();
        words.join(" ").chars().map(|c| if c.is_control() { ' ' } else { c }).take(MAX_WORDS).collect()
    }
}

/// How far a transaction had come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// TCP, greeting, EHLO.
    Connect,
    /// STARTTLS and the handshake.
    Tls,
    /// AUTH.
    Login,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA and the content, without its end.
    Data,
    /// The final dot and the answer to it.
    End,
}

/// What went wrong at a [`Stage`].
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The connection broke.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// The answer was none, or came unasked.
    #[error("not an SMTP reply: {0}")]
    Garbled(String),
    /// A refusal.
    #[error("{} {}", .0.code, .0.words())]
    Said(Reply),
    /// Something that only an administrator can mend.
    #[error("{0}")]
    Operator(String),
}

impl Fault {
    /// The connection is not to be used again.
    pub(crate) fn is_fatal(&self) -> bool {
        !matches!(self, Self::Said(reply) if reply.code != 421)
    }

    /// What the sender is told, and whether it is tried again.
    pub(crate) fn at(self, stage: Stage) -> DeliveryError {
        match self {
            Self::Said(reply) => said(&reply, stage),
            // Without the final dot nothing is delivered (RFC 5321, 4.1.1.4); after it nobody knows.
            _ if stage == Stage::End => DeliveryError::uncertain(Text::key("relay-silent")),
            Self::TimedOut => DeliveryError::temporary(Failure::TimedOut, Text::key("relay-slow")),
            Self::Io(_) | Self::Garbled(_) | Self::Operator(_) => {
                DeliveryError::temporary(Failure::Unreachable, Text::key("relay-away"))
            }
        }
    }
}

/// A refusal. What the relay says before MAIL is about us, not about this mail: an administrator can mend it, so it is tried again.
fn said(reply: &Reply, stage: Stage) -> DeliveryError {
    let code = reply.enhanced().map_or_else(|| reply.code.to_string(), str::to_owned);
    let text = Text::key("relay-said").with("code", &code).with("words", reply.words());
    let error = match stage {
        Stage::Connect | Stage::Tls | Stage::Login => DeliveryError::temporary(Failure::Unreachable, text),
        _ if !reply.is_permanent() => DeliveryError::temporary(passing(&code), text),
        _ => DeliveryError::new(lasting(reply.code, &code, stage), text),
    };
    error.with_code(code)
}

fn passing(code: &str) -> Failure {
    match subject(code) {
        "2.2" | "3.1" => Failure::Full,
        "7.1" | "2.1" => Failure::Throttled { retry_after: Duration::from_secs(300) },
        _ => Failure::Unreachable,
    }
}

fn lasting(reply: u16, code: &str, stage: Stage) -> Failure {
    match subject(code) {
        "1.0" | "1.1" | "1.2" | "1.3" | "1.6" | "1.10" | "2.1" => Failure::NoSuchRecipient,
        "2.2" => Failure::Full,
        "2.3" | "3.4" => Failure::TooLong { limit: 0 },
        "6.7" => Failure::Unsupported,
        "" if reply == 552 => Failure::TooLong { limit: 0 },
        "" if matches!(reply, 550 | 551 | 553) && stage == Stage::Rcpt => Failure::NoSuchRecipient,
        _ => Failure::Rejected,
    }
}

/// The part of an enhanced code after its class; empty where there is none.
fn subject(code: &str) -> &str {
    code.split_once('.').map_or("", |(_, rest)| rest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::{Retry, Sent};

    fn reply(text: &str) -> Option<Reply> {
        let mut reply = Reply::empty();
        for line in text.split("\r\n") {
            reply.push(line)?;
        }
        Some(reply)
    }

    #[test]
    fn refusals_by_stage_and_code() {
        for (text, stage, failure, retry, code) in [
            ("550 5.1.1 no such user", Stage::Rcpt, Failure::NoSuchRecipient, Retry::Never, "5.1.1"),
            ("550 who?", Stage::Rcpt, Failure::NoSuchRecipient, Retry::Never, "550"),
            ("550 5.7.1 policy", Stage::Rcpt, Failure::Rejected, Retry::Never, "5.7.1"),
            ("554 content refused", Stage::End, Failure::Rejected, Retry::Never, "554"),
            ("552 5.3.4 too big", Stage::Mail, Failure::TooLong { limit: 0 }, Retry::Never, "5.3.4"),
            ("452 4.2.2 over quota", Stage::Rcpt, Failure::Full, Retry::ByPolicy, "4.2.2"),
            ("451 4.3.0 later", Stage::End, Failure::Unreachable, Retry::ByPolicy, "4.3.0"),
            ("554 5.7.1 your address is listed", Stage::Connect, Failure::Unreachable, Retry::ByPolicy, "5.7.1"),
            ("535 5.7.8 bad password", Stage::Login, Failure::Unreachable, Retry::ByPolicy, "5.7.8"),
        ] {
            let error = Fault::Said(reply(text).expect("a reply")).at(stage);
            assert_eq!((error.failure, error.retry, error.code.as_deref()), (failure, retry, Some(code)), "{text}");
            assert_eq!(error.sent, Sent::No, "{text}");
        }
    }

    #[test]
    fn only_silence_after_the_final_dot_is_uncertain() {
        for stage in [Stage::Connect, Stage::Tls, Stage::Login, Stage::Mail, Stage::Rcpt, Stage::Data] {
            assert_eq!(Fault::TimedOut.at(stage).sent, Sent::No, "{stage:?}");
            assert_eq!(Fault::Garbled("x".into()).at(stage).retry, Retry::ByPolicy, "{stage:?}");
        }
        assert_eq!(Fault::TimedOut.at(Stage::End).sent, Sent::Maybe);
        assert_eq!(Fault::Garbled("x".into()).at(Stage::End).sent, Sent::Maybe);
    }

    #[test]
    fn lines_that_are_no_reply() {
        for text in ["", "25", "2x0 ok", "250_ok", "999 what", "100 what", "250-a\r\n251 b", "HTTP/1.1 200 OK"] {
            assert_eq!(reply(text), None, "{text:?}");
        }
        let all = reply("250-one\r\n250 5.1.1 two\x07").expect("a reply");
        assert_eq!((all.words().as_str(), all.enhanced()), ("one 5.1.1 two ", None));
    }
}
