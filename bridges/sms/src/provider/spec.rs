//! What a provider file declares.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::select::{Select, When};
use super::template::Template;

/// All of it.
#[derive(Debug)]
pub(crate) struct Spec {
    /// Name for people.
    pub title: String,
    /// Names under `[credentials]`; those with a value have a default.
    pub credentials: BTreeMap<String, Option<String>>,
    /// How numbers are written.
    pub numbers: Numbers,
    /// How a text is sent.
    pub send: Request,
    /// How pictures are sent, where that is possible.
    pub mms: Option<Request>,
    /// How one message to several goes out as one, where that is possible.
    pub group: Option<Request>,
    /// How the answer is read.
    pub answer: Answer,
    /// The provider's codes in terms that have words.
    pub codes: BTreeMap<String, Reason>,
    /// What the provider calls.
    pub webhooks: Vec<Webhook>,
    /// Where media of inbound messages may be fetched from.
    pub media: MediaSource,
}

/// How numbers are written.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Numbers {
    /// Requests want them without the plus.
    pub out_digits: bool,
    /// Webhooks have them in full and without the plus.
    pub in_digits: bool,
}

/// Where fields of a request go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Format {
    /// `application/x-www-form-urlencoded`.
    Form,
    /// JSON.
    Json,
    /// The URL's query.
    Query,
}

/// A request.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    /// GET, POST, PUT.
    pub method: http::Method,
    /// Where.
    pub url: Template,
    /// How it is written.
    pub format: Format,
    /// Headers.
    pub headers: Vec<(http::HeaderName, Template)>,
    /// Who asks.
    pub login: Option<Login>,
    /// What.
    pub fields: Node,
}

/// Who asks.
#[derive(Debug, Clone)]
pub(crate) enum Login {
    /// User and password (RFC 7617).
    Basic(Template, Template),
    /// A token (RFC 6750).
    Bearer(Template),
}

/// A tree of templates.
#[derive(Debug, Clone)]
pub(crate) enum Node {
    /// To be filled.
    Leaf(Template),
    /// As it stands.
    Fixed(serde_json::Value),
    /// An object.
    Map(Vec<(String, Node)>),
    /// A list.
    List(Vec<Node>),
}

/// How an answer is read.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    /// Statuses with which it was taken.
    pub taken: Vec<String>,
    /// What has to hold too.
    pub taken_when: Option<When>,
    /// Statuses with which it was certainly not taken.
    pub refused: Vec<String>,
    /// Statuses worth another try: certainly not taken now.
    pub again: Vec<String>,
    /// Codes worth another try.
    pub again_codes: Vec<String>,
    /// Statuses that say: this key was taken before. Makes the request repeatable.
    pub already: Vec<String>,
    /// The same key twice is one text.
    pub idempotent: bool,
    /// Ids of what was taken.
    pub id: Option<Select>,
    /// The provider's code.
    pub code: Option<Select>,
    /// The provider's words.
    pub words: Option<Select>,
}

/// Why a text failed, in terms that have words in every language.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reason {
    /// The number does not exist or takes no texts.
    NoSuchNumber,
    /// The phone cannot be reached now.
    Unreachable,
    /// Its owner wants no texts.
    OptedOut,
    /// A filter of the provider or the carrier.
    Filtered,
    /// The account may not do that.
    NotAllowed,
    /// Too long.
    TooLong,
    /// The account has no credit.
    NoCredit,
    /// Too fast.
    TooFast,
    /// It expired on its way.
    Expired,
    /// Something of theirs is broken.
    Broken,
}

impl Reason {
    /// The words of a provider file.
    pub(crate) const WORDS: &[(&str, Self)] = &[
        ("no-such-number", Self::NoSuchNumber),
        ("unreachable", Self::Unreachable),
        ("opted-out", Self::OptedOut),
        ("filtered", Self::Filtered),
        ("not-allowed", Self::NotAllowed),
        ("too-long", Self::TooLong),
        ("no-credit", Self::NoCredit),
        ("too-fast", Self::TooFast),
        ("expired", Self::Expired),
        ("broken", Self::Broken),
    ];
}

/// What the provider calls.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    /// Its path under the provider's.
    pub path: String,
    /// Methods it comes by.
    pub methods: Vec<http::Method>,
    /// How it is written.
    pub format: Format,
    /// Where the events are, where one call has several.
    pub each: Option<Select>,
    /// An inbound text.
    pub message: Option<MessageFields>,
    /// A delivery report.
    pub report: Option<ReportFields>,
    /// How it is known to be the provider's.
    pub auth: Auth,
    /// What it is answered with.
    pub reply: HookReply,
}

/// What a webhook is answered with when all is well.
#[derive(Debug, Clone)]
pub(crate) struct HookReply {
    /// Status.
    pub status: http::StatusCode,
    /// Body.
    pub body: String,
    /// Media type of the body.
    pub media_type: http::HeaderValue,
}

/// Where an inbound text has what.
#[derive(Debug, Clone)]
pub(crate) struct MessageFields {
    /// It is one only if this holds.
    pub when: Option<When>,
    /// Sender.
    pub from: Select,
    /// Our number.
    pub to: Option<Select>,
    /// Our number, where the provider does not tell it.
    pub to_is: Option<Template>,
    /// Words.
    pub text: Option<Select>,
    /// In which charset the words are, where they stand in a field.
    pub charset: Option<Select>,
    /// Words as UTF-16 in hex, where this holds.
    pub text_hex: Option<(Select, When)>,
    /// Id.
    pub id: Option<Select>,
    /// When it was sent: RFC 3339 or seconds since the epoch.
    pub at: Option<Select>,
    /// URLs of media.
    pub media: Option<Select>,
    /// Reference, number and count of parts, where joining them is left to us.
    pub parts: Option<[Select; 3]>,
    /// What makes a copy.
    pub once: Vec<OnceField>,
}

/// What makes a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnceField {
    /// The provider's id.
    Id,
    /// The words.
    Text,
    /// The provider's time.
    At,
    /// Media URLs.
    Media,
}

/// Where a report has what.
#[derive(Debug, Clone)]
pub(crate) struct ReportFields {
    /// It is one only if this holds.
    pub when: Option<When>,
    /// Id of the text.
    pub id: Select,
    /// Whose phone, for messages to several.
    pub to: Option<Select>,
    /// State.
    pub status: Select,
    /// The provider's code.
    pub code: Option<Select>,
    /// The provider's words.
    pub words: Option<Select>,
    /// States that mean: on the phone.
    pub delivered: Vec<String>,
    /// States that mean: it will not arrive.
    pub failed: Vec<String>,
    /// States that mean: read.
    pub displayed: Vec<String>,
}

/// How a webhook is known to be the provider's: all that is declared must hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Auth {
    /// It comes from one of these networks.
    pub sources: Vec<(IpAddr, u8)>,
    /// And by this scheme.
    pub scheme: Option<Scheme>,
}

/// A scheme of authentication.
#[derive(Debug, Clone)]
pub(crate) enum Scheme {
    /// A secret as the last part of the path.
    PathSecret(Template),
    /// A secret in a field of the query.
    QuerySecret(String, Template),
    /// A secret in a header.
    HeaderSecret(http::HeaderName, Template),
    /// User and password.
    Basic(Template, Template),
    /// A signature in a header.
    Signature(Signature),
    /// A signed token (RFC 7519, HS256/384/512).
    Token(Token),
}

/// A signature in a header.
#[derive(Debug, Clone)]
pub(crate) struct Signature {
    /// By what.
    pub algorithm: Algorithm,
    /// The secret, or the public key in base64.
    pub key: Template,
    /// Where it stands; several are separated by commas.
    pub header: http::HeaderName,
    /// Hex instead of base64.
    pub hex: bool,
    /// What is signed, one after the other.
    pub over: Vec<Signed>,
    /// Where the time stands, in seconds since the epoch; older or newer than `window` seconds is refused.
    pub timestamp: Option<http::HeaderName>,
    /// See there.
    pub window: u64,
    /// The field of the query that has the SHA-256 of the body in hex, for bodies that are no form.
    pub body_hash: Option<String>,
}

/// By what a signature is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Algorithm {
    /// HMAC-SHA-1.
    HmacSha1,
    /// HMAC-SHA-256.
    HmacSha256,
    /// HMAC-SHA-512.
    HmacSha512,
    /// Ed25519 (RFC 8032).
    Ed25519,
}

/// A piece of what is signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Signed {
    /// The URL as called.
    Url,
    /// The URL without its query, then the query sorted, then a dot if fields follow.
    SortedUrl,
    /// The fields of the form, sorted, name and value joined.
    Fields,
    /// The body.
    Body,
    /// A header.
    Header(http::HeaderName),
    /// These words.
    Words(String),
}

/// A signed token.
#[derive(Debug, Clone)]
pub(crate) struct Token {
    /// Where it stands (after `Bearer `, if that is there).
    pub header: http::HeaderName,
    /// Its secret.
    pub key: Template,
    /// The claim with the SHA-256 of the body in hex.
    pub body_claim: String,
    /// The claim with the SHA-256 of the URL in hex.
    pub url_claim: Option<String>,
    /// Seconds that `iat` may be away, where there is no `exp`.
    pub window: u64,
}

/// Where media of inbound messages may be fetched from.
#[derive(Debug, Clone, Default)]
pub(crate) struct MediaSource {
    /// Hosts; `.example.net` is every host below.
    pub hosts: Vec<String>,
    /// Hosts that are shown the credentials of `[send]`.
    pub login_hosts: Vec<String>,
}

impl MediaSource {
    /// Whether something may be fetched from this host.
    pub(crate) fn allows(&self, host: &str) -> bool {
        Self::has(&self.hosts, host) || self.knows(host)
    }

    /// Whether this host is shown the credentials.
    pub(crate) fn knows(&self, host: &str) -> bool {
        Self::has(&self.login_hosts, host)
    }

    fn has(list: &[String], host: &str) -> bool {
        let host = host.to_ascii_lowercase();
        list.iter().any(|entry| match entry.strip_prefix('.') {
            Some(domain) => host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.')),
            None => *entry == host,
        })
    }
}
