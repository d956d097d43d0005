//! A mail, read: everything the bridge wants to know of it, with no octet of it trusted.

use std::collections::BTreeSet;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use mail_parser::{Addr, HeaderName, HeaderValue};
use sha2::{Digest, Sha256};

use crate::address::Mailbox;

use super::mime::{self, Leaf, Part};
use super::{charset, flowed, quotes, text};

/// Text of one mail, at most, in octets; what is beyond is not read (the mail itself is still kept as a file by whoever wants it).
const MAX_TEXT: usize = 1 << 20;
/// Files of one mail.
const MAX_FILES: usize = 100;
/// Addresses in To and Cc that are looked at.
const MAX_ADDRESSES: usize = 200;
/// Pictures smaller than this are tracking pixels and spacers.
const SMALLEST_PICTURE: usize = 100;

/// An address with the name that was given with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// The address.
    pub mailbox: Mailbox,
    /// Display name.
    pub name: Option<String>,
}

/// A file that came with a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attachment {
    /// Safe name.
    pub name: Option<String>,
    /// Media type.
    pub media_type: String,
    /// Its octets.
    pub octets: Bytes,
}

/// What kind of mail no program may answer by itself, and why (RFC 3834).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Automatic {
    /// `Auto-Submitted` is there and not `no`.
    pub auto_submitted: bool,
    /// `Auto-Submitted: auto-replied`: a program's answer.
    pub auto_replied: bool,
    /// `Precedence: bulk`, `junk` or `list`.
    pub bulk: bool,
    /// It went through a list.
    pub list: bool,
}

impl Automatic {
    /// Nothing automatic may be sent in answer.
    pub(crate) fn any(self) -> bool {
        self.auto_submitted || self.bulk
    }
}

/// A mail, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mail {
    /// The first usable address of From.
    pub from: Option<Person>,
    /// There is one From, and all addresses in it are of one domain: the one that vouches for the mail or disowns it.
    pub author_is_sound: bool,
    /// To.
    pub to: Vec<Person>,
    /// Cc.
    pub cc: Vec<Person>,
    /// Subject.
    pub subject: Option<String>,
    /// Date, if it is one that can be.
    pub date: Option<SystemTime>,
    /// Message-ID without brackets.
    pub id: Option<String>,
    /// In-Reply-To.
    pub in_reply_to: Vec<String>,
    /// References, the oldest first.
    pub references: Vec<String>,
    /// All the text.
    pub whole: String,
    /// What its author wrote: without quoted history, signature and list footer.
    pub text: String,
    /// Files.
    pub files: Vec<Attachment>,
    /// Parts, files or text were left out because there was too much of them.
    pub cut: bool,
    /// What may not be answered automatically.
    pub automatic: Automatic,
    /// Received headers: how far it has come.
    pub hops: usize,
    /// List-Id.
    pub list_id: Option<String>,
    /// List-Post: the list's own address.
    pub list_post: Option<Mailbox>,
    /// List-Unsubscribe, where RFC 8058 allows one click: the https address.
    pub unsubscribe: Option<String>,
    /// List-Unsubscribe by mail: to whom, and with which subject.
    pub unsubscribe_mail: Option<(Mailbox, String)>,
    /// SHA-256 over what its author sent, without the traces of its way.
    pub digest: [u8; 32],
}

/// Reads a mail. Never fails: what cannot be understood is shown as it is.
pub(crate) fn read(raw: &[u8]) -> Mail {
    let part = Part::read(raw);
    let list_id = part.text("List-Id");
    let submitted = part.text("Auto-Submitted").unwrap_or_default();
    let submitted = submitted.split([';', ' ', '(']).next().unwrap_or("");
    let automatic = Automatic {
        auto_submitted: !submitted.is_empty() && !submitted.eq_ignore_ascii_case("no"),
        auto_replied: submitted.eq_ignore_ascii_case("auto-replied"),
        bulk: part
            .text("Precedence")
            .is_some_and(|v| matches!(v.to_ascii_lowercase().as_str(), "bulk" | "junk" | "list")),
        list: list_id.is_some(),
    };
    let mut mail = Mail {
        from: addresses(&part, HeaderName::From).into_iter().next(),
        author_is_sound: has_one_author_domain(&part),
        to: addresses(&part, HeaderName::To),
        cc: addresses(&part, HeaderName::Cc),
        subject: part.text("Subject").map(|s| truncated(&s, 1000).to_owned()),
        date: date(&part),
        id: part.ids("Message-ID").into_iter().next(),
        in_reply_to: part.ids("In-Reply-To"),
        references: part.ids("References"),
        hops: part.count(&HeaderName::Received),
        list_post: list_post(&part),
        unsubscribe: unsubscribe(&part),
        unsubscribe_mail: unsubscribe_mail(&part),
        digest: digest(&part),
        list_id,
        automatic,
        whole: String::new(),
        text: String::new(),
        files: Vec::new(),
        cut: false,
    };
    let leaves = mime::leaves(part);
    mail.cut = leaves.cut;
    for leaf in &leaves.texts {
        let (words, whole) = readable(leaf);
        mail.cut |= !append(&mut mail.whole, &words) || !whole;
    }
    mail.text = quotes::cut(&mail.whole, automatic.list);
    for leaf in leaves.files {
        if mail.files.len() >= MAX_FILES {
            mail.cut = true;
            break;
        }
        mail.files.extend(file(&leaf.part));
    }
    mail
}

/// A mail that could not be read at all, as a file.
pub(crate) fn unreadable(raw: &[u8]) -> Mail {
    let mut mail = read(b"\r\n");
    mail.digest = Sha256::digest(raw).into();
    mail.files.push(Attachment {
        name: Some("message.eml".to_owned()),
        media_type: "message/rfc822".to_owned(),
        octets: Bytes::copy_from_slice(raw),
    });
    mail
}

fn addresses(part: &Part<'_>, name: HeaderName<'static>) -> Vec<Person> {
    let Some(message) = part.headers() else { return Vec::new() };
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    let mut take = |a: &Addr<'_>| {
        let Some(mailbox) = a.address.as_deref().and_then(|a| Mailbox::parse(a.trim()).ok()) else { return };
        if out.len() < MAX_ADDRESSES && seen.insert(mailbox.contact()) {
            let name = a
                .name
                .as_deref()
                .map(mime::one_line)
                .map(|n| truncated(n.trim_matches(['"', '\'', ' ']), 100).to_owned());
            out.push(Person { mailbox, name: name.filter(|n| !n.is_empty()) });
        }
    };
    for header in message.headers().iter().filter(|h| h.name == name) {
        if let HeaderValue::Address(found) = &header.value {
            found.iter().for_each(&mut take);
        }
    }
    out
}

fn has_one_author_domain(part: &Part<'_>) -> bool {
    let Some(message) = part.headers() else { return false };
    let mut fields = message.headers().iter().filter(|h| h.name == HeaderName::From);
    let (Some(field), None) = (fields.next(), fields.next()) else { return false };
    let HeaderValue::Address(found) = &field.value else { return false };
    let mut domains = found.iter().map(|a| {
        let mailbox = Mailbox::parse(a.address.as_deref()?.trim()).ok()?;
        Some(mailbox.domain().to_owned())
    });
    let Some(Some(first)) = domains.next() else { return false };
    !part.is_cut() && domains.all(|domain| domain.as_ref() == Some(&first))
}

fn date(part: &Part<'_>) -> Option<SystemTime> {
    let seconds = match part.headers()?.header(HeaderName::Date)? {
        HeaderValue::DateTime(d) if d.is_valid() => u64::try_from(d.to_timestamp()).ok()?,
        _ => return None,
    };
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn unsubscribe(part: &Part<'_>) -> Option<String> {
    let one_click =
        part.all("List-Unsubscribe-Post").iter().any(|v| v.trim().eq_ignore_ascii_case("List-Unsubscribe=One-Click"));
    if !one_click {
        return None;
    }
    let header = part.all("List-Unsubscribe").join(",");
    header
        .split(['<', '>'])
        .map(str::trim)
        .find(|u| u.len() <= 2000 && u.starts_with("https://") && !u.contains(char::is_whitespace))
        .map(str::to_owned)
}

fn list_post(part: &Part<'_>) -> Option<Mailbox> {
    let header = part.all("List-Post").join(",");
    let link = header.split(['<', '>']).map(str::trim).find_map(|u| u.strip_prefix("mailto:"))?;
    Mailbox::parse(link.split('?').next()?).ok()
}

fn unsubscribe_mail(part: &Part<'_>) -> Option<(Mailbox, String)> {
    let header = part.all("List-Unsubscribe").join(",");
    let link = header.split(['<', '>']).map(str::trim).find_map(|u| u.strip_prefix("mailto:"))?;
    let (address, query) = link.split_once('?').unwrap_or((link, ""));
    let decoded = |text: &str| {
        url::form_urlencoded::parse(text.replace('+', "%2B").as_bytes()).next().map(|(k, _)| k.into_owned())
    };
    let query = query.replace('+', "%2B");
    let subject = url::form_urlencoded::parse(query.as_bytes()).find(|(k, _)| k.eq_ignore_ascii_case("subject"));
    let subject =
        subject.map_or_else(|| "unsubscribe".to_owned(), |(_, v)| truncated(&mime::one_line(&v), 500).to_owned());
    Some((Mailbox::parse(&decoded(address)?).ok()?, subject))
}

/// What makes two copies the same mail: its author's headers and its body. Trace headers differ from one try to the next.
fn digest(part: &Part<'_>) -> [u8; 32] {
    let mut hash = Sha256::new();
    for name in ["From", "To", "Cc", "Subject", "Date", "Message-ID", "Content-Type"] {
        for value in part.all(name) {
            hash.update(value.trim().as_bytes());
            hash.update(b"\n");
        }
        hash.update(b"\0");
    }
    hash.update(part.body);
    hash.finalize().into()
}

/// The words of a part, and whether they are all there are.
fn readable(leaf: &Leaf<'_>) -> (String, bool) {
    let octets = leaf.part.decoded();
    let whole = octets.len() <= 2 * MAX_TEXT;
    let mut octets = &octets[..octets.len().min(2 * MAX_TEXT)];
    // Not in the middle of a character, or all of it would not be UTF-8 any more.
    if octets.len() == 2 * MAX_TEXT {
        let start = octets.iter().rev().take(4).position(|b| *b >= 0xc0 || b.is_ascii());
        if let Some(back) = start.filter(|back| !octets[octets.len() - 1 - back].is_ascii()) {
            octets = &octets[..octets.len() - 1 - back];
        }
    }
    let decoded = charset::decode(octets, leaf.part.parameter("charset"));
    let decoded = decoded.replace("\r\n", "\n").replace('\r', "\n");
    let words = if leaf.html {
        text::html_to_text(&decoded)
    } else if leaf.part.parameter("format").is_some_and(|f| f.eq_ignore_ascii_case("flowed")) {
        flowed::unflow(&decoded, leaf.part.parameter("delsp").is_some_and(|d| d.eq_ignore_ascii_case("yes")))
    } else {
        decoded
    };
    (words.chars().filter(|c| !c.is_control() || matches!(c, '\n' | '\t')).collect(), whole)
}

/// Adds as much as there is room for; `false` if that is not all.
fn append(whole: &mut String, words: &str) -> bool {
    let words = words.trim_matches('\n').trim_end();
    let left = MAX_TEXT.saturating_sub(whole.len() + 2);
    if words.is_empty() || left == 0 {
        return words.is_empty();
    }
    if !whole.is_empty() {
        whole.push_str("\n\n");
    }
    whole.push_str(truncated(words, left));
    words.len() <= left
}

fn file(part: &Part<'_>) -> Option<Attachment> {
    let media_type = part.media_type();
    let octets = Bytes::from(part.decoded().into_owned());
    let picture = media_type.starts_with("image/");
    if octets.is_empty() || picture && octets.len() < SMALLEST_PICTURE && !part.is_attachment() {
        return None;
    }
    let name = part.file_name().or_else(|| match media_type.as_str() {
        "message/rfc822" | "message/global" => forwarded_name(&octets),
        "text/calendar" => Some("invitation.ics".to_owned()),
        "text/html" => Some("text.html".to_owned()),
        "text/plain" => Some("text.txt".to_owned()),
        _ => None,
    });
    Some(Attachment { name, media_type, octets })
}

/// A forwarded mail is named after its subject.
fn forwarded_name(octets: &[u8]) -> Option<String> {
    let subject = Part::read(octets).text("Subject").unwrap_or_else(|| "message".to_owned());
    mime::safe_file_name(&format!("{}.eml", truncated(&subject, 60).replace('/', "-")))
}

/// At most this many octets of a text, whole characters.
pub(crate) fn truncated(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

#[cfg(test)]
#[path = "inbound_tests.rs"]
mod tests;
