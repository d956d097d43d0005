//! `full`, `verdict`, `unsubscribe`: a second look at a mail.

use isthmus_bridge::{Address, Call, DeliveryError, Failure, Gateway, Note, Step, Text};

use super::{MAIL, choose};
use crate::session::store_away;
use crate::smtp::{Envelope, Start};
use crate::state::{self, KeptMail};
use crate::translate::outbound::{self as translate, Draft};
use crate::{Mail, address::Mailbox, unsubscribe};

/// Mails in a list to choose from.
const SHOWN: usize = 20;
/// Characters of a whole text in one answer.
const MAX_TEXT: usize = 60_000;

/// The whole text.
pub(super) async fn full(call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let (_, mail) = match find(call, host, |_| true).await? {
        Ok(found) => found,
        Err(step) => return Ok(step),
    };
    let end = mail.text.char_indices().nth(MAX_TEXT).map(|(end, _)| end);
    let text = &mail.text[..end.unwrap_or(mail.text.len())];
    let head = Text::key("full.of").with("subject", &mail.subject).with("address", &mail.from);
    let mut notes = vec![Note::Info(head), Note::Info(Text::plain(text))];
    if end.is_some() || mail.cut {
        notes.push(Note::Info(Text::key("full.cut")));
    }
    Ok(Step::Done { notes, table: None })
}

/// What the checks said.
pub(super) async fn verdict(call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let (_, mail) = match find(call, host, |_| true).await? {
        Ok(found) => found,
        Err(step) => return Ok(step),
    };
    let text = Text::key("verdict.of").with("subject", &mail.subject).with("address", &mail.from);
    Ok(Step::Done { notes: vec![Note::Info(text), Note::Info(Text::plain(mail.verdict))], table: None })
}

/// Leaves the list: by one click where the list offers it (RFC 8058), else by a mail.
pub(super) async fn unsubscribe(mail: &Mail, call: &Call, host: &dyn Gateway) -> Result<Step, DeliveryError> {
    let wanted = |m: &KeptMail| m.unsubscribe_url.is_some() || m.unsubscribe_mail.is_some();
    let (id, kept) = match find(call, host, wanted).await? {
        Ok(found) => found,
        Err(step) => return Ok(step),
    };
    if let Some(url) = &kept.unsubscribe_url {
        match unsubscribe::one_click(url).await {
            Ok(()) => return Ok(Step::done(Text::key("unsubscribed").with("address", &kept.from))),
            Err(error) => tracing::info!(%error, "a list could not be left by one click"),
        }
    }
    let Some((to, subject)) = &kept.unsubscribe_mail else {
        return Err(DeliveryError::new(Failure::Unreachable, Text::key("not-unsubscribed")));
    };
    by_mail(mail, call, host, &id, to, subject).await?;
    Ok(Step::done(Text::key("unsubscribed").with("address", &kept.from)))
}

async fn by_mail(
    mail: &Mail,
    call: &Call,
    host: &dyn Gateway,
    id: &str,
    to: &Mailbox,
    subject: &str,
) -> Result<(), DeliveryError> {
    let own = host.identities(&call.user).await.map_err(store_away)?;
    let from = own.first().and_then(|own| Mailbox::parse(own.as_str()).ok());
    let from = from.ok_or_else(|| DeliveryError::new(Failure::NotRegistered, Text::key("register-first")))?;
    let name: String = id.chars().filter(char::is_ascii_alphanumeric).take(40).collect();
    let draft = Draft {
        name: None,
        to: vec![to.clone()],
        cc: Vec::new(),
        date: host.now(),
        message_id: format!("unsubscribe.{name}@{}", mail.config.mail_domain),
        references: Vec::new(),
        subject: if subject.is_empty() { "unsubscribe".to_owned() } else { subject.to_owned() },
        text: "unsubscribe".to_owned(),
        html: false,
        files: Vec::new(),
        jabber_id: None,
        ask_read: false,
        from: from.clone(),
    };
    let written =
        translate::write(&draft).map_err(|_| DeliveryError::new(Failure::Rejected, Text::key("not-writable")))?;
    let envelope = Envelope { sender: Some(from.to_string()), to: to.clone(), id: None, utf8: written.utf8 };
    let bytes = mail.signed(written.bytes);
    mail.relay.send(&envelope, &bytes, &mut Start::unasked()).await.map(drop)
}

/// The mail that the form names; else the only one there is; else a form to choose from.
async fn find(
    call: &Call,
    host: &dyn Gateway,
    wanted: impl Fn(&KeptMail) -> bool,
) -> Result<Result<(String, KeptMail), Step>, DeliveryError> {
    let mut mails = state::kept_mails(host, &call.user).await.map_err(store_away)?;
    mails.retain(|(_, mail)| wanted(mail));
    if let Some(id) = call.values.get(MAIL) {
        let found = mails.into_iter().find(|(known, _)| known == id);
        return Ok(found.ok_or_else(|| Step::done(Text::key("no-such-mail"))));
    }
    if let Address::Contact(contact) = &call.at {
        mails.retain(|(_, mail)| mail.from == *contact);
    }
    if mails.len() <= 1 {
        return Ok(mails.pop().ok_or_else(|| Step::done(Text::key("no-such-mail"))));
    }
    let label = |mail: &KeptMail| Text::plain(format!("{}: {}", mail.from, mail.subject));
    let choices = mails.iter().take(SHOWN).map(|(id, mail)| (id.clone(), label(mail))).collect();
    Ok(Err(choose("mails.title", MAIL, choices)))
}
