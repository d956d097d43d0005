//! Media of inbound messages: fetched at once, from the provider's hosts only, and kept before the message is accepted.

use std::time::Duration;

use bytes::Bytes;
use isthmus_bridge::{File, FileSource, Host, Media, Refused};
use tokio::time::Instant;
use tracing::info;
use url::Url;

use crate::Texts;
use crate::config::Provider;
use crate::provider::request;

/// Files of one message, at most.
const MOST: usize = 20;
/// Tries for each.
const TRIES: usize = 2;
/// Time for all of a message's together: its words wait for them, and neither the core (30 s) nor the provider (Twilio: 15 s) waits for ever.
const BUDGET: Duration = Duration::from_secs(10);

/// The files of a message. One that cannot be had is named as missing; `Err`: the store is away.
pub(crate) async fn keep(
    texts: &Texts,
    provider: &Provider,
    urls: &[String],
    host: &Host,
) -> Result<Vec<File>, Refused> {
    let mut files = Vec::new();
    let until = Instant::now() + BUDGET.min(texts.config.timeout);
    for (number, address) in urls.iter().take(MOST).enumerate() {
        let name = |media_type: &str| Some(format!("media-{}{}", number + 1, ending(media_type)));
        let late = || Err("there was no time left for it".to_owned());
        let fetched = match Instant::now() < until {
            true => tokio::time::timeout_at(until, fetch(texts, provider, address)).await.unwrap_or_else(|_| late()),
            false => late(),
        };
        match fetched {
            Ok((body, media_type)) => {
                let media = Media::new(name(&media_type), media_type, Some(body.len() as u64));
                let id = host.keep(body, media.clone()).await?;
                files.push(File::new(FileSource::Blob(id), media));
            }
            Err(why) => {
                info!(provider = provider.name, why, "a file of a text could not be fetched");
                files.push(File::new(FileSource::Missing, Media::new(name(""), "application/octet-stream", None)));
            }
        }
    }
    Ok(files)
}

/// A message of eight bits that is no text (a business card of an old phone, say) as a file.
pub(crate) async fn keep_data(data: &Bytes, host: &Host) -> Result<File, Refused> {
    let media = Media::new(Some("message.bin".to_owned()), "application/octet-stream", Some(data.len() as u64));
    let id = host.keep(data.clone(), media.clone()).await?;
    Ok(File::new(FileSource::Blob(id), media))
}

async fn fetch(texts: &Texts, provider: &Provider, address: &str) -> Result<(Bytes, String), String> {
    let url = Url::parse(address).map_err(|_| "its address is none")?;
    let login = request::login(provider.spec.send.login.as_ref(), &provider.fillings()).unwrap_or(None);
    let mut last = String::new();
    for _ in 0..TRIES {
        match texts.http.fetch(&provider.spec.media, &url, login.as_ref(), texts.config.media_max).await {
            Ok((body, media_type)) => return Ok((body, plain(&media_type))),
            Err(why) => last = why,
        }
    }
    Err(last)
}

/// The type alone, in lower case, where it is one.
fn plain(media_type: &str) -> String {
    let bare = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let token =
        |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b));
    match bare.split_once('/') {
        Some((a, b)) if token(a) && token(b) => bare,
        _ => "application/octet-stream".to_owned(),
    }
}

fn ending(media_type: &str) -> &'static str {
    match media_type {
        "image/jpeg" => ".jpg",
        "image/png" => ".png",
        "image/gif" => ".gif",
        "image/webp" => ".webp",
        "video/mp4" => ".mp4",
        "video/3gpp" => ".3gp",
        "audio/mpeg" => ".mp3",
        "audio/amr" => ".amr",
        "text/plain" => ".txt",
        "text/vcard" | "text/x-vcard" => ".vcf",
        "application/pdf" => ".pdf",
        _ => "",
    }
}
