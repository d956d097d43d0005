//! What became of a held message, as stanzas for its sender: errors, notes, receipts, markers.

use isthmus_bridge::{ContactId, DeliveryError, Lang, Text};

use super::stamp::stamp;
use crate::inbox::Rendered;
use crate::outbox::{News, StanzaKind, Telling};
use crate::xmpp::errors::{ErrorType, StanzaError};
use crate::xmpp::escape::unescape;
use crate::xmpp::{GUEST, ns, xml::Xml};

/// The stanzas that tell it. `domain` is the gateway's, `words` puts texts into the sender's language and gives the one that they are in
/// (`xml:lang`), where that has to be said: nobody takes words of a user's own language for English.
pub fn stanzas(about: &Telling<'_>, domain: &str, words: &Words<'_>) -> Vec<Rendered> {
    let lang = about.sender.lang.as_deref().map_or_else(Lang::default, Lang::from);
    let spoken = (words.spoken)(&lang);
    let words = |text: &Text| (words.render)(text, &lang);
    let voice = Voice { about, domain, words: &words, spoken: spoken.as_deref() };
    match about.news {
        News::Failed { leg, error } => voice.failed(leg.as_ref(), error),
        News::MaybeSent { leg } => voice.uncertain(leg.as_ref()),
        News::Quarantined => voice.broken(),
        News::StillTrying { error, until } => {
            let until =
                std::time::UNIX_EPOCH + std::time::Duration::from_millis(u64::try_from(*until).unwrap_or_default());
            let text = Text::key("news.still-trying").with("reason", words(&error.text)).with("until", stamp(until));
            vec![voice.note(&text)]
        }
        News::Delayed { reason, .. } => vec![voice.note(&Text::key("news.delayed").with("reason", words(reason)))],
        News::Delivered { all, .. } => voice.receipt(*all),
        News::Displayed { all, .. } => voice.displayed(*all),
        News::Cancelled => voice.cancelled(),
    }
}

/// Where words for people come from.
pub struct Words<'a> {
    /// A text in a language, or in the nearest that there are words in.
    pub render: &'a dyn Fn(&Text, &Lang) -> String,
    /// Which one that is; `None`: English, which unmarked words are in.
    pub spoken: &'a dyn Fn(&Lang) -> Option<String>,
}

struct Voice<'a> {
    about: &'a Telling<'a>,
    domain: &'a str,
    words: &'a dyn Fn(&Text) -> String,
    spoken: Option<&'a str>,
}

impl Voice<'_> {
    fn failed(&self, leg: Option<&ContactId>, error: &DeliveryError) -> Vec<Rendered> {
        let mut reason = (self.words)(&error.text);
        if let Some(code) = error.code.as_deref().filter(|code| !reason.contains(*code)) {
            reason.push_str(&format!(" ({code})"));
        }
        let text = match leg {
            Some(leg) => Text::key("news.failed-leg").with("to", leg).with("reason", &reason),
            None => Text::key("news.failed").with("reason", &reason),
        };
        if self.by_error() {
            let words = if leg.is_some() { (self.words)(&text) } else { reason };
            return vec![self.error(StanzaError::from(error).with(words))];
        }
        vec![self.note(&text)]
    }

    /// An error goes to the resource that sent. What no resource sent (`isthmus send`) is told by message.
    fn by_error(&self) -> bool {
        !self.in_room() && self.about.by_error() && self.about.sender.from_full.contains('/')
    }

    fn uncertain(&self, leg: Option<&ContactId>) -> Vec<Rendered> {
        let text = match leg {
            Some(leg) => Text::key("news.maybe-sent-leg").with("to", leg),
            None => Text::key("news.maybe-sent"),
        };
        self.error_or_note(ErrorType::Cancel, "undefined-condition", &text)
    }

    fn broken(&self) -> Vec<Rendered> {
        self.error_or_note(ErrorType::Cancel, "internal-server-error", &Text::key("news.quarantined"))
    }

    /// By an administrator: who takes their own message back is told nothing.
    fn cancelled(&self) -> Vec<Rendered> {
        self.error_or_note(ErrorType::Cancel, "undefined-condition", &Text::key("news.cancelled"))
    }

    fn error_or_note(&self, kind: ErrorType, condition: &'static str, text: &Text) -> Vec<Rendered> {
        if self.by_error() {
            return vec![self.error(StanzaError::new(kind, condition).with((self.words)(text)))];
        }
        vec![self.note(text)]
    }

    /// A stanza error to the resource that sent, under the id of its stanza.
    fn error(&self, error: StanzaError) -> Rendered {
        let sender = self.about.sender;
        let mut xml = Xml::stanza("message");
        xml.attr("from", &sender.to)
            .attr("to", &sender.from_full)
            .attr("type", "error")
            .attr_opt("id", sender.stanza_id.as_deref())
            .attr_opt("xml:lang", self.spoken);
        error.write(&mut xml, |text| (self.words)(text));
        self.rendered(&sender.from_full, xml)
    }

    /// A message to the bare JID, which servers keep for who is away (XEP-0334 `store`), about the message it names (XEP-0461).
    fn note(&self, text: &Text) -> Rendered {
        if self.in_room() {
            return self.note_in_room(text);
        }
        let sender = self.about.sender;
        let to = bare(&sender.from_full);
        let mut xml = self.message(to);
        xml.attr_opt("xml:lang", self.spoken);
        xml.leaf("body", "", &(self.words)(text));
        if let Some(thread) = &sender.thread {
            xml.leaf("thread", "", thread);
        }
        if let Some(id) = &sender.stanza_id {
            xml.open("reply", ns::REPLY).attr("to", &sender.from_full).attr("id", id).close();
        }
        xml.empty("store", ns::HINTS);
        self.rendered(to, xml)
    }

    /// It was said in a room of an XMPP server: whoever spoke is told there, by nick, and about whom.
    fn in_room(&self) -> bool {
        self.about.sender.kind == StanzaKind::Groupchat
    }

    fn note_in_room(&self, text: &Text) -> Rendered {
        let sender = self.about.sender;
        let (to, nick) = sender.from_full.split_once('/').unwrap_or((&sender.from_full, ""));
        let contact = bare(&sender.to).split_once('@').map_or("", |(local, _)| local);
        let mut xml = Xml::stanza("message");
        let from = format!("{}/{}", self.domain, GUEST);
        xml.attr("from", &from).attr("to", to).attr("type", "groupchat").attr("id", self.about.id);
        xml.attr_opt("xml:lang", self.spoken);
        xml.leaf("body", "", &format!("{nick}: {}: {}", unescape(contact), (self.words)(text)));
        Rendered { from, to: to.to_owned(), id: self.about.id.to_owned(), xml: xml.finish().into_bytes() }
    }

    /// XEP-0184: only when it arrived, and for several recipients only when it arrived at all of them.
    fn receipt(&self, all: bool) -> Vec<Rendered> {
        let sender = self.about.sender;
        let Some(id) = sender.stanza_id.as_deref().filter(|_| all && sender.wants_receipt && !self.in_room()) else {
            return Vec::new();
        };
        let to = bare(&sender.from_full);
        let mut xml = self.message(to);
        xml.open("received", ns::RECEIPTS).attr("id", id).close().empty("store", ns::HINTS);
        vec![self.rendered(to, xml)]
    }

    /// XEP-0333.
    fn displayed(&self, all: bool) -> Vec<Rendered> {
        let sender = self.about.sender;
        let Some(id) = sender.stanza_id.as_deref().filter(|_| all && sender.wants_marker && !self.in_room()) else {
            return Vec::new();
        };
        let to = bare(&sender.from_full);
        let mut xml = self.message(to);
        xml.open("displayed", ns::MARKERS).attr("id", id).close().empty("store", ns::HINTS);
        vec![self.rendered(to, xml)]
    }

    fn message(&self, to: &str) -> Xml {
        let mut xml = Xml::stanza("message");
        xml.attr("from", self.from()).attr("to", to).attr("type", "chat").attr("id", self.about.id);
        xml
    }

    /// The contact that it was sent to, without a resource; the gateway itself for a message to several.
    fn from(&self) -> &str {
        let to = bare(&self.about.sender.to);
        if to.is_empty() { self.domain } else { to }
    }

    fn rendered(&self, to: &str, xml: Xml) -> Rendered {
        Rendered {
            from: self.from().to_owned(),
            to: to.to_owned(),
            id: self.about.id.to_owned(),
            xml: xml.finish().into_bytes(),
        }
    }
}

/// A JID without its resource.
fn bare(jid: &str) -> &str {
    jid.split_once('/').map_or(jid, |(bare, _)| bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outbox::Sender;
    use isthmus_bridge::{Address, DeliveryKey, Failure, Intent, Message, Outbound};

    fn told(from: &str, age: i64, news: &News) -> String {
        told_in(None, from, age, news)
    }

    fn told_in(lang: Option<&str>, from: &str, age: i64, news: &News) -> String {
        let mut sender = Sender::new("mail", from, r"a\40b@gw.example");
        sender.stanza_id = Some("m1".to_owned());
        sender.wants_receipt = true;
        sender.lang = lang.map(str::to_owned);
        let message = Intent::Send(Box::new(Message::chat("x")));
        let event = Outbound::new(DeliveryKey::from("k1"), "juliet@capulet.lit".into(), Address::Gateway, message);
        let about = Telling { sender: &sender, event: &event, news, accepted: 0, now: age, online: false, id: "n1" };
        let words = Words {
            render: &|text, _| text.to_string(),
            spoken: &|lang| (*lang != Lang::default()).then(|| lang.as_str().to_owned()),
        };
        let all = stanzas(&about, "gw.example", &words);
        let all: Vec<String> = all.into_iter().map(|r| String::from_utf8(r.xml).expect("UTF-8")).collect();
        all.join("\n")
    }

    fn failed() -> News {
        News::Failed {
            leg: None,
            error: DeliveryError::new(Failure::NoSuchRecipient, "no such user").with_code("5.1.1"),
        }
    }

    #[test]
    fn a_quick_failure_is_an_error_to_the_resource_under_its_id() {
        let stanza = told("juliet@capulet.lit/b", 59_000, &failed());
        assert!(
            stanza.starts_with(r"<message from='a\40b@gw.example' to='juliet@capulet.lit/b' type='error' id='m1'>"),
            "{stanza}"
        );
        assert!(stanza.contains("<item-not-found") && stanza.contains("no such user (5.1.1)"), "{stanza}");
    }

    #[test]
    fn a_late_failure_is_a_message_to_the_bare_jid_that_servers_keep() {
        let stanza = told("juliet@capulet.lit/b", 61_000, &failed());
        assert!(stanza.contains("to='juliet@capulet.lit' type='chat'"), "{stanza}");
        assert!(stanza.contains("<store xmlns='urn:xmpp:hints'/>") && stanza.contains("id='m1'"), "{stanza}");
    }

    #[test]
    fn what_an_administrator_cancelled_is_told() {
        let stanza = told("juliet@capulet.lit/b", 59_000, &News::Cancelled);
        assert!(stanza.contains("type='error' id='m1'") && stanza.contains("news.cancelled"), "{stanza}");
        let stanza = told("juliet@capulet.lit/b", 61_000, &News::Cancelled);
        assert!(stanza.contains("type='chat'") && stanza.contains("<body>news.cancelled</body>"), "{stanza}");
    }

    #[test]
    fn words_say_which_language_they_are_in() {
        for age in [0, 61_000] {
            let stanza = told_in(Some("fr"), "juliet@capulet.lit/b", age, &failed());
            assert!(stanza.contains(" xml:lang='fr'>"), "{stanza}");
            let stanza = told_in(None, "juliet@capulet.lit/b", age, &failed());
            assert!(!stanza.contains("xml:lang"), "{stanza}");
        }
        let receipt = told_in(Some("fr"), "juliet@capulet.lit/b", 0, &News::Delivered { leg: None, all: true });
        assert!(!receipt.contains("xml:lang"), "it has no words: {receipt}");
    }

    #[test]
    fn what_no_resource_sent_is_told_by_message_at_once() {
        assert!(told("juliet@capulet.lit", 0, &failed()).contains("type='chat'"));
    }

    #[test]
    fn a_receipt_waits_for_all_recipients() {
        assert_eq!(told("juliet@capulet.lit/b", 0, &News::Delivered { leg: None, all: false }), "");
        let stanza = told("juliet@capulet.lit/b", 0, &News::Delivered { leg: None, all: true });
        assert!(stanza.contains("<received xmlns='urn:xmpp:receipts' id='m1'/>"), "{stanza}");
    }
}
