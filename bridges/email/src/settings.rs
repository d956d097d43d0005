//! Settings of the bridge, by their keys.

use isthmus_bridge::{Scope, Setting, SettingKind};

/// Subject of a mail that begins a conversation without one; `{nick}` is the sender's name.
pub(crate) const SUBJECT: &str = "subject";
/// Display name in `From`; empty: the nickname, else the alias.
pub(crate) const NAME: &str = "name";
/// XEP-0393 styling also as an HTML alternative.
pub(crate) const HTML: &str = "html";
/// Seconds in which several messages to the same people become one mail; 0: never.
pub(crate) const JOIN: &str = "join_seconds";
/// `Jabber-ID` header on outbound mail.
pub(crate) const JABBER_ID: &str = "jabber_id";
/// A message to somebody in a conversation of several goes to all of them.
pub(crate) const REPLY_ALL: &str = "reply_all";
/// Ask for a notice when the mail is read (RFC 8098).
pub(crate) const ASK_READ: &str = "ask_read";
/// First contact: [`DELIVER`], [`HOLD`] or [`REFUSE`].
pub(crate) const STRANGERS: &str = "strangers";
/// The subject also as the first line of the body.
pub(crate) const SUBJECT_IN_BODY: &str = "subject_in_body";
/// Quoted history, signatures and footers of lists are cut.
pub(crate) const CUT_QUOTES: &str = "cut_quotes";
/// Characters of an inbound mail that are shown; the rest on request.
pub(crate) const MAX_TEXT: &str = "max_text";
/// Mail of a list comes from [`SENDER`] or from [`LIST`].
pub(crate) const LISTS: &str = "lists";

/// [`STRANGERS`]: delivered like any other.
pub(crate) const DELIVER: &str = "deliver";
/// [`STRANGERS`]: held with a notice.
pub(crate) const HOLD: &str = "hold";
/// [`STRANGERS`]: refused.
pub(crate) const REFUSE: &str = "refuse";
/// [`LISTS`]: from who wrote.
pub(crate) const SENDER: &str = "sender";
/// [`LISTS`]: from the list's address.
pub(crate) const LIST: &str = "list";

/// All of them.
pub(crate) fn all() -> Vec<Setting> {
    use Scope::{Contact, Gateway};
    const BOTH: &[Scope] = &[Gateway, Contact];
    const OWN: &[Scope] = &[Gateway];
    vec![
        Setting::new(SUBJECT, SettingKind::Line, BOTH, "Message from {nick}"),
        Setting::new(NAME, SettingKind::Line, OWN, ""),
        Setting::new(HTML, SettingKind::Bool, BOTH, "true"),
        Setting::new(JOIN, SettingKind::Number { min: 0, max: 600 }, BOTH, "30"),
        Setting::new(JABBER_ID, SettingKind::Bool, BOTH, "true"),
        Setting::new(REPLY_ALL, SettingKind::Bool, BOTH, "false"),
        Setting::new(ASK_READ, SettingKind::Bool, BOTH, "false"),
        Setting::new(
            STRANGERS,
            SettingKind::Choice(&[(DELIVER, "Deliver"), (HOLD, "Hold and ask me"), (REFUSE, "Refuse")]),
            OWN,
            DELIVER,
        ),
        Setting::new(SUBJECT_IN_BODY, SettingKind::Bool, BOTH, "true"),
        Setting::new(CUT_QUOTES, SettingKind::Bool, BOTH, "true"),
        Setting::new(MAX_TEXT, SettingKind::Number { min: 200, max: 100_000 }, BOTH, "10000"),
        Setting::new(LISTS, SettingKind::Choice(&[(SENDER, "From who wrote"), (LIST, "From the list")]), BOTH, SENDER),
    ]
}
