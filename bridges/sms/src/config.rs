//! The bridge's section of the configuration: `bridges/sms.toml`.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use isthmus_bridge::section::Table;
use isthmus_bridge::{BareJid, ConfigError, ContactId, Section};
use secrecy::SecretString;
use serde_json::Value;

use crate::provider::read;
use crate::provider::spec::Spec;
use crate::provider::template::Fillings;
use crate::translate::country::country;
use crate::translate::number::{Number, Plan};

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

/// All of it, checked.
#[derive(Debug)]
pub(crate) struct Config {
    /// The bridge's name.
    pub name: String,
    /// Name for people, in service discovery.
    pub title: String,
    /// How numbers are completed.
    pub plan: Plan,
    /// Short codes that may be written to before they wrote.
    pub short_codes: Vec<String>,
    /// Who carries texts, in the order of the configuration.
    pub providers: Vec<Provider>,
    /// The cheapest provider first, instead of the first one.
    pub by_price: bool,
    /// The gateway's own numbers.
    pub numbers: Vec<OwnNumber>,
    /// Users may claim a number with a texted code.
    pub claim: bool,
    /// Bounds.
    pub limits: Limits,
    /// Words that a recipient opts out with, and back in.
    pub keywords: Keywords,
    /// A text that could not be handed over for so long fails.
    pub max_age: Duration,
    /// Parts of a longer text are waited for so long.
    pub parts_wait: Duration,
    /// Bytes of one inbound picture, at most.
    pub media_max: usize,
    /// Time for a provider's answer; giving up makes an uncertain delivery.
    pub timeout: Duration,
}

/// A provider with what the administrator says of it.
#[derive(Debug)]
pub(crate) struct Provider {
    /// Its name: in webhook addresses, and before its ids.
    pub name: String,
    /// What its file declares.
    pub spec: Arc<Spec>,
    /// Names of its file with their values.
    pub credentials: BTreeMap<String, SecretString>,
    /// Numbers that it carries; empty: all.
    pub prefixes: Vec<String>,
    /// Price of a segment in millionths, by prefix.
    pub prices: Vec<(String, u64)>,
}

impl Provider {
    /// For its templates.
    pub(crate) fn fillings(&self) -> Fillings {
        Fillings::new(self.credentials.clone())
    }

    /// Price of a segment to this number, in millionths; 0 where none is known.
    pub(crate) fn price(&self, number: &str) -> u64 {
        longest(&self.prices, number).unwrap_or(0)
    }

    /// How much of a number its prefixes name; `None`: it does not carry it.
    pub(crate) fn carries(&self, number: &str) -> Option<usize> {
        if self.prefixes.is_empty() {
            return Some(0);
        }
        self.prefixes.iter().filter(|p| number.starts_with(p.as_str())).map(String::len).max()
    }
}

/// One of the gateway's own numbers.
#[derive(Debug, Clone)]
pub(crate) struct OwnNumber {
    /// The number.
    pub number: ContactId,
    /// Whose it is.
    pub user: Option<BareJid>,
    /// Anybody's.
    pub shared: bool,
    /// Who gets texts of strangers to a shared number.
    pub owner: Option<BareJid>,
    /// The room of an XMPP server that gets them instead, and answers.
    pub room: Option<BareJid>,
    /// The provider that has it; `None`: any.
    pub provider: Option<String>,
}

/// Bounds; per user where not said otherwise.
#[derive(Debug, Clone)]
pub(crate) struct Limits {
    /// Segments of one text.
    pub segments: u32,
    /// Recipients of one message.
    pub recipients: usize,
    /// Texts a day (UTC).
    pub per_day: u64,
    /// Texts a month.
    pub per_month: u64,
    /// Millionths of the currency a month.
    pub cost: Option<u64>,
    /// The same over all users.
    pub total_cost: Option<u64>,
    /// Prefixes that are open; empty: all.
    pub allow: Vec<String>,
    /// Prefixes that are closed; the longer of two that fit counts.
    pub forbid: Vec<String>,
    /// Inbound texts of one contact an hour.
    pub contact_per_hour: u32,
}

/// Words that a recipient opts out with, and back in.
#[derive(Debug, Clone)]
pub(crate) struct Keywords {
    /// Out.
    pub stop: Vec<String>,
    /// In again.
    pub start: Vec<String>,
    /// Asks what this is.
    pub help: Vec<String>,
    /// Answered to `stop`; `None` where the provider does.
    pub stop_reply: Option<String>,
    /// Answered to `start`.
    pub start_reply: Option<String>,
    /// Answered to `help`.
    pub help_reply: Option<String>,
}

/// Numbers that cost the caller more, satellites, and emergency calls: closed where the administrator does not open them.
pub(crate) const PREMIUM: &[&str] = &[
    "+1900", "+1976", "+44871", "+44872", "+44873", "+449", "+49900", "+49137", "+4311", "+43900", "+43901", "+43930",
    "+4190", "+3389", "+39144", "+39166", "+39899", "+39892", "+34803", "+34806", "+34807", "+31900", "+31906",
    "+31909", "+3290", "+35315", "+48700", "+46900", "+46939", "+46944", "+4782", "+4590", "+358600", "+358700",
    "+6119", "+64900", "+870", "+878", "+881", "+882", "+883", "+888", "+979", "110", "112", "911", "999", "000",
    "113", "115", "118", "119",
];

/// Reads the section; every fault at once.
pub(crate) fn read(section: Section<'_>) -> Result<Config, Vec<ConfigError>> {
    let Section { name, folder, mut table, .. } = section;
    let mut file_faults = Vec::new();
    let title = table.string("title").unwrap_or_else(|| "SMS".to_owned());
    let country = table.read("country", "a country in two letters, such as \"US\"", |v| country(v.as_str()?));
    let short_codes = table
        .read("short_codes", "a list of short codes, such as \"12345\"", |v| {
            v.as_array()?.iter().map(|c| digits(c.as_str()?)).collect::<Option<Vec<_>>>()
        })
        .unwrap_or_default();
    let plan = Plan { country, short_codes: short_codes.clone() };
    let providers = read_providers(&mut table, folder, &mut file_faults);
    let by_price = table.choice("choose", &["order", "price"]) == Some("price");
    let numbers = read_numbers(&mut table, &plan, &providers);
    let claim = table.bool("claim").unwrap_or(true);
    let limits = read_limits(&mut table);
    let keywords = read_keywords(&mut table);
    let number = |table: &mut Table, key: &str, default: u64, max: i64| {
        table.integer(key, 1, max).and_then(|n| u64::try_from(n).ok()).unwrap_or(default)
    };
    let max_age = Duration::from_secs(number(&mut table, "max_age_hours", 6, 24 * 14) * 3600);
    let parts_wait = Duration::from_secs(number(&mut table, "parts_wait_seconds", 300, 86_400));
    let media_max = usize::try_from(number(&mut table, "media_max", 10 << 20, 100 << 20)).unwrap_or(10 << 20);
    let timeout = Duration::from_secs(number(&mut table, "timeout_seconds", 30, 600));
    let mut errors = table.finish();
    errors.extend(file_faults);
    if !errors.is_empty() {
        return Err(errors);
    }
    Ok(Config {
        name: name.to_owned(),
        title,
        plan,
        short_codes,
        providers,
        by_price,
        numbers,
        claim,
        limits,
        keywords,
        max_age,
        parts_wait,
        media_max,
        timeout,
    })
}

/// A provider before its credentials are looked at.
struct Named {
    file: String,
    name: Option<String>,
    key: String,
    own: Table,
}

fn read_providers(table: &mut Table, folder: &Path, faults: &mut Vec<ConfigError>) -> Vec<Provider> {
    let shared = read_credentials(table, folder);
    let prices = read_prices(table, "prices");
    let mut named = Vec::new();
    if let Some(file) = table.string("provider") {
        named.push(Named { file, name: None, key: "provider".to_owned(), own: Table::default() });
    } else if !table.has("providers") {
        table.fault("provider", "is missing: expected the file that declares the provider, such as \"providers/kannel.toml\", or providers with a list");
    }
    let several =
        table.read("providers", "a list of files, or of tables with file, name, prefixes, prices, credentials", |v| {
            let entry = |(i, v): (usize, &Value)| {
                let key = format!("providers[{i}]");
                match v {
                    Value::String(file) => Some(Named { file: file.clone(), name: None, key, own: Table::default() }),
                    Value::Object(map) => {
                        let mut own = Table::new(key.clone(), map.clone());
                        let file = own.required("file", "the file that declares the provider").unwrap_or_default();
                        let name = own.string("name");
                        Some(Named { file, name, key, own })
                    }
                    _ => None,
                }
            };
            v.as_array()?.iter().enumerate().map(entry).collect::<Option<Vec<_>>>()
        });
    named.extend(several.unwrap_or_default());
    let mut used = Vec::new();
    let mut providers: Vec<Provider> = Vec::new();
    for mut one in named {
        let provider = read_provider(table, folder, &mut one, (&shared, &prices), &mut used, faults);
        table.close(one.own);
        let Some(provider) = provider else { continue };
        if providers.iter().any(|p| p.name == provider.name) {
            table.fault(
                &one.key,
                format!("there are two providers called {:?}: expected a name for one of them", provider.name),
            );
        }
        providers.push(provider);
    }
    // Where a file could not be read, nobody knows which names it would have used.
    if faults.is_empty() {
        let unknown: Vec<&String> = shared.keys().filter(|name| !used.contains(*name)).collect();
        for name in unknown {
            used.sort();
            used.dedup();
            let known = used.join(", ");
            table.fault(&format!("credentials.{name}"), format!("unknown key: expected one of {known}"));
        }
    }
    providers
}

fn read_provider(
    table: &mut Table,
    folder: &Path,
    one: &mut Named,
    (shared, prices): (&BTreeMap<String, SecretString>, &[(String, u64)]),
    used: &mut Vec<String>,
    faults: &mut Vec<ConfigError>,
) -> Option<Provider> {
    if one.file.is_empty() {
        return None;
    }
    let path = folder.join(&one.file);
    let stem = path.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
    let shipped = SHIPPED.iter().find(|(name, _)| *name == stem).map(|(_, text)| (*text).to_owned());
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        // What is shipped is known to the program, too.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && shipped.is_some() => shipped.unwrap_or_default(),
        Err(e) => {
            table.fault(&one.key, format!("expected a readable file, but {}: {e}", path.display()));
            return None;
        }
    };
    let name = one.name.clone().unwrap_or(stem).to_lowercase();
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
    {
        table.fault(&one.key, "expected a name of letters, digits, - and _: it stands in the addresses of webhooks");
        return None;
    }
    let spec = match read::read(&path.display().to_string(), &text) {
        Ok(spec) => spec,
        Err(found) => {
            faults.extend(found);
            return None;
        }
    };
    let own = read_credentials(&mut one.own, folder);
    let mut credentials = BTreeMap::new();
    for (key, default) in &spec.credentials {
        used.push(key.clone());
        let given = own.get(key).or_else(|| shared.get(key)).cloned();
        match given.or_else(|| default.clone().map(SecretString::from)) {
            Some(value) => drop(credentials.insert(key.clone(), value)),
            None => table.fault(&format!("credentials.{key}"), format!("is missing: {} needs it", one.file)),
        }
    }
    for key in own.keys().filter(|key| !spec.credentials.contains_key(*key)) {
        one.own.fault(&format!("credentials.{key}"), "unknown name: the provider file has no such one");
    }
    let prefixes = one.own.read("prefixes", PREFIXES, prefixes).unwrap_or_default();
    let own_prices = read_prices(&mut one.own, "prices");
    let prices = if own_prices.is_empty() { prices.to_vec() } else { own_prices };
    Some(Provider { name, spec: Arc::new(spec), credentials, prefixes, prices })
}

fn read_credentials(table: &mut Table, folder: &Path) -> BTreeMap<String, SecretString> {
    let Some(mut inner) = table.table("credentials") else { return BTreeMap::new() };
    let mut credentials = BTreeMap::new();
    for name in inner.names() {
        let name = name.strip_suffix("_file").unwrap_or(&name);
        if let Some(secret) = inner.secret(name, folder) {
            credentials.insert(name.to_owned(), secret);
        }
    }
    table.close(inner);
    credentials
}

const PREFIXES: &str = "a list of beginnings of numbers, such as \"+1\"";

fn prefixes(value: &Value) -> Option<Vec<String>> {
    let good = |p: &str| {
        let digits = p.strip_prefix('+').unwrap_or(p);
        (!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())).then(|| p.to_owned())
    };
    value.as_array()?.iter().map(|p| good(p.as_str()?)).collect()
}

fn read_prices(table: &mut Table, key: &str) -> Vec<(String, u64)> {
    let Some(mut inner) = table.table(key) else { return Vec::new() };
    let mut prices = Vec::new();
    for prefix in inner.names() {
        let price = inner.read(&prefix, "a price, such as 0.0079", |v| {
            prefixes(&Value::from(vec![prefix.as_str()])).and_then(|_| money(v))
        });
        prices.extend(price.map(|price| (prefix.clone(), price)));
    }
    table.close(inner);
    prices
}

/// Millionths.
fn money(value: &Value) -> Option<u64> {
    let amount = value.as_f64().or_else(|| value.as_str()?.trim().parse().ok())?;
    let millionths = (amount * 1e6).round();
    (0.0..1e15).contains(&millionths).then_some(millionths as u64)
}

fn digits(text: &str) -> Option<String> {
    ((3..=8).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit())).then(|| text.to_owned())
}

fn jid(value: &Value) -> Option<BareJid> {
    let text = value.as_str()?.trim().to_lowercase();
    let (local, domain) = text.split_once('@')?;
    (!local.is_empty() && !domain.is_empty() && !text.contains('/') && !domain.contains('@'))
        .then(|| BareJid::from(text.as_str()))
}

fn read_numbers(table: &mut Table, plan: &Plan, providers: &[Provider]) -> Vec<OwnNumber> {
    let mut numbers: Vec<OwnNumber> = Vec::new();
    for mut one in table.tables("numbers") {
        if !one.has("number") {
            one.fault("number", "is missing: expected a number of the gateway's, such as \"+15550001111\"");
        }
        let number = one.read("number", "a number such as \"+15550001111\", a short code or a name", |v| {
            let text = v.as_str().map(str::to_owned).or_else(|| v.as_u64().map(|n| n.to_string()))?;
            plan.heard(&text, false).map(|n| n.contact())
        });
        let user = one.read("user", "a JID such as \"juliet@example.org\"", jid);
        let shared = one.bool("shared").unwrap_or(false);
        let owner = one.read("owner", "a JID such as \"desk@example.org\"", jid);
        let room = one.read("room", "the address of a room such as \"desk@conference.example.org\"", jid);
        let provider = one.string("provider");
        if let Some(name) = &provider
            && !providers.is_empty()
            && !providers.iter().any(|p| p.name == *name)
        {
            let known: Vec<&str> = providers.iter().map(|p| p.name.as_str()).collect();
            one.fault("provider", format!("expected one of {}", known.join(", ")));
        }
        if user.is_some() && shared {
            one.fault("shared", "stands beside user: expected only one of them");
        }
        if owner.is_some() && !shared {
            one.fault("owner", "expected beside shared = true only: a number with a user is theirs");
        }
        if room.is_some() && !shared {
            one.fault("room", "expected beside shared = true only: a number with a user is theirs");
        }
        if room.is_some() && owner.is_some() {
            one.fault("room", "stands beside owner: expected only one of them");
        }
        if let Some(number) = number {
            if numbers.iter().any(|n| n.number == number) {
                one.fault("number", "stands twice");
            }
            numbers.push(OwnNumber { number, user, shared, owner, room, provider });
        }
        table.close(one);
    }
    numbers
}

fn read_limits(table: &mut Table) -> Limits {
    let mut limits = table.table("limits").unwrap_or_default();
    let mut number = |key: &str, default: u64, max: i64| {
        limits.integer(key, 1, max).and_then(|n| u64::try_from(n).ok()).unwrap_or(default)
    };
    let segments = u32::try_from(number("segments", 8, 255)).unwrap_or(8);
    let recipients = usize::try_from(number("recipients", 20, 50)).unwrap_or(20);
    let per_day = number("texts_per_day", 200, 1 << 40);
    let per_month = number("texts_per_month", 3000, 1 << 40);
    let contact_per_hour = u32::try_from(number("contact_per_hour", 200, 1 << 30)).unwrap_or(200);
    let made = Limits {
        segments,
        recipients,
        per_day,
        per_month,
        cost: limits.read("cost_per_month", "an amount, such as 10.0", money),
        total_cost: limits.read("cost_per_month_total", "an amount, such as 100.0", money),
        allow: limits.read("allow", PREFIXES, prefixes).unwrap_or_default(),
        forbid: limits
            .read("forbid", PREFIXES, prefixes)
            .unwrap_or_else(|| PREMIUM.iter().map(|p| (*p).to_owned()).collect()),
        contact_per_hour,
    };
    table.close(limits);
    made
}

fn read_keywords(table: &mut Table) -> Keywords {
    let mut keywords = table.table("keywords").unwrap_or_default();
    let words = |keywords: &mut Table, key: &str, default: &[&str]| -> Vec<String> {
        let given = keywords.strings(key).unwrap_or_else(|| default.iter().map(|w| (*w).to_owned()).collect());
        given.iter().map(|w| w.trim().to_uppercase()).filter(|w| !w.is_empty()).collect()
    };
    let made = Keywords {
        stop: words(&mut keywords, "stop", &["STOP", "STOPALL", "STOP ALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT"]),
        start: words(&mut keywords, "start", &["START", "UNSTOP"]),
        help: words(&mut keywords, "help", &["HELP", "INFO"]),
        stop_reply: keywords.string("stop_reply"),
        start_reply: keywords.string("start_reply"),
        help_reply: keywords.string("help_reply"),
    };
    table.close(keywords);
    made
}

/// What belongs to the longest prefix that fits.
pub(crate) fn longest<T: Copy>(list: &[(String, T)], number: &str) -> Option<T> {
    list.iter()
        .filter(|(prefix, _)| number.starts_with(prefix.as_str()))
        .max_by_key(|(prefix, _)| prefix.len())
        .map(|(_, v)| *v)
}

impl Limits {
    /// Whether texts may go to this number: the longest prefix that fits decides; a tie is closed.
    pub(crate) fn is_open(&self, number: &Number) -> bool {
        let best = |list: &[String], whole: bool| {
            // An emergency number is closed as a whole, not everything that begins like it.
            let fits = |p: &&String| {
                if p.starts_with('+') || whole {
                    number.as_str().starts_with(p.as_str())
                } else {
                    number.as_str() == **p
                }
            };
            list.iter().filter(fits).map(String::len).max()
        };
        match (best(&self.allow, true), best(&self.forbid, false)) {
            (None, None) => self.allow.is_empty() || !matches!(number, Number::Full(_)),
            (Some(open), Some(closed)) => open > closed,
            (open, _) => open.is_some(),
        }
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
