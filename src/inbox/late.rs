//! Pure: an error stanza whose recipient is gone, as a message that its account keeps.
//!
//! Servers discard an error to a resource that is offline, without a word (RFC 6121, section 8.5.3.2.3). When a stream ends, its server has perhaps
//! been restarted, and nobody is online any more who was. So what is sent on another stream than the one on which it was made goes to the account.

use minidom::Element;

use super::Rendered;
use super::delay::bare_of;
use crate::xmpp::{ns, xml::Xml};

/// The words of an error as a chat message to the bare JID, about the message that it answers; `None` if the stanza is no error.
pub(crate) fn as_message(stanza: &Rendered) -> Option<Rendered> {
    let text = std::str::from_utf8(&stanza.xml).ok()?.strip_prefix("<message ")?;
    let error: Element = format!("<message xmlns='{}' {text}", ns::CLIENT).parse().ok()?;
    if error.attr("type") != Some("error") {
        return None;
    }
    let words = error.get_child("error", ns::CLIENT)?.get_child("text", ns::STANZAS)?.text();
    let to = bare_of(&stanza.to);
    let mut xml = Xml::stanza("message");
    xml.attr("from", &stanza.from).attr("to", to).attr("type", "chat").attr("id", &stanza.id).leaf("body", "", &words);
    if let Some(about) = error.attr("id") {
        xml.open("reply", ns::REPLY).attr("to", &stanza.to).attr("id", about).close();
    }
    xml.empty("store", ns::HINTS);
    Some(Rendered { to: to.to_owned(), xml: xml.finish().into_bytes(), ..stanza.clone() })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rendered(xml: &str) -> Rendered {
        Rendered { from: "a@gw".into(), to: "juliet@x/phone".into(), id: "n1".into(), xml: xml.into() }
    }

    #[test]
    fn an_error_becomes_a_message_to_the_account_and_nothing_else_does() {
        let error = "<message from='a@gw' to='juliet@x/phone' type='error' id='m&amp;1'><error type='cancel'>\
                     <item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
                     <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>no &lt;such&gt; user</text></error></message>";
        let message = as_message(&rendered(error)).expect("it was an error");
        assert_eq!((message.to.as_str(), message.id.as_str()), ("juliet@x", "n1"));
        assert_eq!(
            String::from_utf8_lossy(&message.xml),
            "<message from='a@gw' to='juliet@x' type='chat' id='n1'><body>no &lt;such&gt; user</body>\
             <reply xmlns='urn:xmpp:reply:0' to='juliet@x/phone' id='m&amp;1'/><store xmlns='urn:xmpp:hints'/></message>"
        );
        assert!(as_message(&rendered("<message to='juliet@x' type='chat' id='1'><body>x</body></message>")).is_none());
        assert!(as_message(&rendered("<presence/>")).is_none());
    }
}
