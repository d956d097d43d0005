//! The state machine of one connection.

use bytes::{Buf, BytesMut};
use smtp_proto::{Error, Request};

use super::body::Body;
use super::reply::Reply;

/// Which protocol is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// RFC 5321: one answer for the mail.
    Smtp,
    /// RFC 2033: one answer for each recipient, from a mail server of our own.
    Lmtp,
}

/// Bounds of one connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Octets of one mail.
    pub message: usize,
    /// Recipients of one mail; the next one gets 452 4.5.3 and comes in another transaction.
    pub recipients: usize,
    /// Octets of one command line, its end included.
    pub line: usize,
    /// Commands that make no sense, before the connection ends.
    pub errors: usize,
    /// Refused recipients before an SMTP connection ends (a search for addresses). LMTP comes from our own server and is not counted.
    pub refusals: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 25 << 20, recipients: 1000, line: 4096, errors: 20, refusals: 100 }
    }
}

/// Who sends and who receives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Envelope<R> {
    /// What the client calls itself.
    pub helo: String,
    /// The return path; empty for reports.
    pub from: String,
    /// The recipients that were taken, in order.
    pub recipients: Vec<R>,
}

/// The answer to [`Turn::Rcpt`].
#[derive(Debug)]
pub(crate) enum Rcpt<R> {
    /// Taken.
    Taken(R),
    /// Refused.
    Refused(Reply),
}

/// What the machine wants next. After any turn, what [`Server::output`] holds is to be written; before a question is answered nothing more is read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Turn<R> {
    /// More octets.
    Read,
    /// Whether this recipient may be; answer with [`Server::recipient`].
    Rcpt(String),
    /// What becomes of this mail; answer with [`Server::settled`].
    Mail(Envelope<R>, Vec<u8>),
    /// The TLS handshake; then call [`Server::secured`]. What was read ahead is gone.
    StartTls,
    /// The end of the connection.
    Close,
}

#[derive(Debug)]
enum State {
    Commands,
    /// Reading DATA.
    Data(Body),
    /// Reading a chunk of BDAT; `None` where the chunk is thrown away.
    Chunk {
        left: usize,
        last: bool,
        body: Option<Body>,
    },
    /// Between two chunks.
    Chunks(Body),
    /// A question is out.
    Asked,
    Handshake,
    Closed,
}

/// One connection. `R` is what the owner of the connection makes of a recipient.
#[derive(Debug)]
pub(crate) struct Server<R> {
    dialect: Dialect,
    limits: Limits,
    host: String,
    tls_offered: bool,
    helo: Option<String>,
    from: Option<String>,
    recipients: Vec<R>,
    state: State,
    /// Within a line that is too long.
    skipping: bool,
    errors: usize,
    refusals: usize,
    out: Vec<u8>,
}

impl<R> Server<R> {
    /// A fresh connection; the greeting is in the output. `tls` offers STARTTLS.
    pub(crate) fn new(dialect: Dialect, limits: Limits, host: impl Into<String>, tls: bool) -> Self {
        let host = host.into();
        let mut server = Self {
            dialect,
            limits,
            tls_offered: tls,
            helo: None,
            from: None,
            recipients: Vec::new(),
            state: State::Commands,
            skipping: false,
            errors: 0,
            refusals: 0,
            out: Vec::new(),
            host,
        };
        let name = if dialect == Dialect::Lmtp { "LMTP" } else { "ESMTP" };
        let greeting = Reply::new(220, "", format!("{} {name}", server.host));
        server.say(&greeting);
        server
    }

    /// What is to be written, taken out.
    pub(crate) fn output(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.out)
    }

    /// Whether a mail is being read (other time limits hold then).
    pub(crate) fn in_mail(&self) -> bool {
        matches!(self.state, State::Data(_) | State::Chunk { .. } | State::Chunks(_))
    }

    /// Octets of an unfinished mail that are kept.
    pub(crate) fn held(&self) -> usize {
        match &self.state {
            State::Data(body) | State::Chunks(body) | State::Chunk { body: Some(body), .. } => body.len(),
            _ => 0,
        }
    }

    /// Works on what was read until something is needed.
    pub(crate) fn turn(&mut self, input: &mut BytesMut) -> Turn<R> {
        loop {
            match std::mem::replace(&mut self.state, State::Commands) {
                State::Commands => match self.line(input) {
                    Some(line) => {
                        if let Some(turn) = self.command(&line, None) {
                            return turn;
                        }
                    }
                    None => return Turn::Read,
                },
                State::Chunks(body) => match self.line(input) {
                    Some(line) => {
                        if let Some(turn) = self.command(&line, Some(body)) {
                            return turn;
                        }
                    }
                    None => {
                        self.state = State::Chunks(body);
                        return Turn::Read;
                    }
                },
                State::Data(mut body) => {
                    let (taken, end) = body.dotted(input);
                    input.advance(taken);
                    if !end {
                        self.state = State::Data(body);
                        return Turn::Read;
                    }
                    if let Some(turn) = self.whole(body) {
                        return turn;
                    }
                }
                State::Chunk { left, last, body } => {
                    if let Some(turn) = self.chunk(input, left, last, body) {
                        return turn;
                    }
                }
                State::Asked => {
                    self.state = State::Asked;
                    return Turn::Read;
                }
                State::Handshake => {
                    // RFC 3207 section 4.2, CVE-2011-0411: what was pipelined behind STARTTLS was not protected; it is thrown away.
                    input.clear();
                    self.state = State::Handshake;
                    return Turn::StartTls;
                }
                State::Closed => {
                    self.state = State::Closed;
                    return Turn::Close;
                }
            }
        }
    }

    /// Answers [`Turn::Rcpt`].
    pub(crate) fn recipient(&mut self, verdict: Rcpt<R>) {
        self.state = State::Commands;
        match verdict {
            Rcpt::Taken(recipient) => {
                self.recipients.push(recipient);
                self.say(&Reply::new(250, "2.1.5", "OK"));
            }
            Rcpt::Refused(reply) => {
                self.say(&reply);
                if self.dialect == Dialect::Smtp && !reply.is_temporary() {
                    self.refusals += 1;
                    if self.refusals >= self.limits.refusals {
                        self.end(&Reply::new(421, "4.7.0", "too many refused recipients"));
                    }
                }
            }
        }
    }

    /// Answers [`Turn::Mail`]: one reply for each recipient under LMTP, exactly one under SMTP.
    pub(crate) fn settled(&mut self, replies: &[Reply]) {
        self.state = State::Commands;
        for reply in replies {
            self.say(reply);
        }
    }

    /// The handshake is done; the client begins anew (RFC 3207 section 4.2).
    pub(crate) fn secured(&mut self) {
        self.tls_offered = false;
        self.helo = None;
        self.reset();
        self.state = State::Commands;
    }

    /// Ends the connection from our side: too slow, going down.
    pub(crate) fn end(&mut self, reply: &Reply) {
        self.say(reply);
        self.reset();
        self.state = State::Closed;
    }

    fn say(&mut self, reply: &Reply) {
        reply.write(&mut self.out);
    }

    fn reset(&mut self) {
        self.from = None;
        self.recipients = Vec::new();
    }

    fn fault(&mut self, reply: &Reply) {
        self.errors += 1;
        if self.errors >= self.limits.errors {
            self.end(&Reply::new(421, "4.7.0", "too many errors"));
        } else {
            self.say(reply);
        }
    }

    /// The next command line. A line that is too long is skipped to its end, without keeping it.
    fn line(&mut self, input: &mut BytesMut) -> Option<Vec<u8>> {
        loop {
            let end = input.iter().position(|b| *b == b'\n');
            if self.skipping {
                match end {
                    Some(at) => {
                        input.advance(at + 1);
                        self.skipping = false;
                        continue;
                    }
                    None => {
                        input.clear();
                        return None;
                    }
                }
            }
            match end {
                Some(at) if at < self.limits.line => return Some(input.split_to(at + 1).to_vec()),
                None if input.len() < self.limits.line => return None,
                _ => {
                    self.skipping = true;
                    self.fault(&Reply::new(500, "5.5.2", "line too long"));
                    if matches!(self.state, State::Closed) {
                        return Some(Vec::new());
                    }
                }
            }
        }
    }

    fn command(&mut self, line: &[u8], chunks: Option<Body>) -> Option<Turn<R>> {
        if matches!(self.state, State::Closed) {
            return Some(Turn::Close);
        }
        let words = line.strip_suffix(b"\n").unwrap_or(line);
        let words = words.strip_suffix(b"\r").unwrap_or(words);
        let parsed = if words.iter().any(|b| b.is_ascii_control()) {
            Err(Reply::new(500, "5.5.2", "control characters in a command"))
        } else {
            Request::parse(&mut line.iter()).map_err(|e| refusal(&e))
        };
        let request = match parsed {
            Ok(request) => request,
            Err(reply) => {
                if let Some(body) = chunks {
                    self.state = State::Chunks(body);
                }
                self.fault(&reply);
                return None;
            }
        };
        // Between two chunks only another chunk, RSET, NOOP or QUIT makes sense (RFC 3030 section 2).
        if let Some(body) = chunks {
            match &request {
                Request::Bdat { chunk_size, is_last } => {
                    self.state = State::Chunk { left: *chunk_size, last: *is_last, body: Some(body) };
                    return None;
                }
                Request::Noop { .. } => self.state = State::Chunks(body),
                Request::Rset | Request::Quit | Request::Ehlo { .. } | Request::Helo { .. } | Request::Lhlo { .. } => {
                    self.reset();
                }
                _ => {
                    self.state = State::Chunks(body);
                    self.fault(&Reply::new(503, "5.5.1", "in the middle of BDAT"));
                    return None;
                }
            }
        }
        match request {
            Request::Ehlo { host } => self.on_hello(&host, Dialect::Smtp, true),
            Request::Helo { host } => self.on_hello(&host, Dialect::Smtp, false),
            Request::Lhlo { host } => self.on_hello(&host, Dialect::Lmtp, true),
            Request::Mail { from } => self.on_mail(&from.address, from.size),
            Request::Rcpt { to } => return self.on_rcpt(&to.address, line),
            Request::Data => self.on_data(),
            Request::Bdat { chunk_size, is_last } => self.on_bdat(chunk_size, is_last),
            Request::StartTls => self.on_starttls(),
            Request::Rset => {
                self.reset();
                self.say(&Reply::new(250, "2.0.0", "OK"));
            }
            Request::Noop { .. } => self.say(&Reply::new(250, "2.0.0", "OK")),
            Request::Quit => self.end(&Reply::new(221, "2.0.0", "bye")),
            Request::Vrfy { .. } => self.say(&Reply::new(252, "2.5.0", "send some mail, and see")),
            Request::Help { .. } => self.say(&Reply::new(214, "2.0.0", "RFC 5321, RFC 2033")),
            _ => self.fault(&Reply::new(502, "5.5.1", "not offered here")),
        }
        None
    }

    fn on_hello(&mut self, host: &str, dialect: Dialect, extended: bool) {
        if dialect != self.dialect {
            let right = if self.dialect == Dialect::Lmtp { "this is LMTP: LHLO" } else { "this is SMTP: EHLO" };
            return self.fault(&Reply::new(500, "5.5.1", right));
        }
        self.reset();
        self.helo = Some(host.to_owned());
        if !extended {
            let host = self.host.clone();
            return self.say(&Reply::new(250, "", host));
        }
        let size = format!("SIZE {}", self.limits.message);
        let mut lines =
            vec![self.host.as_str(), "PIPELINING", &size, "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "CHUNKING"];
        if self.tls_offered {
            lines.push("STARTTLS");
        }
        for (i, line) in lines.iter().enumerate() {
            let last = i + 1 == lines.len();
            self.out.extend_from_slice(if last { b"250 " } else { b"250-" });
            self.out.extend_from_slice(line.as_bytes());
            self.out.extend_from_slice(b"\r\n");
        }
    }

    fn on_mail(&mut self, from: &str, size: usize) {
        if self.helo.is_none() {
            return self.fault(&Reply::new(503, "5.5.1", "say hello first"));
        }
        if self.from.is_some() {
            return self.fault(&Reply::new(503, "5.5.1", "one sender is enough"));
        }
        if size > self.limits.message {
            return self.say(&self.too_big());
        }
        self.from = Some(from.to_owned());
        self.say(&Reply::new(250, "2.1.0", "OK"));
    }

    fn on_rcpt(&mut self, to: &str, line: &[u8]) -> Option<Turn<R>> {
        if self.from.is_none() {
            self.fault(&Reply::new(503, "5.5.1", "MAIL first"));
            return None;
        }
        if self.recipients.len() >= self.limits.recipients {
            self.say(&Reply::new(452, "4.5.3", "too many recipients; the rest in another transaction"));
            return None;
        }
        // The parser gives nothing for both `<>`, which is no recipient, and `<Postmaster>`, which needs no domain (RFC 5321 section 4.5.1).
        let to = match to {
            "" if line.windows(2).any(|w| w == b"<>") => {
                self.fault(&Reply::new(501, "5.1.3", "no address"));
                return None;
            }
            "" => "postmaster",
            to => to,
        };
        self.state = State::Asked;
        Some(Turn::Rcpt(to.to_owned()))
    }

    fn on_data(&mut self) {
        if self.recipients.is_empty() {
            return self.fault(&Reply::new(503, "5.5.1", "no valid recipients"));
        }
        self.say(&Reply::new(354, "", "end with a dot on a line of its own"));
        self.state = State::Data(Body::new(self.limits.message));
    }

    fn on_bdat(&mut self, left: usize, last: bool) {
        let body = (!self.recipients.is_empty()).then(|| Body::new(self.limits.message));
        self.state = State::Chunk { left, last, body };
    }

    fn on_starttls(&mut self) {
        if !self.tls_offered {
            return self.fault(&Reply::new(502, "5.5.1", "no TLS here"));
        }
        self.say(&Reply::new(220, "2.0.0", "go ahead"));
        self.state = State::Handshake;
    }

    fn chunk(&mut self, input: &mut BytesMut, left: usize, last: bool, mut body: Option<Body>) -> Option<Turn<R>> {
        let taken = left.min(input.len());
        if let Some(body) = &mut body {
            body.raw(&input[..taken]);
        }
        input.advance(taken);
        let left = left - taken;
        if left > 0 {
            self.state = State::Chunk { left, last, body };
            return Some(Turn::Read);
        }
        match body {
            // The client may have sent the chunk together with the recipients that were refused.
            None => self.fault(&Reply::new(503, "5.5.1", "no valid recipients")),
            Some(body) if last => return self.whole(body),
            Some(body) => {
                self.say(&Reply::new(250, "2.0.0", "chunk taken"));
                self.state = State::Chunks(body);
            }
        }
        None
    }

    fn whole(&mut self, body: Body) -> Option<Turn<R>> {
        let recipients = std::mem::take(&mut self.recipients);
        let from = self.from.take().unwrap_or_default();
        let Some(mail) = body.finish() else {
            let answers = if self.dialect == Dialect::Lmtp { recipients.len() } else { 1 };
            for _ in 0..answers {
                self.say(&self.too_big());
            }
            return None;
        };
        self.state = State::Asked;
        Some(Turn::Mail(Envelope { helo: self.helo.clone().unwrap_or_default(), from, recipients }, mail))
    }

    fn too_big(&self) -> Reply {
        Reply::new(552, "5.3.4", format!("mails here have at most {} octets", self.limits.message))
    }
}

fn refusal(error: &Error) -> Reply {
    match error {
        Error::UnknownCommand => Reply::new(500, "5.5.1", "no such command"),
        Error::InvalidSenderAddress => Reply::new(501, "5.1.7", "that is no address of a sender"),
        Error::InvalidRecipientAddress => Reply::new(501, "5.1.3", "that is no address of a recipient"),
        Error::SyntaxError { syntax } => Reply::new(501, "5.5.4", format!("expected {syntax}")),
        Error::InvalidParameter { param } => Reply::new(501, "5.5.4", format!("wrong parameter {param}")),
        Error::UnsupportedParameter { param } => Reply::new(555, "5.5.4", format!("unknown parameter {param}")),
        Error::ResponseTooLong => Reply::new(500, "5.5.2", "line too long"),
        Error::NeedsMoreData { .. } | Error::InvalidResponse { .. } => Reply::new(501, "5.5.2", "syntax error"),
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
