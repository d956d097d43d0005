//! A declaration and what fills it → an HTTP request. Pure; everything that is filled in is escaped for where it goes.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, Method};
use serde_json::{Map, Value};
use url::Url;

use super::spec::{Format, Login, Node, Request};
use super::template::Fillings;

/// A request that is ready to go.
#[derive(Clone)]
pub(crate) struct Ready {
    /// Method.
    pub method: Method,
    /// Where; may hold secrets.
    pub url: Url,
    /// Headers; may hold secrets.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

/// Neither secrets nor words.
impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready")
            .field("method", &self.method)
            .field("host", &self.url.host_str())
            .finish_non_exhaustive()
    }
}

/// Makes it; the fault is for the operator and holds no secret.
pub(crate) fn make(request: &Request, with: &Fillings) -> Result<Ready, &'static str> {
    let url = request.url.url(with).ok_or("the URL names a field that this message has not")?;
    let mut url = Url::parse(&url).map_err(|_| "the URL is none")?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err("the URL is neither http nor https");
    }
    let mut headers = HeaderMap::new();
    for (name, template) in &request.headers {
        let Some(value) = template.plain(with) else { continue };
        headers.insert(name, secret(&value).ok_or("a header would hold what no header may hold")?);
    }
    if let Some(value) = login(request.login.as_ref(), with)? {
        headers.insert(AUTHORIZATION, value);
    }
    let body = match request.format {
        Format::Json => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            json(&request.fields, with).unwrap_or(Value::Object(Map::new())).to_string()
        }
        Format::Form => {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            let mut form = url::form_urlencoded::Serializer::new(String::new());
            form.extend_pairs(flat(&request.fields, with));
            form.finish()
        }
        Format::Query => {
            let all = flat(&request.fields, with);
            if !all.is_empty() {
                url.query_pairs_mut().extend_pairs(all);
            }
            String::new()
        }
    };
    Ok(Ready { method: request.method.clone(), url, headers, body: Bytes::from(body) })
}

/// What shows who asks.
pub(crate) fn login(login: Option<&Login>, with: &Fillings) -> Result<Option<HeaderValue>, &'static str> {
    let value = match login {
        None => return Ok(None),
        Some(Login::Bearer(token)) => format!("Bearer {}", token.plain(with).ok_or("the token is missing")?),
        Some(Login::Basic(user, password)) => {
            let user = user.plain(with).ok_or("the user is missing")?;
            let password = password.plain(with).ok_or("the password is missing")?;
            format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
        }
    };
    secret(&value).map(Some).ok_or("the credentials hold what no header may hold")
}

fn secret(value: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(value).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// `None`: a field that this message has not.
fn json(node: &Node, with: &Fillings) -> Option<Value> {
    Some(match node {
        Node::Leaf(template) => template.json(with)?,
        Node::Fixed(value) => value.clone(),
        Node::Map(fields) => {
            let all: Map<String, Value> =
                fields.iter().filter_map(|(k, n)| Some((k.clone(), json(n, with)?))).collect();
            if all.is_empty() && !fields.is_empty() {
                return None;
            }
            Value::Object(all)
        }
        Node::List(items) => {
            let all: Vec<Value> = items.iter().filter_map(|n| json(n, with)).collect();
            if all.is_empty() && !items.is_empty() {
                return None;
            }
            Value::Array(all)
        }
    })
}

fn flat(node: &Node, with: &Fillings) -> Vec<(String, String)> {
    let Node::Map(fields) = node else { return Vec::new() };
    let mut all = Vec::new();
    for (name, node) in fields {
        match node {
            Node::Leaf(template) => all.extend(template.several(with).into_iter().map(|v| (name.clone(), v))),
            Node::Fixed(Value::String(text)) => all.push((name.clone(), text.clone())),
            Node::Fixed(value) => all.push((name.clone(), value.to_string())),
            Node::Map(_) | Node::List(_) => {}
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::super::read::read;
    use super::super::template::Filling;
    use super::*;
    use secrecy::SecretString;

    fn fillings() -> Fillings {
        let mut with = Fillings::new([("token".to_owned(), SecretString::from("s\u{e9}cret".to_owned()))].into());
        with.text("to", "+15551234567");
        with.text("text", "a&b=\"c\"\r\n\u{1F600}");
        with.set("media", Filling::List(vec!["https://x/1".to_owned(), "https://x/2".to_owned()]));
        with
    }

    fn made(format: &str, fields: &str) -> Ready {
        let text = format!(
            "name=\"x\"\n[credentials]\ntoken=\"\"\n[send]\nurl=\"https://api.test/{{to}}\"\nformat=\"{format}\"\n[send.fields]\n{fields}"
        );
        make(&read("p", &text).expect("sound").send, &fillings()).expect("made")
    }

    #[test]
    fn nothing_leaves_its_place() {
        let json = made(
            "json",
            "t=\"{text}\"\nnone=\"{from}\"\nm=\"{media}\"\nn=3\ndeep={ a=[{b=\"{to}\"}], c=\"{from}\" }\ngone={x=\"{from}\"}",
        );
        let body: Value = serde_json::from_slice(&json.body).expect("JSON");
        assert_eq!(
            body,
            serde_json::json!({"t": "a&b=\"c\"\r\n\u{1F600}", "m": ["https://x/1", "https://x/2"], "n": 3, "deep": {"a": [{"b": "+15551234567"}]}})
        );
        assert_eq!(json.url.as_str(), "https://api.test/%2B15551234567");
        let form = made("form", "t=\"{text}\"\nm=\"{media}\"\nnone=\"{from}\"");
        let pairs: Vec<_> = url::form_urlencoded::parse(&form.body).into_owned().collect();
        let pair = |k: &str, v: &str| (k.to_owned(), v.to_owned());
        assert_eq!(pairs.len(), 3);
        for wanted in [pair("t", "a&b=\"c\"\r\n\u{1F600}"), pair("m", "https://x/1"), pair("m", "https://x/2")] {
            assert!(pairs.contains(&wanted), "{pairs:?}");
        }
        let query = made("query", "t=\"{text}\"");
        assert_eq!(
            query.url.query_pairs().next().map(|(_, v)| v.into_owned()).as_deref(),
            Some("a&b=\"c\"\r\n\u{1F600}")
        );
        assert!(query.body.is_empty());
    }

    #[test]
    fn a_header_cannot_be_broken() {
        let text =
            "name=\"x\"\n[send]\nurl=\"https://api.test/\"\n[send.headers]\nX-A=\"{text}\"\n[send.fields]\na=\"b\"";
        let spec = read("p", text).expect("sound");
        assert!(make(&spec.send, &fillings()).is_err(), "a line break would begin another header");
    }

    #[test]
    fn a_login_is_not_shown() {
        let text = "name=\"x\"\n[credentials]\ntoken=\"\"\n[send]\nurl=\"https://api.test/\"\ntoken=\"{token}\"\n[send.fields]\na=\"b\"";
        let ready = make(&read("p", text).expect("sound").send, &fillings()).expect("made");
        assert!(!format!("{ready:?} {:?}", ready.headers).contains("cret"));
        assert_eq!(ready.headers.get(AUTHORIZATION).map(HeaderValue::as_bytes), Some("Bearer s\u{e9}cret".as_bytes()));
    }
}
