//! The only maker of a stanza error: [`Failure`] → RFC 6120 section 8.3, in one exhaustive `match`.

use super::{ns, xml::Xml};
use isthmus_bridge::{BadAddress, DeliveryError, Failure, StoreError, Text};

/// The `type` of a stanza error (RFC 6120 section 8.3.2): what the sender can do about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorType {
    /// Retry after providing credentials.
    Auth,
    /// Do not retry.
    Cancel,
    /// Retry after changing the data.
    Modify,
    /// Retry after waiting.
    Wait,
}

impl ErrorType {
    /// As in the attribute.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Cancel => "cancel",
            Self::Modify => "modify",
            Self::Wait => "wait",
        }
    }
}

/// A stanza error before it has words in the sender's language.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{condition}")]
pub struct StanzaError {
    /// What the sender can do.
    pub kind: ErrorType,
    /// The defined condition (RFC 6120 section 8.3.3), such as `item-not-found`.
    pub condition: &'static str,
    /// One sentence.
    pub text: Option<Text>,
    /// An application-specific condition (RFC 6120 section 8.3.4) and its namespace, such as XEP-0050's `bad-action`.
    pub specific: Option<(&'static str, &'static str)>,
    /// What stands within the condition: the new address of `redirect` and `gone`.
    pub inner: Option<Box<str>>,
}

impl StanzaError {
    /// An error without words.
    pub const fn new(kind: ErrorType, condition: &'static str) -> Self {
        Self { kind, condition, text: None, specific: None, inner: None }
    }

    /// With this within the condition (RFC 6120 sections 8.3.3.5 and 8.3.3.15).
    #[must_use]
    pub fn within(mut self, inner: String) -> Self {
        self.inner = Some(inner.into());
        self
    }

    /// With an application-specific condition of this namespace.
    #[must_use]
    pub const fn specific(mut self, condition: &'static str, ns: &'static str) -> Self {
        self.specific = Some((condition, ns));
        self
    }

    /// With one sentence.
    #[must_use]
    pub fn with(mut self, text: impl Into<Text>) -> Self {
        self.text = Some(text.into());
        self
    }

    /// `cancel/service-unavailable`: nothing here serves that.
    pub const fn service_unavailable() -> Self {
        Self::new(ErrorType::Cancel, "service-unavailable")
    }

    /// `cancel/item-not-found`.
    pub const fn item_not_found() -> Self {
        Self::new(ErrorType::Cancel, "item-not-found")
    }

    /// `modify/bad-request`.
    pub const fn bad_request() -> Self {
        Self::new(ErrorType::Modify, "bad-request")
    }

    /// `modify/jid-malformed`.
    pub const fn jid_malformed() -> Self {
        Self::new(ErrorType::Modify, "jid-malformed")
    }

    /// `auth/forbidden`.
    pub const fn forbidden() -> Self {
        Self::new(ErrorType::Auth, "forbidden")
    }

    /// `cancel/not-allowed`.
    pub const fn not_allowed() -> Self {
        Self::new(ErrorType::Cancel, "not-allowed")
    }

    /// `modify/not-acceptable`.
    pub const fn not_acceptable() -> Self {
        Self::new(ErrorType::Modify, "not-acceptable")
    }

    /// `auth/registration-required`.
    pub const fn registration_required() -> Self {
        Self::new(ErrorType::Auth, "registration-required")
    }

    /// `wait/resource-constraint`.
    pub const fn resource_constraint() -> Self {
        Self::new(ErrorType::Wait, "resource-constraint")
    }

    /// Writes the `<error/>` element; `words` puts the sentence into the reader's language.
    pub fn write(&self, xml: &mut Xml, words: impl FnOnce(&Text) -> String) {
        self.write_as(xml, None, words);
    }

    /// The same with the code of XEP-0086, by which old clients know why a join failed (XEP-0045 section 7.2).
    pub fn write_coded(&self, xml: &mut Xml, words: impl FnOnce(&Text) -> String) {
        self.write_as(xml, code(self.condition), words);
    }

    fn write_as(&self, xml: &mut Xml, code: Option<&str>, words: impl FnOnce(&Text) -> String) {
        xml.open("error", "").attr("type", self.kind.as_str()).attr_opt("code", code);
        xml.open(self.condition, ns::STANZAS);
        if let Some(inner) = &self.inner {
            xml.text(inner);
        }
        xml.close();
        if let Some(text) = &self.text {
            xml.leaf("text", ns::STANZAS, &words(text));
        }
        if let Some((condition, ns)) = self.specific {
            xml.empty(condition, ns);
        }
        xml.close();
    }
}

impl From<&DeliveryError> for StanzaError {
    fn from(error: &DeliveryError) -> Self {
        let (kind, condition) = condition(&error.failure);
        // A condition that is gone for good must not read as "try again": clients would.
        let kind =
            if kind == ErrorType::Wait && error.sent == isthmus_bridge::Sent::Maybe { ErrorType::Cancel } else { kind };
        Self { kind, condition, text: Some(error.text.clone()), specific: None, inner: None }
    }
}

impl From<&BadAddress> for StanzaError {
    fn from(bad: &BadAddress) -> Self {
        match bad {
            BadAddress::Unknown(words) => Self::item_not_found().with(words.clone()),
            BadAddress::Malformed(words) => Self::jid_malformed().with(words.clone()),
            _ => Self::item_not_found(),
        }
    }
}

impl From<&StoreError> for StanzaError {
    /// The words stay in the log: a sender can do nothing with the name of a table.
    fn from(_: &StoreError) -> Self {
        Self::new(ErrorType::Wait, "internal-server-error").with(Text::key("error.storage"))
    }
}

/// XEP-0086.
fn code(condition: &str) -> Option<&'static str> {
    Some(match condition {
        "conflict" => "409",
        "not-authorized" => "401",
        "forbidden" => "403",
        "item-not-found" => "404",
        "not-allowed" => "405",
        "not-acceptable" => "406",
        "registration-required" => "407",
        "redirect" => "302",
        "service-unavailable" | "resource-constraint" => "503",
        "remote-server-not-found" | "recipient-unavailable" => "404",
        "remote-server-timeout" => "504",
        _ => return None,
    })
}

/// Type and condition of a failure.
fn condition(failure: &Failure) -> (ErrorType, &'static str) {
    use ErrorType::{Auth, Cancel, Modify, Wait};
    match failure {
        Failure::NoSuchRecipient => (Cancel, "item-not-found"),
        Failure::NotJoined => (Modify, "not-acceptable"),
        Failure::NotRegistered => (Auth, "registration-required"),
        Failure::BadCredentials | Failure::PasswordRequired => (Auth, "not-authorized"),
        Failure::Forbidden => (Auth, "forbidden"),
        Failure::Rejected => (Cancel, "not-acceptable"),
        Failure::TooLong { .. } => (Modify, "policy-violation"),
        Failure::Unsupported => (Cancel, "feature-not-implemented"),
        Failure::Conflict => (Cancel, "conflict"),
        Failure::Full => (Wait, "service-unavailable"),
        Failure::OverQuota => (Wait, "policy-violation"),
        Failure::Throttled { .. } => (Wait, "resource-constraint"),
        Failure::Unreachable => (Wait, "remote-server-not-found"),
        Failure::NotConnected => (Cancel, "recipient-unavailable"),
        Failure::TimedOut => (Wait, "remote-server-timeout"),
        Failure::Unknown => (Cancel, "undefined-condition"),
        // `Failure` is non-exhaustive for other crates; a new one reads as an unknown failure until it has its line here.
        _ => (Cancel, "undefined-condition"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_becomes_type_condition_and_words() {
        let error = DeliveryError::new(Failure::NoSuchRecipient, "550 5.1.1 no such user");
        let mut xml = Xml::stanza("message");
        StanzaError::from(&error).write(&mut xml, ToString::to_string);
        assert_eq!(
            xml.finish(),
            "<message><error type='cancel'><item-not-found xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>\
             <text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>550 5.1.1 no such user</text></error></message>"
        );
    }

    #[test]
    fn what_may_have_been_sent_is_not_to_be_sent_again() {
        let mut error = DeliveryError::uncertain("cut off");
        error.failure = Failure::TimedOut;
        assert_eq!(StanzaError::from(&error).kind, ErrorType::Cancel);
    }
}
