//! What was promised and what came: pure accounting.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use isthmus_testkit::smtp::Mail;
use isthmus_testkit::xml::Element;

/// Why a token is on the books and what was seen of it.
#[derive(Debug, Default)]
struct Outbound {
    sender: String,
    message: String,
    accepted: bool,
    /// Stanza ids of chat messages that told the sender about it.
    told: BTreeSet<String>,
    /// Error stanzas for it.
    errors: usize,
    /// Message-IDs of the mails that brought it.
    mails: Vec<String>,
}

#[derive(Debug, Default)]
struct Inbound {
    envelope_sender: String,
    /// Stanza ids under which the user got it, each as often as it came.
    seen: Vec<String>,
    archived: bool,
}

/// The books of one run.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    outbound: BTreeMap<String, Outbound>,
    /// By token and user.
    inbound: BTreeMap<(String, String), Inbound>,
    /// Envelope recipients of mails with a null sender, with their text.
    notices: Vec<(String, String)>,
    /// Copies with the same stanza id or Message-ID, which are allowed.
    copies: usize,
}

/// What the books say at the end.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Summary {
    /// Messages sent, and those covered by an answered ping.
    pub(crate) sent: usize,
    pub(crate) accepted: usize,
    /// Of the accepted: arrived; not arrived and the sender was told; arrived and the sender was told that it may not have been.
    pub(crate) arrived: usize,
    pub(crate) told: usize,
    pub(crate) both: usize,
    /// Mails (per recipient) answered 250; seen by the user; only in the user's archive; told to the envelope sender.
    pub(crate) mails: usize,
    pub(crate) seen: usize,
    pub(crate) archived: usize,
    pub(crate) bounced: usize,
    pub(crate) copies: usize,
    /// Promises broken, one sentence each.
    pub(crate) broken: Vec<String>,
}

impl Ledger {
    /// A message of this id was sent.
    pub(crate) fn sent(&mut self, token: &str, sender: &str, message: &str) {
        let entry = self.outbound.entry(token.to_owned()).or_default();
        entry.sender = sender.to_owned();
        entry.message = message.to_owned();
    }

    /// The ping that its sender sent after it was answered.
    pub(crate) fn accepted(&mut self, token: &str) {
        self.outbound.entry(token.to_owned()).or_default().accepted = true;
    }

    /// A mail with this token was answered 250 for this user.
    pub(crate) fn took(&mut self, token: &str, user: &str, envelope_sender: &str) {
        let entry = self.inbound.entry((token.to_owned(), user.to_owned())).or_default();
        entry.envelope_sender = envelope_sender.to_owned();
    }

    /// A message reached a user's client. `archived`: it was found in the user's archive.
    pub(crate) fn message(&mut self, user: &str, stanza: &Element, archived: bool) {
        let id = stanza.attr("id").unwrap_or_default().to_owned();
        if stanza.attr("type") == Some("error") {
            if let Some(entry) = self.outbound.values_mut().find(|o| o.message == id && o.sender == user) {
                entry.errors += 1;
            }
            return;
        }
        if let Some(about) = stanza.get("reply", "urn:xmpp:reply:0").and_then(|reply| reply.attr("id"))
            && let Some(entry) = self.outbound.values_mut().find(|o| o.message == about && o.sender == user)
        {
            entry.told.insert(id.clone());
            return;
        }
        for token in tokens(stanza.body().unwrap_or_default(), "in-") {
            let entry = self.inbound.entry((token, user.to_owned())).or_default();
            if archived {
                entry.archived = true;
            } else {
                if entry.seen.contains(&id) {
                    self.copies += 1;
                }
                entry.seen.push(id.clone());
            }
        }
    }

    /// All that the relay has taken.
    pub(crate) fn relayed(&mut self, mails: &[Mail]) {
        self.notices = mails
            .iter()
            .filter(|mail| mail.from.is_empty())
            .flat_map(|mail| mail.to.iter().map(|to| (to.0.clone(), mail.data.clone())))
            .collect();
        for entry in self.outbound.values_mut() {
            entry.mails.clear();
        }
        for mail in mails.iter().filter(|mail| !mail.from.is_empty()) {
            let id = mail.header("Message-ID").unwrap_or_default();
            for token in tokens(&mail.data, "out-") {
                let entry = self.outbound.entry(token).or_default();
                entry.mails.push(id.clone());
            }
        }
    }

    /// Whether nothing that was promised is still open; else how much.
    pub(crate) fn open(&self) -> usize {
        let outbound = self.outbound.values().filter(|o| o.accepted && o.mails.is_empty() && !o.was_told()).count();
        let inbound = self.inbound.iter().filter(|(key, i)| i.seen.is_empty() && !i.archived && !self.bounced(key, i));
        outbound + inbound.count()
    }

    /// Users with mails that were promised to them and not seen.
    pub(crate) fn missing_for(&self, user: &str) -> bool {
        self.inbound.iter().any(|(key, i)| key.1 == user && i.seen.is_empty() && !i.archived && !self.bounced(key, i))
    }

    /// The end.
    pub(crate) fn close(&self) -> Summary {
        let mut all = Summary { copies: self.copies, ..Summary::default() };
        for (token, entry) in &self.outbound {
            all.outbound(token, entry);
        }
        for (key, entry) in &self.inbound {
            all.mails += 1;
            let mut ids = entry.seen.clone();
            ids.sort();
            ids.dedup();
            match (ids.len(), entry.archived, self.bounced(key, entry)) {
                (0, false, false) => all.broken.push(format!("LOST: mail {} was answered 250 for {}", key.0, key.1)),
                (0, false, true) => all.bounced += 1,
                (0, true, _) => all.archived += 1,
                (1, ..) => all.seen += 1,
                _ => all.broken.push(format!("mail {} came to {} under several ids: {ids:?}", key.0, key.1)),
            }
            if ids.iter().any(String::is_empty) {
                all.broken.push(format!("mail {} came to {} without a stanza id", key.0, key.1));
            }
        }
        all
    }

    fn bounced(&self, (token, _): &(String, String), entry: &Inbound) -> bool {
        self.notices.iter().any(|(to, text)| *to == entry.envelope_sender && text.contains(token.as_str()))
    }
}

impl Outbound {
    fn was_told(&self) -> bool {
        !self.told.is_empty() || self.errors > 0
    }
}

impl Summary {
    fn outbound(&mut self, token: &str, entry: &Outbound) {
        let mut ids = entry.mails.clone();
        ids.sort();
        ids.dedup();
        self.copies += entry.mails.len() - ids.len();
        if ids.len() > 1 {
            self.broken.push(format!("message {token} was mailed under several Message-IDs: {ids:?}"));
        }
        if entry.told.len() > 1 {
            self.broken.push(format!("the sender of {token} was told {} times", entry.told.len()));
        }
        // An error bears the id of what it answers, so a second one is a copy under the same id.
        self.copies += entry.errors.saturating_sub(1);
        if entry.sender.is_empty() {
            self.broken.push(format!("a mail with {token}, which nobody sent"));
            return;
        }
        self.sent += 1;
        if !entry.accepted {
            return;
        }
        self.accepted += 1;
        match (ids.is_empty(), entry.was_told()) {
            (false, false) => self.arrived += 1,
            (false, true) => self.both += 1,
            (true, true) => self.told += 1,
            (true, false) => self.broken.push(format!("LOST: message {token} of {}", entry.sender)),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows: [(&str, usize); 12] = [
            ("XMPP messages sent", self.sent),
            ("of these accepted (ping answered)", self.accepted),
            ("  arrived as mail", self.arrived),
            ("  not arrived, sender told", self.told),
            ("  arrived, sender told \"may not have been sent\"", self.both),
            ("mails answered 250, per recipient", self.mails),
            ("  seen by the user", self.seen),
            ("  found in the user's archive only", self.archived),
            ("  bounced to the envelope sender", self.bounced),
            ("copies under the same id", self.copies),
            ("lost", self.broken.iter().filter(|line| line.starts_with("LOST")).count()),
            ("other promises broken", self.broken.iter().filter(|line| !line.starts_with("LOST")).count()),
        ];
        for (what, count) in rows {
            writeln!(f, "| {what:<47} | {count:>7} |")?;
        }
        Ok(())
    }
}

/// All words of this prefix and 16 hexadecimal digits.
fn tokens(text: &str, prefix: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let digits = text.get(at + prefix.len()..at + prefix.len() + 16).unwrap_or_default();
        if digits.len() == 16 && digits.bytes().all(|b| b.is_ascii_hexdigit()) {
            found.insert(format!("{prefix}{digits}"));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: &str = "out-0123456789abcdef";
    const IN: &str = "in-0123456789abcdef";

    fn mail(id: &str, token: &str) -> Mail {
        Mail { from: "bounce@x".into(), data: format!("Message-ID: {id}\r\n\r\n{token}\r\n"), ..Mail::default() }
    }

    fn message(text: &str) -> Element {
        Element::parse(text).unwrap()
    }

    #[test]
    fn an_accepted_message_that_neither_came_nor_was_told_of_is_lost() {
        let mut ledger = Ledger::default();
        ledger.sent(OUT, "a@b", "m1");
        assert_eq!((ledger.open(), ledger.close().broken.len()), (0, 0), "it was not accepted");
        ledger.accepted(OUT);
        assert_eq!((ledger.open(), ledger.close().broken.len()), (1, 1));
        ledger.relayed(&[mail("<1@x>", OUT)]);
        assert_eq!((ledger.open(), ledger.close().arrived), (0, 1));
        ledger.relayed(&[mail("<1@x>", OUT), mail("<1@x>", OUT)]);
        assert_eq!((ledger.close().broken.len(), ledger.close().copies), (0, 1));
        ledger.relayed(&[mail("<1@x>", OUT), mail("<2@x>", OUT)]);
        assert_eq!(ledger.close().broken.len(), 1);
    }

    #[test]
    fn a_sender_is_told_once() {
        let mut ledger = Ledger::default();
        ledger.sent(OUT, "a@b", "m1");
        ledger.accepted(OUT);
        let told = |id: &str| {
            message(&format!("<message id='{id}'><body>no</body><reply xmlns='urn:xmpp:reply:0' id='m1'/></message>"))
        };
        ledger.message("a@b", &told("r1"), false);
        ledger.message("a@b", &told("r1"), false);
        assert_eq!((ledger.close().told, ledger.close().broken.len()), (1, 0));
        ledger.message("a@b", &told("r2"), false);
        assert_eq!(ledger.close().broken.len(), 1);
    }

    #[test]
    fn a_mail_that_was_taken_is_seen_bounced_or_lost() {
        let mut ledger = Ledger::default();
        ledger.took(IN, "a@b", "s@out");
        assert!(ledger.missing_for("a@b"));
        assert_eq!(ledger.close().broken.len(), 1);
        ledger.relayed(&[Mail {
            from: String::new(),
            to: vec![("s@out".into(), String::new())],
            data: IN.into(),
            ..Mail::default()
        }]);
        assert_eq!((ledger.close().bounced, ledger.close().broken.len()), (1, 0));
        ledger.message("a@b", &message(&format!("<message id='1'><body>x {IN}</body></message>")), false);
        ledger.message("a@b", &message(&format!("<message id='1'><body>x {IN}</body></message>")), false);
        assert_eq!((ledger.close().seen, ledger.close().copies, ledger.close().broken.len()), (1, 1, 0));
        ledger.message("a@b", &message(&format!("<message id='2'><body>x {IN}</body></message>")), false);
        assert_eq!(ledger.close().broken.len(), 1);
    }
}
