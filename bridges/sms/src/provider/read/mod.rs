//! Reads a provider file. Every fault at once, each with line and key.

mod proof;

use std::collections::BTreeMap;
use std::str::FromStr;

use isthmus_bridge::ConfigError;
use isthmus_bridge::section::Table;
use serde_json::Value;

use super::document::Document;
use super::select::{Select, When};
use super::spec::{
    Answer, Auth, Format, HookReply, Login, MediaSource, MessageFields, Node, Numbers, OnceField, Reason, ReportFields,
    Request, Spec, Webhook,
};
use super::template::{NAMES, Template};

/// Reads the text of a file of this name.
pub(crate) fn read(file: &str, text: &str) -> Result<Spec, Vec<ConfigError>> {
    let document = Document::new(file, text);
    let mut table = document.table()?;
    let spec = Reader::of(&mut table).spec(&mut table);
    let faults = table.finish();
    match (spec, faults.is_empty()) {
        (Some(spec), true) => Ok(spec),
        (_, _) => Err(document.located(faults)),
    }
}

/// What the parts of a file have in common.
struct Reader {
    credentials: BTreeMap<String, Option<String>>,
}

impl Reader {
    fn of(table: &mut Table) -> Self {
        let mut credentials = BTreeMap::new();
        if let Some(mut inner) = table.table("credentials") {
            for name in inner.names() {
                if NAMES.contains(&name.as_str())
                    || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
                {
                    inner.fault(
                        &name,
                        "expected a name of lower case letters, digits and _ that is no field of a message",
                    );
                }
                let default = inner.string(&name).filter(|value| !value.is_empty());
                credentials.insert(name, default);
            }
            table.close(inner);
        }
        Self { credentials }
    }

    fn spec(&self, table: &mut Table) -> Option<Spec> {
        let title = table.required("name", "the provider's name for people");
        table.string("docs");
        table.string("note");
        let numbers = numbers(table);
        let send = self.send(table);
        let mms = send.as_ref().and_then(|send| self.variant(table, "mms", send));
        let group = send.as_ref().and_then(|send| self.variant(table, "group", send));
        let answer = self.answer(table);
        let codes = codes(table);
        let auth = self.auth(table);
        let webhooks = self.webhooks(table, &auth);
        let media = media(table);
        let credentials = self.credentials.clone();
        Some(Spec { title: title?, credentials, numbers, send: send?, mms, group, answer, codes, webhooks, media })
    }

    fn template(&self, table: &mut Table, key: &str) -> Option<Template> {
        let text = table.string(key)?;
        self.parsed(table, key, &text)
    }

    fn needed(&self, table: &mut Table, key: &str, expected: &str) -> Option<Template> {
        let text = table.required(key, expected)?;
        self.parsed(table, key, &text)
    }

    fn parsed(&self, table: &mut Table, key: &str, text: &str) -> Option<Template> {
        let known = |name: &str| NAMES.contains(&name) || self.credentials.contains_key(name);
        Template::read(text, &known).inspect_err(|what| table.fault(key, what.clone())).ok()
    }

    fn send(&self, table: &mut Table) -> Option<Request> {
        if !table.has("send") {
            table
                .fault("send", "is missing: expected a table with the request that sends a text (url, format, fields)");
        }
        let mut inner = table.table("send")?;
        let url = self.needed(&mut inner, "url", "the address that takes texts");
        let method = method(&mut inner);
        let format = format(&mut inner);
        let login = self.login(&mut inner);
        let headers = self.headers(&mut inner);
        let fields = self.fields(&mut inner, format);
        table.close(inner);
        let format = format.unwrap_or(Format::Form);
        Some(Request {
            method: method.unwrap_or(http::Method::POST),
            url: url?,
            format,
            headers,
            login,
            fields: fields?,
        })
    }

    /// `[mms]` or `[group]`: what it does not say is as in `[send]`.
    fn variant(&self, table: &mut Table, name: &str, send: &Request) -> Option<Request> {
        let mut inner = table.table(name)?;
        let mut request = send.clone();
        if let Some(url) = self.template(&mut inner, "url") {
            request.url = url;
        }
        if let Some(method) = method(&mut inner) {
            request.method = method;
        }
        if let Some(format) = format(&mut inner) {
            request.format = format;
        }
        if let Some(login) = self.login(&mut inner) {
            request.login = Some(login);
        }
        let headers = self.headers(&mut inner);
        if !headers.is_empty() {
            request.headers = headers;
        }
        let fields = self.fields(&mut inner, Some(request.format));
        table.close(inner);
        request.fields = fields?;
        Some(request)
    }

    fn login(&self, table: &mut Table) -> Option<Login> {
        let token = self.template(table, "token");
        let user = self.template(table, "user");
        let password = self.template(table, "password");
        match (token, user, password) {
            (Some(token), None, None) => Some(Login::Bearer(token)),
            (None, Some(user), Some(password)) => Some(Login::Basic(user, password)),
            (None, None, None) => None,
            (Some(_), _, _) => {
                table.fault("token", "stands beside user or password: expected only one of them");
                None
            }
            _ => {
                table.fault("user", "expected user and password together");
                None
            }
        }
    }

    fn headers(&self, table: &mut Table) -> Vec<(http::HeaderName, Template)> {
        let Some(mut inner) = table.table("headers") else { return Vec::new() };
        let mut headers = Vec::new();
        for name in inner.names() {
            let template = self.template(&mut inner, &name);
            match (http::HeaderName::from_str(&name), template) {
                (Ok(header), Some(template)) => headers.push((header, template)),
                (Err(_), _) => inner.fault(&name, "expected the name of a header"),
                (Ok(_), None) => {}
            }
        }
        table.close(inner);
        headers
    }

    fn fields(&self, table: &mut Table, format: Option<Format>) -> Option<Node> {
        if !table.has("fields") {
            table.fault("fields", "is missing: expected a table with the fields of the request");
            return None;
        }
        let mut inner = table.table("fields")?;
        let node = self.map(&mut inner, format == Some(Format::Json));
        table.close(inner);
        Some(node)
    }

    fn map(&self, table: &mut Table, deep: bool) -> Node {
        let mut fields = Vec::new();
        for key in table.names() {
            let Some(value) = table.read(&key, "a value", |v| Some(v.clone())) else { continue };
            if let Some(node) = self.node(table, &key, value, deep) {
                fields.push((key, node));
            }
        }
        Node::Map(fields)
    }

    fn node(&self, table: &mut Table, key: &str, value: Value, deep: bool) -> Option<Node> {
        match value {
            Value::String(text) => self.parsed(table, key, &text).map(Node::Leaf),
            Value::Object(map) if deep => {
                let mut inner = Vec::new();
                for (name, value) in map {
                    let node = self.node(table, &format!("{key}.{name}"), value, deep)?;
                    inner.push((name, node));
                }
                Some(Node::Map(inner))
            }
            Value::Array(items) if deep => {
                let nodes =
                    items.into_iter().enumerate().map(|(i, v)| self.node(table, &format!("{key}[{i}]"), v, deep));
                nodes.collect::<Option<Vec<_>>>().map(Node::List)
            }
            Value::Object(_) | Value::Array(_) => {
                table.fault(key, "expected a word, a number or true or false: only a request with format = \"json\" has tables and lists");
                None
            }
            fixed => Some(Node::Fixed(fixed)),
        }
    }

    fn answer(&self, table: &mut Table) -> Answer {
        let Some(mut inner) = table.table("answer") else { return answer_of(&mut Table::default()) };
        let answer = answer_of(&mut inner);
        table.close(inner);
        answer
    }

    fn webhooks(&self, table: &mut Table, auth: &Auth) -> Vec<Webhook> {
        let mut webhooks = Vec::new();
        for mut inner in table.tables("webhook") {
            let path = inner.required("path", "the last part of its address, such as \"in\"");
            let methods = inner.read("methods", "a list of methods, such as [\"POST\"]", |v| {
                v.as_array()?.iter().map(|m| http::Method::from_str(m.as_str()?).ok()).collect::<Option<Vec<_>>>()
            });
            let format = format(&mut inner).unwrap_or(Format::Form);
            let each = place(&mut inner, "each");
            let message = self.message(&mut inner);
            let report = report(&mut inner);
            let own = self.auth(&mut inner);
            let auth = if own.scheme.is_some() || !own.sources.is_empty() { own } else { auth.clone() };
            if auth.scheme.is_none() && auth.sources.is_empty() {
                inner.fault(
                    "auth",
                    "is missing: expected a table that says how the provider proves itself ([auth] for all webhooks)",
                );
            }
            if message.is_none() && report.is_none() {
                inner.fault("message", "is missing: expected [webhook.message] or [webhook.report]");
            }
            let reply = reply(&mut inner);
            table.close(inner);
            if let Some(path) = path {
                let methods = methods.unwrap_or_else(|| vec![http::Method::POST]);
                webhooks.push(Webhook { path, methods, format, each, message, report, auth, reply });
            }
        }
        webhooks
    }

    fn message(&self, table: &mut Table) -> Option<MessageFields> {
        let mut inner = table.table("message")?;
        let when = condition(&mut inner, "when");
        let from = needed_place(&mut inner, "from");
        let to_is = self.template(&mut inner, "to_is");
        let to = if to_is.is_some() { place(&mut inner, "to") } else { needed_place(&mut inner, "to") };
        let text = place(&mut inner, "text");
        let charset = place(&mut inner, "charset");
        let hex = place(&mut inner, "text_hex");
        let hex_when = condition(&mut inner, "hex_when");
        if hex.is_some() != hex_when.is_some() {
            inner.fault("hex_when", "expected text_hex and hex_when together");
        }
        let parts = ["part_of", "part", "parts"].map(|key| place(&mut inner, key));
        let some = parts.iter().filter(|p| p.is_some()).count();
        if some != 0 && some != 3 {
            inner.fault("parts", "expected part_of, part and parts together");
        }
        let parts = match parts {
            [Some(of), Some(part), Some(parts)] => Some([of, part, parts]),
            _ => None,
        };
        let once =
            inner.read("once", "a list of \"id\", \"text\", \"at\", \"media\" (sender and number always count)", |v| {
                v.as_array()?.iter().map(|word| once(word.as_str()?)).collect::<Option<Vec<_>>>()
            });
        let (id, at, media) = (place(&mut inner, "id"), place(&mut inner, "at"), place(&mut inner, "media"));
        table.close(inner);
        let once = once.unwrap_or_else(|| vec![OnceField::Id, OnceField::Text, OnceField::At, OnceField::Media]);
        let from = from?;
        Some(MessageFields {
            when,
            from,
            to,
            to_is,
            text,
            charset,
            text_hex: hex.zip(hex_when),
            id,
            at,
            media,
            parts,
            once,
        })
    }
}

fn answer_of(inner: &mut Table) -> Answer {
    let list = |inner: &mut Table, key: &str, default: &[&str]| {
        inner.strings(key).unwrap_or_else(|| default.iter().map(|s| (*s).to_owned()).collect())
    };
    Answer {
        taken: list(inner, "taken", &["2*"]),
        taken_when: condition(inner, "taken_when"),
        refused: list(inner, "refused", &["4*"]),
        again: list(inner, "again", &["429"]),
        again_codes: list(inner, "again_codes", &[]),
        already: list(inner, "already", &[]),
        idempotent: inner.bool("idempotent").unwrap_or(false),
        id: place(inner, "id"),
        code: place(inner, "code"),
        words: place(inner, "words"),
    }
}

fn numbers(table: &mut Table) -> Numbers {
    let Some(mut inner) = table.table("numbers") else { return Numbers::default() };
    let out_digits = inner.choice("out", &["plus", "digits"]) == Some("digits");
    let in_digits = inner.choice("in", &["plus", "digits"]) == Some("digits");
    table.close(inner);
    Numbers { out_digits, in_digits }
}

fn codes(table: &mut Table) -> BTreeMap<String, Reason> {
    let Some(mut inner) = table.table("codes") else { return BTreeMap::new() };
    let words: Vec<&'static str> = Reason::WORDS.iter().map(|(word, _)| *word).collect();
    let mut codes = BTreeMap::new();
    for code in inner.names() {
        let word = inner.choice(&code, &words);
        codes.extend(Reason::WORDS.iter().find(|(w, _)| Some(*w) == word).map(|(_, reason)| (code.clone(), *reason)));
    }
    table.close(inner);
    codes
}

fn media(table: &mut Table) -> MediaSource {
    let Some(mut inner) = table.table("media") else { return MediaSource::default() };
    let lower = |list: Option<Vec<String>>| -> Vec<String> {
        list.unwrap_or_default().iter().map(|h| h.to_ascii_lowercase()).collect()
    };
    let source = MediaSource { hosts: lower(inner.strings("hosts")), login_hosts: lower(inner.strings("login_hosts")) };
    table.close(inner);
    source
}

fn method(table: &mut Table) -> Option<http::Method> {
    table.choice("method", &["POST", "GET", "PUT"]).and_then(|m| http::Method::from_str(m).ok())
}

fn format(table: &mut Table) -> Option<Format> {
    table.choice("format", &["form", "json", "query"]).map(|word| match word {
        "json" => Format::Json,
        "query" => Format::Query,
        _ => Format::Form,
    })
}

fn header(table: &mut Table, key: &str) -> Option<http::HeaderName> {
    let name = table.required(key, "the name of a header")?;
    let read = http::HeaderName::from_str(&name).ok();
    if read.is_none() {
        table.fault(key, "expected the name of a header");
    }
    read
}

fn seconds(table: &mut Table, key: &str, default: u64) -> u64 {
    table.integer(key, 1, 86_400).and_then(|n| u64::try_from(n).ok()).unwrap_or(default)
}

fn place(table: &mut Table, key: &str) -> Option<Select> {
    table.read(key, Select::EXPECTED, |v| Select::read(v.as_str()?))
}

fn needed_place(table: &mut Table, key: &str) -> Option<Select> {
    if !table.has(key) {
        table.fault(key, format!("is missing: expected {}", Select::EXPECTED));
    }
    place(table, key)
}

fn condition(table: &mut Table, key: &str) -> Option<When> {
    let mut inner = table.table(key)?;
    let at = needed_place(&mut inner, "at");
    let is = inner.strings("is");
    if is.is_none() {
        inner.fault("is", "is missing: expected a list of words, one of which stands there");
    }
    table.close(inner);
    Some(When { at: at?, is: is? })
}

fn once(word: &str) -> Option<OnceField> {
    match word {
        "id" => Some(OnceField::Id),
        "text" => Some(OnceField::Text),
        "at" => Some(OnceField::At),
        "media" => Some(OnceField::Media),
        _ => None,
    }
}

fn report(table: &mut Table) -> Option<ReportFields> {
    let mut inner = table.table("report")?;
    let when = condition(&mut inner, "when");
    let (id, status) = (needed_place(&mut inner, "id"), needed_place(&mut inner, "status"));
    let (to, code, words) = (place(&mut inner, "to"), place(&mut inner, "code"), place(&mut inner, "words"));
    let delivered = inner.strings("delivered").unwrap_or_default();
    let failed = inner.strings("failed").unwrap_or_default();
    let displayed = inner.strings("displayed").unwrap_or_default();
    if delivered.is_empty() {
        inner.fault("delivered", "is missing: expected the states that mean that the text is on the phone");
    }
    table.close(inner);
    Some(ReportFields { when, id: id?, to, status: status?, code, words, delivered, failed, displayed })
}

fn reply(table: &mut Table) -> HookReply {
    let plain = http::HeaderValue::from_static("text/plain; charset=utf-8");
    let Some(mut inner) = table.table("reply") else {
        return HookReply { status: http::StatusCode::OK, body: String::new(), media_type: plain };
    };
    let status = inner.integer("status", 200, 299).and_then(|n| u16::try_from(n).ok());
    let status = status.and_then(|n| http::StatusCode::from_u16(n).ok()).unwrap_or(http::StatusCode::OK);
    let body = inner.string("body").unwrap_or_default();
    let media_type =
        inner.read("type", "a media type", |v| http::HeaderValue::from_str(v.as_str()?).ok()).unwrap_or(plain);
    table.close(inner);
    HookReply { status, body, media_type }
}

#[cfg(test)]
mod tests;
