//! Persons who do something else than answer: they bring a contact list, a picture, a file, what the user said elsewhere; and the directory.

use std::time::Duration;

use bytes::Bytes;

use crate::address::{Address, ContactId, NetworkId};
use crate::host::{Fetch, Host, SessionOf};
use crate::inbound::{Event, Listed};
use crate::message::{File, FileSource, Media, Message};
use crate::query::{Part, Reply};
use crate::settings::Values;

/// A picture of one pixel.
const PICTURE: &[u8] = &[
    0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a, 0x00, 0x00, 0x00, 0x0d, 0x49, 0x48, 0x44, 0x52, 0x00, 0x00, 0x00,
    0x01, 0x00, 0x00, 0x00, 0x01, 0x08, 0x06, 0x00, 0x00, 0x00, 0x1f, 0x15, 0xc4, 0x89, 0x00, 0x00, 0x00, 0x0d, 0x49,
    0x44, 0x41, 0x54, 0x78, 0x9c, 0x63, 0xf8, 0xff, 0xff, 0xff, 0x7f, 0x00, 0x09, 0xfb, 0x03, 0xfd, 0x05, 0x43, 0x45,
    0xca, 0x00, 0x00, 0x00, 0x00, 0x49, 0x45, 0x4e, 0x44, 0xae, 0x42, 0x60, 0x82,
];

/// What `fetch` follows links for: bytes, and a time.
const FETCHED: (u64, Duration) = (10_000, Duration::from_secs(2));

/// Who does what when this is said to this contact; `None`: they answer like anybody.
pub(super) async fn told(
    host: &Host,
    of: &SessionOf,
    contact: &ContactId,
    message: &Message,
) -> Option<(Address, Event)> {
    let (at, words) = (Address::Contact(contact.clone()), message.body.as_str());
    let (name, network) = contact.as_str().rsplit_once('%')?;
    match name {
        "elsewhere" => Some((at, Event::Sent(Box::new(Message::chat(format!("elsewhere: {words}")))))),
        "roster" => Some((Address::Network(network.into()), Event::ContactList(list(words, network)))),
        "face" if words == "none" => Some((at, Event::Photo(None))),
        "face" => {
            let media = Media::new(Some("face.png".to_owned()), "image/png", Some(PICTURE.len() as u64));
            let kept = host.keep(Bytes::from_static(PICTURE), media).await.ok()?;
            Some((at, Event::Photo(Some(kept))))
        }
        "file" => {
            let media = Media::new(Some("a file.png".to_owned()), "image/png", Some(PICTURE.len() as u64));
            let kept = host.keep(Bytes::from_static(PICTURE), media.clone()).await.ok()?;
            let mut message = Message::chat(words);
            message.files.push(File::new(FileSource::Blob(kept), media));
            Some((at, Event::Message(Box::new(message))))
        }
        "fetch" => {
            let Some(FileSource::Url(url)) = message.files.first().map(|file| &file.source) else { return None };
            let fetched = host.fetch(url, Fetch::new(of.user.clone(), FETCHED.0, FETCHED.1)).await;
            let words = match fetched {
                Ok(blob) => match host.blob(&blob).await.ok()? {
                    Some((body, media)) => format!("{url}: {} bytes of {}", body.len(), media.media_type),
                    None => format!("{url}: gone"),
                },
                Err(error) => format!("{url}: {:?}", error.failure),
            };
            Some((at, Event::Message(Box::new(Message::chat(words)))))
        }
        _ => None,
    }
}

/// `ann=Ann Smith/Friends,Work; ben`.
fn list(words: &str, network: &str) -> Vec<Listed> {
    let one = |entry: &str| {
        let (who, groups) = entry.split_once('/').unwrap_or((entry, ""));
        let (contact, name) = who.split_once('=').unwrap_or((who, ""));
        let mut listed = Listed::new(ContactId::new(format!("{}%{network}", contact.trim())));
        listed.name = Some(name.trim().to_owned()).filter(|name| !name.is_empty());
        listed.groups = groups.split(',').map(|g| g.trim().to_owned()).filter(|g| !g.is_empty()).collect();
        listed
    };
    words.split(';').map(str::trim).filter(|entry| !entry.is_empty()).map(one).collect()
}

/// Everybody is in the directory under the nick that is asked for, and once more as their own twin.
pub(super) fn search(network: &NetworkId, values: &Values, mut reply: Reply) {
    if let Some(nick) = values.get("nick").filter(|nick| !nick.is_empty()) {
        for nick in [nick.to_owned(), format!("{nick}-twin")] {
            let contact = format!("{nick}%{network}");
            reply.part(Part::Facts(Values::new().with("contact", contact).with("nick", nick)));
        }
    }
    reply.done();
}
