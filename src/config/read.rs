//! From the merged tree to [`Config`], key by key.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use isthmus_bridge::section::{CHOSEN_KEYS, CORE_KEYS, Table};
use isthmus_bridge::{BareJid, Bridge, ConfigError, Kind, NetworkId, Section, Setting};
use jid::NodePart;
use secrecy::SecretString;
use serde_json::{Map, Value};
use url::Url;

use super::jid_domain;
use super::places::Places;
use super::sources::Tree;
use super::{
    BridgeConfig, Config, Database, Endpoint, Files, Http, Limits, Log, LogFormat, Retention, RosterWay, Seal, Server,
    Tls, units,
};
use crate::access::{Pattern, Policy, Quota, Quotas, Rule, Storage, Tier};
use crate::http::Certificate;
use crate::settings::{Chosen, Scheme};

const DATA_DIR: &str = "/var/lib/isthmus";
const HTTP: &str = "127.0.0.1:5480";
const DOMAIN: &str = "a domain such as \"email.example.org\"";

/// Where addresses of XEP-0157 may be given; the form field is `<name>-addresses`.
const CONTACTS: [(&str, &str); 7] = [
    ("abuse", "abuse-addresses"),
    ("admin", "admin-addresses"),
    ("feedback", "feedback-addresses"),
    ("sales", "sales-addresses"),
    ("security", "security-addresses"),
    ("status", "status-addresses"),
    ("support", "support-addresses"),
];

/// Reads everything; faults go to `errors`. `None` only together with a fault.
pub(super) fn config(
    tree: Tree,
    places: &Places,
    kinds: &[Box<dyn Kind>],
    errors: &mut Vec<ConfigError>,
) -> Option<Config> {
    let folder = places.folder.clone();
    let mut top = Table::new("", tree);
    let admins: Arc<[BareJid]> = admins(&mut top).into();
    let data_dir = folder.join(top.string("data_dir").unwrap_or_else(|| DATA_DIR.to_owned()));

    let mut table = open(&mut top, "server");
    let domains: Arc<[String]> = domain_list(&mut table, "domains").into();
    let server = server(&mut table, &folder, None);
    let roster = table.choice("roster", &RosterWay::NAMES).and_then(RosterWay::by_name).unwrap_or_default();
    top.close(table);
    let database = in_table(&mut top, "database", |t| database(t, &data_dir));
    let http = in_table(&mut top, "http", |table| http(table, &folder));
    let base = Policy {
        admins: Arc::clone(&admins),
        domains: Arc::clone(&domains),
        default: Tier::User,
        foreign: Tier::Blocked,
        rules: Vec::new(),
    };
    let (access, quotas) = in_table(&mut top, "access", |t| access(t, &base, Quotas::default()));
    let files = in_table(&mut top, "files", files);
    let archive = in_table(&mut top, "archive", archive);
    let limits = in_table(&mut top, "limits", limits);
    let log = in_table(&mut top, "log", log);
    let seal = in_table(&mut top, "secrets", |t| Seal { key_file: t.path("key_file", &folder), key: secret_text(t) });
    let contact = in_table(&mut top, "contact", contact);

    let common = Common {
        folder: &folder,
        data_dir: &data_dir,
        domains: &domains,
        server: server.as_ref(),
        access: &access,
        quotas,
        kinds,
        places,
    };
    let bridges = bridges(&mut top, &common, errors);
    errors.extend(top.finish().into_iter().map(|e| places.locate(&[], e)));
    Some(Config {
        folder: folder.clone(),
        admins,
        data_dir: data_dir.clone(),
        domains: Arc::clone(&domains),
        server: server.clone()?,
        database: database?,
        http: http?,
        access: access.clone(),
        files,
        archive,
        limits,
        log,
        seal,
        roster,
        contact,
        bridges,
    })
}

/// What the bridges share with the core.
struct Common<'a> {
    folder: &'a Path,
    data_dir: &'a Path,
    domains: &'a Arc<[String]>,
    server: Option<&'a Server>,
    access: &'a Policy,
    quotas: Quotas,
    kinds: &'a [Box<dyn Kind>],
    places: &'a Places,
}

fn bridges(top: &mut Table, common: &Common<'_>, errors: &mut Vec<ConfigError>) -> Vec<BridgeConfig> {
    let whole = top.read("bridges", "a table of bridges", |v| v.as_object().cloned());
    let none_named = whole.as_ref().is_none_or(Map::is_empty);
    let failed_before = !errors.is_empty();
    let mut built: Vec<BridgeConfig> = Vec::new();
    for (name, value) in whole.unwrap_or_default() {
        let mut faults = Vec::new();
        let bridge = match value {
            Value::Object(map) => bridge(&name, map, common, &mut faults),
            _ => {
                faults.push(ConfigError::new("", "expected a table of the bridge's keys"));
                None
            }
        };
        if let Some(bridge) = bridge {
            match built.iter().find(|b| b.domain == bridge.domain) {
                Some(first) => {
                    let what = format!(
                        "{} is the domain of bridge {} too: expected one domain for each bridge",
                        bridge.domain, first.name
                    );
                    faults.push(ConfigError::new("domain", what));
                }
                None => built.push(bridge),
            }
        }
        errors.extend(faults.into_iter().map(|e| common.places.locate(&["bridges", &name], e)));
    }
    // Where a file could not be read the bridge may stand in it.
    if none_named && !failed_before {
        let fault =
            ConfigError::new("bridges", "no bridge is configured: expected at least one file bridges/<name>.toml");
        errors.push(common.places.locate(&[], fault));
    }
    built
}

fn bridge(
    name: &str,
    map: Map<String, Value>,
    common: &Common<'_>,
    faults: &mut Vec<ConfigError>,
) -> Option<BridgeConfig> {
    if !name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.')) {
        let what = "is no name for a bridge: expected letters, digits, dashes, dots and underscores only";
        faults.push(ConfigError::new("", format!("{name:?} {what}")));
        return None;
    }
    let mut own = Map::new();
    let mut section = Map::new();
    for (key, value) in map {
        let core = CORE_KEYS.contains(&key.as_str());
        if core { &mut own } else { &mut section }.insert(key, value);
    }
    let mut table = Table::new("", own);
    let kind = kind(&mut table, common.kinds);
    let domain = bridge_domain(&mut table, common.domains);
    let secret = component_secret(&mut table, common.folder);
    let server = if table.has("server") {
        let mut inner = open(&mut table, "server");
        let server = server(&mut inner, common.folder, common.server);
        table.close(inner);
        server
    } else {
        common.server.cloned()
    };
    let (access, quotas) = in_table(&mut table, "access", |t| access(t, common.access, common.quotas));
    let avatar = table.path("avatar", common.folder);
    let (mut rest, mut values) = (section.clone(), Map::new());
    for key in CHOSEN_KEYS {
        values.extend(rest.remove_entry(key));
    }
    let bridge = kind.and_then(|kind| {
        let written = domain.as_deref().unwrap_or_default();
        build(kind, name, written, rest, common).map_err(|more| faults.extend(more)).ok()
    });
    let scheme = bridge.as_ref().map(|b| scheme(b.settings(), &values, faults));
    faults.extend(table.finish());
    Some(BridgeConfig {
        name: name.to_owned(),
        kind: kind?.name().to_owned(),
        domain: domain?,
        secret: secret?,
        server: server?,
        access,
        quotas,
        avatar,
        bridge: bridge?,
        scheme: scheme?,
        section,
    })
}

/// What the administrator says of a bridge's settings: `[defaults]`, `[networks.<name>]`, `[locks]`.
fn scheme(settings: &[Setting], values: &Map<String, Value>, faults: &mut Vec<ConfigError>) -> Scheme {
    let mut scheme = Scheme::new(settings);
    let table = |value: Option<&Value>| value.and_then(Value::as_object).cloned().unwrap_or_default();
    let words =
        |table: Map<String, Value>| -> Chosen { table.iter().map(|(key, value)| (key.clone(), word(value))).collect() };
    for key in values.iter().filter(|(_, value)| !value.is_object()).map(|(key, _)| key) {
        faults.push(ConfigError::new(key.clone(), "expected a table of settings"));
    }
    let mut done = vec![scheme.defaults(words(table(values.get("defaults"))))];
    done.push(scheme.locks(words(table(values.get("locks")))));
    for (network, chosen) in table(values.get("networks")) {
        done.push(scheme.network(NetworkId::new(network), words(table(Some(&chosen)))));
    }
    faults.extend(done.into_iter().filter_map(Result::err).flatten());
    scheme
}

/// A value of the configuration as a setting has it: a list has its values with commas between.
fn word(value: &Value) -> String {
    match value {
        Value::String(words) => words.clone(),
        Value::Array(all) => all.iter().map(word).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

/// The bridge's own keys are looked at whatever else is wrong, so that all faults are told at once.
fn build(
    kind: &dyn Kind,
    name: &str,
    domain: &str,
    section: Map<String, Value>,
    common: &Common<'_>,
) -> Result<Arc<dyn Bridge>, Vec<ConfigError>> {
    kind.build(Section {
        name,
        domain,
        folder: common.folder,
        data_dir: common.data_dir,
        local_domains: common.domains,
        table: Table::new("", section),
    })
}

fn kind<'k>(table: &mut Table, kinds: &'k [Box<dyn Kind>]) -> Option<&'k dyn Kind> {
    let names: Vec<String> = kinds.iter().map(|k| format!("{:?}", k.name())).collect();
    let expected = format!("one of {}", names.join(", "));
    let written = table.required("kind", &expected)?;
    let kind = kinds.iter().find(|k| k.name() == written).map(Box::as_ref);
    if kind.is_none() {
        table.fault("kind", format!("{written:?} is no kind of bridge that this program has: expected {expected}"));
    }
    kind
}

fn bridge_domain(table: &mut Table, local: &[String]) -> Option<String> {
    let written = table.required("domain", DOMAIN)?;
    let Some(domain) = jid_domain(&written) else {
        table.fault("domain", format!("{written:?} is no domain of a JID: expected {DOMAIN}"));
        return None;
    };
    if local.contains(&domain) {
        let what = format!(
            "{domain} stands in server.domains: expected a domain of the bridge's own, such as {:?}",
            format!("bridge.{domain}")
        );
        table.fault("domain", what);
        return None;
    }
    Some(domain)
}

fn component_secret(table: &mut Table, folder: &Path) -> Option<SecretString> {
    if !table.has("secret") && !table.has("secret_file") {
        let what = "is missing: expected the component secret that the XMPP server has for this domain, here or in secret_file";
        table.fault("secret", what);
    }
    let secret = table.secret("secret", folder)?;
    if secrecy::ExposeSecret::expose_secret(&secret).is_empty() {
        table.fault("secret", "is empty: expected the component secret that the XMPP server has for this domain");
        return None;
    }
    Some(secret)
}

fn admins(top: &mut Table) -> Vec<BareJid> {
    let mut admins = Vec::new();
    for (i, admin) in top.strings("admins").unwrap_or_default().into_iter().enumerate() {
        match bare_jid(&admin) {
            Some(jid) => admins.push(jid),
            None => top.fault(
                &format!("admins[{i}]"),
                format!("{admin:?} is no JID: expected one such as \"admin@example.org\""),
            ),
        }
    }
    admins
}

fn domain_list(table: &mut Table, key: &str) -> Vec<String> {
    let mut domains = Vec::new();
    for (i, written) in table.strings(key).unwrap_or_default().into_iter().enumerate() {
        match jid_domain(&written) {
            Some(domain) => domains.push(domain),
            None => table.fault(
                &format!("{key}[{i}]"),
                format!("{written:?} is no domain: expected one such as \"example.org\""),
            ),
        }
    }
    domains
}

/// `[server]`, or a bridge's own with `base` for what it leaves out.
fn server(table: &mut Table, folder: &Path, base: Option<&Server>) -> Option<Server> {
    let before = match base.map(|b| &b.endpoint) {
        Some(Endpoint::Tcp { host, port }) => (host.clone(), *port),
        _ => ("127.0.0.1".to_owned(), 5347),
    };
    let socket = table.path("socket", folder);
    let named = ["host", "port"].into_iter().find(|k| table.has(k));
    let host = table.string("host");
    let port = table.port("port");
    if host.as_deref().is_some_and(|h| h.trim().is_empty() || h.contains(['/', ' '])) {
        table.fault("host", "expected a host name or an address such as \"127.0.0.1\"");
    }
    let inherited = base.and_then(|b| b.tls.clone());
    let on = table.bool("tls").unwrap_or(inherited.is_some());
    let ca_file = readable(table, "ca_file", folder);
    let name = table.string("tls_name");
    for key in [ca_file.as_ref().map(|_| "ca_file"), name.as_ref().map(|_| "tls_name")].into_iter().flatten() {
        if !on {
            table.fault(key, "has no meaning here: expected tls = true beside it");
        }
    }
    let inherited = inherited.unwrap_or(Tls { ca_file: None, name: None });
    let tls = on.then(|| Tls { ca_file: ca_file.or(inherited.ca_file), name: name.or(inherited.name) });
    let endpoint = match (socket, named, base.map(|b| &b.endpoint)) {
        (Some(_), Some(key), _) => {
            table.fault(key, "stands beside socket: expected only one of them");
            return None;
        }
        (Some(socket), None, _) => Endpoint::Unix(socket),
        (None, None, Some(endpoint)) => endpoint.clone(),
        (None, _, _) => Endpoint::Tcp { host: host.unwrap_or(before.0), port: port.unwrap_or(before.1) },
    };
    Some(Server { endpoint, tls })
}

fn database(table: &mut Table, data_dir: &Path) -> Option<Database> {
    let expected = "\"sqlite://isthmus.db\" or \"postgres://user:password@host/database\"";
    let Some(url) = table.read("url", expected, |v| v.as_str().map(str::to_owned)) else {
        return Some(Database::Sqlite(data_dir.join("isthmus.db")));
    };
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.is_empty() && !path.starts_with(":memory:") && !path.contains('?') {
            return Some(Database::Sqlite(data_dir.join(path)));
        }
    } else if (url.starts_with("postgres://") || url.starts_with("postgresql://")) && Url::parse(&url).is_ok() {
        return Some(Database::Postgres(SecretString::from(url)));
    }
    // Not the url itself: a password may stand in it.
    table.fault("url", format!("is not understood: expected {expected}"));
    None
}

fn http(table: &mut Table, folder: &Path) -> Option<Http> {
    let expected = "an address with a port such as \"127.0.0.1:5480\", or \"off\"";
    let given = table.has("listen");
    let listen = table.read("listen", expected, |v| match v.as_str()?.trim() {
        "off" => Some(None),
        text => text.parse().ok().map(Some),
    });
    let expected = "a URL such as \"https://gateway.example.org\"";
    let public_url = table.read("public_url", expected, |v| {
        Url::parse(v.as_str()?).ok().filter(|u| matches!(u.scheme(), "http" | "https") && u.has_host())
    });
    let (chain, key) = (readable(table, "certificate", folder), readable(table, "key", folder));
    let tls = match (chain, key) {
        (Some(chain), Some(key)) => match Certificate::open(&chain, &key) {
            Ok(_) => Some((chain, key)),
            Err(why) => {
                table.fault("certificate", why);
                return None;
            }
        },
        (None, None) => None,
        (Some(_), None) => {
            table.fault("key", "is missing: expected the file of the certificate's key");
            return None;
        }
        (None, Some(_)) => {
            table.fault("certificate", "is missing: expected the file of the key's certificate");
            return None;
        }
    };
    let listen = if given { listen? } else { HTTP.parse().ok() };
    Some(Http { listen, tls, public_url })
}

/// `[access]`, or a bridge's own over the core's.
fn access(table: &mut Table, base: &Policy, quotas: Quotas) -> (Policy, Quotas) {
    let tier = |table: &mut Table, key: &str| table.choice(key, &Tier::NAMES).and_then(Tier::by_name);
    let default = tier(table, "default").unwrap_or(base.default);
    let foreign = tier(table, "foreign").unwrap_or(base.foreign);
    let mut rules = Vec::new();
    for mut inner in table.tables("rules") {
        let glob = inner.required("match", "a pattern such as \"*@spam.example\"");
        if !inner.has("tier") {
            inner.required("tier", "one of blocked, receive, user, admin");
        }
        let tier = tier(&mut inner, "tier");
        if let Some(glob) = glob {
            match Pattern::new(&glob) {
                Ok(pattern) => rules.extend(tier.map(|tier| Rule { pattern, tier })),
                Err(why) => inner
                    .fault("match", format!("{glob:?} is no pattern ({why}): expected one such as \"*@spam.example\"")),
            }
        }
        table.close(inner);
    }
    rules.extend(base.rules.iter().cloned());
    let mut number =
        |key: &str, or: u32| table.integer(key, 0, 1_000_000_000).and_then(|n| u32::try_from(n).ok()).unwrap_or(or);
    let user = Quota {
        per_minute: number("messages_per_minute", quotas.user.per_minute),
        per_day: number("messages_per_day", quotas.user.per_day),
    };
    let total = Quota {
        per_minute: number("total_messages_per_minute", quotas.total.per_minute),
        per_day: number("total_messages_per_day", quotas.total.per_day),
    };
    let mut size =
        |key: &str, or: u64| table.read(key, "a size such as \"50 MiB\" (0: no bound)", units::bytes).unwrap_or(or);
    let storage =
        Storage { user: size("storage", quotas.storage.user), total: size("total_storage", quotas.storage.total) };
    (Policy { default, foreign, rules, ..base.clone() }, Quotas { user, total, storage })
}

fn files(table: &mut Table) -> Files {
    let upload = table.string("upload").and_then(|written| {
        let domain = jid_domain(&written);
        if domain.is_none() {
            table.fault("upload", format!("{written:?} is no domain: expected one such as \"upload.example.org\""));
        }
        domain
    });
    let fetch_from = domain_list(table, "fetch_from");
    let max_size = table.read("max_size", "a size such as \"16 MiB\"", units::bytes).unwrap_or(16 << 20);
    let keep_for = table.read("keep_for", units::TIME, units::time);
    Files { upload, fetch_from, max_size, keep_for: keep_for.unwrap_or(Duration::from_secs(30 * 24 * 3600)) }
}

fn archive(table: &mut Table) -> Retention {
    let or = Retention::default();
    let mut time = |key, or| table.read(key, units::TIME, units::time).unwrap_or(or);
    let (keep_for, remember_for) = (time("keep_for", or.keep_for), time("remember_for", or.remember_for));
    let keep_lines = table.integer("keep_lines", 0, i64::from(u32::MAX)).and_then(|n| u32::try_from(n).ok());
    Retention { keep_for, keep_lines: keep_lines.unwrap_or(or.keep_lines), remember_for }
}

fn limits(table: &mut Table) -> Limits {
    let within = 10_000..=64 << 20; // RFC 6120, 13.12: not below 10,000 bytes
    let max_stanza = table.read("max_stanza", "a size from 10000 bytes to \"64 MiB\"", |v| {
        units::bytes(v).filter(|n| within.contains(n)).and_then(|n| usize::try_from(n).ok())
    });
    let mut sessions =
        |key, or: u32| table.integer(key, 0, 1_000_000).and_then(|n| u32::try_from(n).ok()).unwrap_or(or);
    Limits {
        max_stanza: max_stanza.unwrap_or(256 << 10),
        sessions_per_user: sessions("sessions_per_user", 50),
        total_sessions: sessions("total_sessions", 0),
    }
}

fn log(table: &mut Table) -> Log {
    let format = table.choice("format", &LogFormat::NAMES).and_then(LogFormat::by_name).unwrap_or(LogFormat::Auto);
    let level = table.string("level").unwrap_or_else(|| "info".to_owned());
    if let Err(why) = super::check_level(&level) {
        table.fault("level", why);
    }
    Log { format, level }
}

fn contact(table: &mut Table) -> Vec<(&'static str, Vec<String>)> {
    let mut all = Vec::new();
    for (name, field) in CONTACTS {
        let uris = table.strings(name).unwrap_or_default();
        for (i, uri) in uris.iter().enumerate() {
            if Url::parse(uri).is_err() {
                let key = format!("{name}[{i}]");
                table.fault(&key, format!("{uri:?} is no URI: expected one such as \"mailto:{name}@example.org\""));
            }
        }
        if !uris.is_empty() {
            all.push((field, uris));
        }
    }
    all
}

/// `secrets.key`, which for `key_file` is not read here: the key file may hold several.
fn secret_text(table: &mut Table) -> Option<SecretString> {
    table.read("key", "text in quotes", |v| v.as_str().map(|s| SecretString::from(s.to_owned())))
}

/// A file that must be there when the program starts.
fn readable(table: &mut Table, key: &str, folder: &Path) -> Option<PathBuf> {
    let path = table.path(key, folder)?;
    if let Err(e) = std::fs::File::open(&path) {
        table.fault(key, format!("expected a readable file, but {}: {e}", path.display()));
    }
    Some(path)
}

/// The inner table, empty where it is absent or no table (which is a fault already).
fn open(table: &mut Table, key: &str) -> Table {
    table.table(key).unwrap_or_else(|| Table::new(key, Map::new()))
}

fn in_table<T>(table: &mut Table, key: &str, read: impl FnOnce(&mut Table) -> T) -> T {
    let mut inner = open(table, key);
    let made = read(&mut inner);
    table.close(inner);
    made
}

/// A normalised bare JID with a local part.
fn bare_jid(written: &str) -> Option<BareJid> {
    let (local, domain) = written.split_once('@')?;
    let local = NodePart::new(local).ok()?;
    let domain = jid_domain(domain)?;
    Some(BareJid::new(format!("{}@{domain}", local.as_str())))
}
