//! Gives one text to a provider: which one, in which request, and another one only where the first certainly did not take it.

use std::time::Duration;

use isthmus_bridge::{BareJid, ContactId, DeliveryError, Failure, Host, Retry, Sent, Text};
use tracing::{error, info};

use crate::Texts;
use crate::config::Provider;
use crate::provider::answer::{self, Verdict};
use crate::provider::client::Http;
use crate::provider::request;
use crate::provider::spec::{Reason, Request, Scheme};
use crate::provider::template::{Filling, Fillings, percent};
use crate::state;
use crate::translate::letters::{Alphabet, alphabet, segments, ucs2_hex};
use crate::translate::number::{Number, Shortened};

/// Pauses between tries of one request at a provider that takes a key twice as one text.
const AGAIN: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// The longest that one provider takes for one text.
pub(crate) fn longest(timeout: Duration) -> Duration {
    let tries = u32::try_from(AGAIN.len()).unwrap_or(u32::MAX) + 1;
    timeout * tries + AGAIN.iter().sum::<Duration>()
}

/// What is sent.
#[derive(Debug, Clone)]
pub(crate) struct Sending {
    /// Its own key, the same in every try: idempotency key, and id where the provider gives none.
    pub key: String,
    /// The number it comes from.
    pub own: ContactId,
    /// The numbers it goes to; several only in a group message.
    pub to: Vec<Number>,
    /// Words.
    pub text: String,
    /// Addresses of pictures.
    pub media: Vec<String>,
}

impl Sending {
    /// Segments that it is counted as.
    pub(crate) fn segments(&self) -> u64 {
        u64::from(segments(&self.text))
    }
}

/// What a provider took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Taken {
    /// Ids, each with the provider's name before it: two providers may use one twice.
    pub ids: Vec<String>,
}

/// Providers that can carry it, in the order in which they are asked.
pub(crate) fn candidates<'t>(texts: &'t Texts, sending: &Sending) -> Vec<&'t Provider> {
    let config = &texts.config;
    let tied = config.numbers.iter().find(|n| n.number == sending.own).and_then(|n| n.provider.as_deref());
    let fits = |provider: &Provider| {
        let mut least = usize::MAX;
        for number in &sending.to {
            least = least.min(provider.carries(number.as_str())?);
        }
        Some(least)
    };
    let usable = |p: &&Provider| tied.is_none_or(|name| name == p.name) && wanted(p, sending).is_some();
    let mut all: Vec<(usize, u64, &Provider)> = config
        .providers
        .iter()
        .filter(usable)
        .filter_map(|p| Some((fits(p)?, sending.to.first().map_or(0, |n| p.price(n.as_str())), p)))
        .collect();
    // The order of the configuration is kept among equals.
    all.sort_by_key(|(fit, price, _)| (usize::MAX - fit, if config.by_price { *price } else { 0 }));
    all.into_iter().map(|(_, _, p)| p).collect()
}

/// The request that a provider has for it.
fn wanted<'p>(provider: &'p Provider, sending: &Sending) -> Option<&'p Request> {
    match (sending.to.len(), sending.media.is_empty()) {
        (0 | 1, true) => Some(&provider.spec.send),
        (0 | 1, false) => provider.spec.mms.as_ref(),
        _ => provider.spec.group.as_ref(),
    }
}

/// Gives it to the first provider that takes it. `attempt` is the core's: a second try goes to who may have it already.
pub(crate) async fn carry(
    texts: &Texts,
    host: &Host,
    user: &BareJid,
    sending: &Sending,
    attempt: u32,
) -> Result<Taken, DeliveryError> {
    let mut list = candidates(texts, sending);
    if texts.profile.idempotent && list.len() > 1 {
        // Only then an uncertain try is repeated, and the key counts at one provider alone.
        match state::pinned(host.as_ref(), &sending.key).await.map_err(crate::session::store_away)? {
            Some(name) if attempt > 0 => list.retain(|p| p.name == name),
            _ => {}
        }
    }
    let mut failed: Option<DeliveryError> = None;
    for provider in list {
        if texts.profile.idempotent && texts.config.providers.len() > 1 {
            let pin = state::pin(host.now(), &sending.key, &provider.name);
            host.store(vec![pin]).await.map_err(crate::session::store_away)?;
        }
        match give(&texts.http, provider, sending, report_url(host, provider)).await {
            Ok(taken) => return Ok(taken),
            Err(error) => {
                info!(
                    provider = provider.name, %user, to = ?sending.to.iter().map(|n| Shortened(n.as_str())).collect::<Vec<_>>(),
                    failure = ?error.failure, code = error.code, sent = ?error.sent, "a text was not taken"
                );
                let certain = error.sent == Sent::No;
                // Another provider would find the same fault with the number or the words, but not with the account or the network. Who wants no
                // texts from one gets none from another, and what a filter stops is not carried past it.
                let reason = error.code.as_deref().and_then(|code| provider.spec.codes.get(code));
                let of_the_text = reason.is_some_and(|reason| {
                    matches!(reason, Reason::NoSuchNumber | Reason::OptedOut | Reason::Filtered | Reason::TooLong)
                });
                let better = failed.as_ref().is_none_or(|f| f.retry == Retry::Never || !certain);
                if better {
                    failed = Some(error);
                }
                if !certain || of_the_text {
                    break;
                }
            }
        }
    }
    Err(failed.unwrap_or_else(|| DeliveryError::new(Failure::Forbidden, Text::key("no-provider"))))
}

/// Gives it to this one.
pub(crate) async fn give(
    http: &Http,
    provider: &Provider,
    sending: &Sending,
    report_url: Option<String>,
) -> Result<Taken, DeliveryError> {
    let Some(declared) = wanted(provider, sending) else {
        return Err(DeliveryError::new(Failure::Unsupported, Text::key("no-provider")));
    };
    let spec = &provider.spec;
    let with = fillings(provider, sending, report_url);
    let mut pauses = AGAIN.iter();
    loop {
        let ready = request::make(declared, &with).map_err(|fault| {
            error!(provider = provider.name, fault, "the provider file makes no request of a text");
            DeliveryError::temporary(Failure::Unreachable, Text::key("provider-away").with("provider", &spec.title))
        })?;
        let outcome = match http.send(&spec.title, ready).await {
            Ok(got) => match answer::read(spec, &sending.key, got.status, &got.headers, &got.body) {
                Verdict::Taken(ids) => Ok(ids),
                Verdict::Failed(error) => Err(error),
            },
            Err(error) => Err(error),
        };
        match (outcome, pauses.next()) {
            (Ok(mut ids), _) => {
                if ids.is_empty() {
                    ids.push(sending.key.clone());
                }
                return Ok(Taken { ids: ids.iter().map(|id| foreign(&provider.name, id)).collect() });
            }
            // It may have arrived; the key makes it one text all the same.
            (Err(error), Some(pause)) if error.sent == Sent::Maybe && spec.answer.idempotent => {
                tokio::time::sleep(*pause).await;
            }
            (Err(error), _) => return Err(error),
        }
    }
}

/// The core's id of a provider's.
pub(crate) fn foreign(provider: &str, id: &str) -> String {
    format!("{provider}:{id}")
}

fn fillings(provider: &Provider, sending: &Sending, report_url: Option<String>) -> Fillings {
    let spec = &provider.spec;
    let mut with = provider.fillings();
    let written = |number: &str| match number.strip_prefix('+') {
        Some(digits) if spec.numbers.out_digits => digits.to_owned(),
        _ => number.to_owned(),
    };
    let unicode = alphabet(&sending.text) == Alphabet::Ucs2;
    if let Some(first) = sending.to.first() {
        with.text("to", written(first.as_str()));
    }
    with.set("to_list", Filling::List(sending.to.iter().map(|n| written(n.as_str())).collect()));
    with.text("from", written(sending.own.as_str()));
    with.text("key", &sending.key);
    with.set("unicode", Filling::Flag(unicode));
    with.set("segments", Filling::Number(sending.segments()));
    if !sending.text.is_empty() || sending.media.is_empty() {
        with.text("text", &sending.text);
    }
    if unicode {
        with.text("ucs2_text", &sending.text);
        with.text("ucs2_hex", ucs2_hex(&sending.text));
    } else {
        with.text("gsm_text", &sending.text);
    }
    if let Some(first) = sending.media.first() {
        with.text("media_first", first);
        with.set("media", Filling::List(sending.media.clone()));
    }
    if let Some(url) = report_url {
        with.text("report_url", url);
    }
    with
}

/// Where the provider is to report; `None` where the gateway cannot be reached from outside.
pub(crate) fn report_url(host: &Host, provider: &Provider) -> Option<String> {
    let hooks = &provider.spec.webhooks;
    let reports = || hooks.iter().filter(|h| h.report.is_some());
    let hook = reports().find(|h| h.path == "report").or_else(|| reports().next())?;
    webhook_url(host.public_url()?, host.name(), provider, &hook.path)
}

/// The address of a webhook, with its secret where that stands in it.
pub(crate) fn webhook_url(public: &url::Url, bridge: &str, provider: &Provider, path: &str) -> Option<String> {
    let hook = provider.spec.webhooks.iter().find(|h| h.path == path)?;
    let base = public.as_str().trim_end_matches('/');
    let url = format!("{base}/hooks/{}/{}/{}", percent(bridge), percent(&provider.name), percent(path));
    let with = provider.fillings();
    Some(match &hook.auth.scheme {
        Some(Scheme::PathSecret(secret)) => format!("{url}/{}", percent(&secret.plain(&with)?)),
        Some(Scheme::QuerySecret(field, secret)) => {
            format!("{url}?{}={}", percent(field), percent(&secret.plain(&with)?))
        }
        _ => url,
    })
}
