//! Answers that need nothing but the question: ping, version, time, last activity, vCard, the gateway prompt.

use std::time::SystemTime;

use super::{ns, xml::Xml};
use crate::translate::stamp::stamp;

/// Starts an answer to an iq: `type='result'`, addresses swapped, the same id.
pub fn result(from: &str, to: &str, id: &str) -> Xml {
    let mut xml = Xml::stanza("iq");
    xml.attr("type", "result").attr("from", from).attr("to", to).attr("id", id);
    xml
}

/// XEP-0092. The operating system stays untold: it helps nobody but attackers.
pub fn version(xml: &mut Xml) {
    xml.open("query", ns::VERSION);
    xml.leaf("name", "", "Isthmus").leaf("version", "", env!("CARGO_PKG_VERSION")).close();
}

/// XEP-0202.
pub fn time(xml: &mut Xml, now: SystemTime, zone: &str) {
    xml.open("time", ns::TIME).leaf("tzo", "", zone).leaf("utc", "", &stamp(now)).close();
}

/// XEP-0012: for a gateway the seconds since its start.
pub fn last(xml: &mut Xml, seconds: u64) {
    xml.open("query", ns::LAST).attr("seconds", &seconds.to_string()).close();
}

/// XEP-0100 section 6.3: what to type.
pub fn prompt(xml: &mut Xml, description: &str, prompt: &str) {
    xml.open("query", ns::GATEWAY).leaf("desc", "", description).leaf("prompt", "", prompt).close();
}

/// XEP-0100 section 6.3: the JID of what was typed.
pub fn prompted(xml: &mut Xml, jid: &str) {
    xml.open("query", ns::GATEWAY).leaf("jid", "", jid).close();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_the_specifications_show() {
        let mut xml = result("gw.example", "juliet@capulet.lit/balcony", "s2c1");
        assert_eq!(xml.finish(), "<iq type='result' from='gw.example' to='juliet@capulet.lit/balcony' id='s2c1'/>");
        xml = result("a", "b", "c");
        time(&mut xml, SystemTime::UNIX_EPOCH, "+00:00");
        assert!(
            xml.finish()
                .contains("<time xmlns='urn:xmpp:time'><tzo>+00:00</tzo><utc>1970-01-01T00:00:00Z</utc></time>")
        );
    }
}
