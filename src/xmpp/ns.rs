//! Namespaces, by the XEP that defines them.

/// RFC 6120 stanzas, as the core sees them; the link maps `jabber:component:accept` (XEP-0114) to it and back.
pub const CLIENT: &str = "jabber:client";
/// RFC 6120 section 8.3.
pub const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";
/// XEP-0004.
pub const DATA: &str = "jabber:x:data";
/// XEP-0012.
pub const LAST: &str = "jabber:iq:last";
/// XEP-0030.
pub const DISCO_INFO: &str = "http://jabber.org/protocol/disco#info";
/// XEP-0030.
pub const DISCO_ITEMS: &str = "http://jabber.org/protocol/disco#items";
/// XEP-0033.
pub const ADDRESS: &str = "http://jabber.org/protocol/address";
/// XEP-0045.
pub const MUC: &str = "http://jabber.org/protocol/muc";
/// XEP-0045.
pub const MUC_USER: &str = "http://jabber.org/protocol/muc#user";
/// XEP-0050.
pub const COMMANDS: &str = "http://jabber.org/protocol/commands";
/// XEP-0054.
pub const VCARD: &str = "vcard-temp";
/// XEP-0066.
pub const OOB: &str = "jabber:x:oob";
/// XEP-0077.
pub const REGISTER: &str = "jabber:iq:register";
/// XEP-0085.
pub const CHATSTATES: &str = "http://jabber.org/protocol/chatstates";
/// XEP-0092.
pub const VERSION: &str = "jabber:iq:version";
/// XEP-0100.
pub const GATEWAY: &str = "jabber:iq:gateway";
/// XEP-0115.
pub const CAPS: &str = "http://jabber.org/protocol/caps";
/// XEP-0172.
pub const NICK: &str = "http://jabber.org/protocol/nick";
/// XEP-0184.
pub const RECEIPTS: &str = "urn:xmpp:receipts";
/// XEP-0199.
pub const PING: &str = "urn:xmpp:ping";
/// XEP-0202.
pub const TIME: &str = "urn:xmpp:time";
/// XEP-0203.
pub const DELAY: &str = "urn:xmpp:delay";
/// XEP-0280.
pub const CARBONS: &str = "urn:xmpp:carbons:2";
/// XEP-0292.
pub const VCARD4: &str = "urn:ietf:params:xml:ns:vcard-4.0";
/// XEP-0297.
pub const FORWARD: &str = "urn:xmpp:forward:0";
/// XEP-0308.
pub const CORRECT: &str = "urn:xmpp:message-correct:0";
/// XEP-0333.
pub const MARKERS: &str = "urn:xmpp:chat-markers:0";
/// XEP-0334.
pub const HINTS: &str = "urn:xmpp:hints";
/// XEP-0359.
pub const SID: &str = "urn:xmpp:sid:0";
/// XEP-0380.
pub const EME: &str = "urn:xmpp:eme:0";
/// XEP-0424.
pub const RETRACT: &str = "urn:xmpp:message-retract:1";
/// XEP-0428.
pub const FALLBACK: &str = "urn:xmpp:fallback:0";
/// XEP-0444.
pub const REACTIONS: &str = "urn:xmpp:reactions:0";
/// XEP-0446.
pub const FILE_METADATA: &str = "urn:xmpp:file:metadata:0";
/// XEP-0447.
pub const SFS: &str = "urn:xmpp:sfs:0";
/// XEP-0461.
pub const REPLY: &str = "urn:xmpp:reply:0";
/// XEP-0103, used by XEP-0447 for the address of a file.
pub const URL_DATA: &str = "http://jabber.org/protocol/url-data";
/// XEP-0384 (OMEMO), both spellings in use.
pub const OMEMO: [&str; 2] = ["eu.siacs.conversations.axolotl", "urn:xmpp:omemo:2"];
/// XEP-0027, legacy OpenPGP.
pub const LEGACY_PGP: &str = "jabber:x:encrypted";
/// XEP-0373.
pub const OX: &str = "urn:xmpp:openpgp:0";
/// RFC 6121 section 2.
pub const ROSTER: &str = "jabber:iq:roster";
/// XEP-0055.
pub const SEARCH: &str = "jabber:iq:search";
/// XEP-0060.
pub const PUBSUB: &str = "http://jabber.org/protocol/pubsub";
/// XEP-0060.
pub const PUBSUB_EVENT: &str = "http://jabber.org/protocol/pubsub#event";
/// XEP-0060.
pub const PUBSUB_ERRORS: &str = "http://jabber.org/protocol/pubsub#errors";
/// XEP-0084.
pub const AVATAR_DATA: &str = "urn:xmpp:avatar:data";
/// XEP-0084.
pub const AVATAR_METADATA: &str = "urn:xmpp:avatar:metadata";
/// XEP-0144.
pub const ROSTERX: &str = "http://jabber.org/protocol/rosterx";
/// XEP-0153.
pub const VCARD_UPDATE: &str = "vcard-temp:x:update";
/// XEP-0191.
pub const BLOCKING: &str = "urn:xmpp:blocking";
/// XEP-0490.
pub const MDS: &str = "urn:xmpp:mds:displayed:0";
/// XEP-0402.
pub const BOOKMARKS: &str = "urn:xmpp:bookmarks:1";
