//! Whether a webhook is the provider's. Pure: the time is an argument. Secrets are compared in constant time.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderName, Method};
use ring::{digest, hmac, signature};
use serde_json::Value;
use url::Url;

use super::select::pairs;
use super::spec::{Algorithm, Auth, Scheme, Signature, Signed, Token};
use super::template::{Fillings, Template};

/// A webhook's request.
#[derive(Debug)]
pub(crate) struct Called<'a> {
    /// Method.
    pub method: &'a Method,
    /// The whole URL as the provider called it (by `public_url`).
    pub url: Option<&'a Url>,
    /// What the path has after the webhook's own.
    pub rest: &'a str,
    /// Its query, as it came.
    pub query: &'a str,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Body.
    pub body: &'a Bytes,
    /// Who called; the last proxy's word where a proxy on this machine did.
    pub peer: Option<IpAddr>,
}

/// Why it is not believed; for one line in the log, without anything secret.
pub(crate) type Doubt = &'static str;

/// Whether it is the provider's.
pub(crate) fn believed(auth: &Auth, with: &Fillings, called: &Called<'_>, now: SystemTime) -> Result<(), Doubt> {
    if !auth.sources.is_empty() && !called.peer.is_some_and(|peer| within(&auth.sources, peer)) {
        return Err("it comes from a foreign network");
    }
    // A path with more in it than was declared is not ours.
    if !called.rest.is_empty() && !matches!(auth.scheme, Some(Scheme::PathSecret(_))) {
        return Err("its path is longer than declared");
    }
    match &auth.scheme {
        None if auth.sources.is_empty() => Err("nothing proves it"),
        None => Ok(()),
        Some(Scheme::PathSecret(secret)) => same_secret(secret, with, called.rest.as_bytes()),
        Some(Scheme::QuerySecret(field, secret)) => {
            let given = pairs(called.query.as_bytes()).into_iter().find(|(k, _)| k == field).map(|(_, v)| v);
            same_secret(secret, with, given.unwrap_or_default().as_bytes())
        }
        Some(Scheme::HeaderSecret(header, secret)) => {
            same_secret(secret, with, called.headers.get(header).map(|v| v.as_bytes()).unwrap_or_default())
        }
        Some(Scheme::Basic(user, password)) => basic(user, password, with, called.headers),
        Some(Scheme::Signature(signature)) => signed(signature, with, called, now),
        Some(Scheme::Token(token)) => tokened(token, with, called, now),
    }
}

/// Who called: where a proxy on this machine handed it on, whom it names last.
pub(crate) fn peer(socket: Option<SocketAddr>, headers: &HeaderMap) -> Option<IpAddr> {
    let socket = socket?.ip().to_canonical();
    if !socket.is_loopback() {
        return Some(socket);
    }
    let forwarded = headers.get_all("x-forwarded-for").iter().next_back().and_then(|v| v.to_str().ok());
    match forwarded {
        Some(list) => list.rsplit(',').next()?.trim().parse::<IpAddr>().ok().map(|ip| ip.to_canonical()),
        None => Some(socket),
    }
}

/// Whether an address is in one of these networks.
fn within(networks: &[(IpAddr, u8)], peer: IpAddr) -> bool {
    let bits = |ip: IpAddr| match ip {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()) << 96, true),
        IpAddr::V6(v6) => (v6.to_bits(), false),
    };
    let (address, four) = bits(peer);
    networks.iter().any(|(network, length)| {
        let (network, also_four) = bits(*network);
        four == also_four && (*length == 0 || (address ^ network) >> (128 - u32::from(*length)) == 0)
    })
}

fn same_secret(secret: &Template, with: &Fillings, given: &[u8]) -> Result<(), Doubt> {
    let secret = secret.plain(with).filter(|s| !s.is_empty()).ok_or("no secret is configured")?;
    if same(secret.as_bytes(), given) { Ok(()) } else { Err("its secret is wrong") }
}

/// Equal, in a time that does not tell how far they are: both are hashed with a key that nobody knows.
fn same(a: &[u8], b: &[u8]) -> bool {
    let mut key = [0; 32];
    rand::Rng::fill(&mut rand::rng(), &mut key[..]);
    let key = hmac::Key::new(hmac::HMAC_SHA256, &key);
    hmac::verify(&key, a, hmac::sign(&key, b).as_ref()).is_ok()
}

fn basic(user: &Template, password: &Template, with: &Fillings, headers: &HeaderMap) -> Result<(), Doubt> {
    let given = headers.get(AUTHORIZATION).and_then(|v| v.to_str().ok()?.strip_prefix("Basic ")).unwrap_or_default();
    let given = STANDARD.decode(given.trim()).unwrap_or_default();
    let (user, password) = (user.plain(with).unwrap_or_default(), password.plain(with).unwrap_or_default());
    if password.is_empty() {
        return Err("no password is configured");
    }
    if same(format!("{user}:{password}").as_bytes(), &given) { Ok(()) } else { Err("its password is wrong") }
}

fn signed(signature: &Signature, with: &Fillings, called: &Called<'_>, now: SystemTime) -> Result<(), Doubt> {
    let key = signature.key.plain(with).filter(|k| !k.is_empty()).ok_or("no key is configured")?;
    let given = called.headers.get(&signature.header).and_then(|v| v.to_str().ok()).ok_or("it has no signature")?;
    if let Some(header) = &signature.timestamp {
        let at = called.headers.get(header).and_then(|v| v.to_str().ok()?.trim().parse::<u64>().ok());
        fresh(at.ok_or("it has no time")?, signature.window, now)?;
    }
    let hash = signature
        .body_hash
        .as_ref()
        .and_then(|field| pairs(called.query.as_bytes()).into_iter().find(|(k, _)| k == field).map(|(_, hash)| hash));
    if let Some(hash) = &hash
        && !same(hash.to_ascii_lowercase().as_bytes(), sha256_hex(called.body).as_bytes())
    {
        return Err("its body is not the one that was signed");
    }
    let candidates = spellings(signature, called)?;
    let proofs: Vec<Vec<u8>> = given.split(',').filter_map(|one| decode(one.trim(), signature.hex)).collect();
    let good = candidates.iter().any(|url| {
        let data = pieces(signature, called, url, hash.is_some());
        data.is_some_and(|data| proofs.iter().any(|proof| verify(signature.algorithm, key.as_bytes(), &data, proof)))
    });
    if good { Ok(()) } else { Err("its signature is wrong") }
}

/// The URL in the spellings that a provider may have signed: as it is, without its port, with the usual one.
fn spellings(signature: &Signature, called: &Called<'_>) -> Result<Vec<String>, Doubt> {
    if !signature.over.iter().any(|piece| matches!(piece, Signed::Url | Signed::SortedUrl)) {
        return Ok(vec![String::new()]);
    }
    let url = called.url.ok_or("http.public_url is not configured, and the signature is over the URL")?;
    let text = url.as_str();
    let mut all = vec![text.to_owned()];
    if let (Some(host), Some((scheme, rest))) = (url.host_str(), text.split_once("://")) {
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let after = &rest[end..];
        all.push(format!("{scheme}://{host}{after}"));
        if let Some(port) = url.port_or_known_default() {
            all.push(format!("{scheme}://{host}:{port}{after}"));
        }
    }
    Ok(all)
}

fn pieces(signature: &Signature, called: &Called<'_>, url: &str, hashed: bool) -> Option<Vec<u8>> {
    let form = pairs(called.body);
    let mut data = Vec::new();
    for piece in &signature.over {
        match piece {
            Signed::Url => data.extend_from_slice(url.as_bytes()),
            Signed::SortedUrl => data.extend_from_slice(sorted_url(url, !called.body.is_empty()).as_bytes()),
            // A body that is no form is signed by its hash in the query.
            Signed::Fields if hashed || called.method == Method::GET => {}
            Signed::Fields => {
                let mut sorted = form.clone();
                sorted.sort();
                sorted.dedup();
                sorted.iter().for_each(|(k, v)| data.extend_from_slice(format!("{k}{v}").as_bytes()));
            }
            Signed::Body => data.extend_from_slice(called.body),
            Signed::Header(name) => data.extend_from_slice(called.headers.get(name)?.as_bytes()),
            Signed::Words(words) => data.extend_from_slice(words.as_bytes()),
        }
    }
    Some(data)
}

/// The URL with its query sorted; a dot where fields of a form follow.
fn sorted_url(url: &str, fields: bool) -> String {
    let (base, query) = url.split_once('?').unwrap_or((url, ""));
    let mut all = pairs(query.as_bytes());
    all.sort();
    let query: Vec<String> = all.iter().map(|(k, v)| format!("{k}={v}")).collect();
    let mark = if !query.is_empty() || fields { "?" } else { "" };
    let dot = if !query.is_empty() && fields { "." } else { "" };
    format!("{base}{mark}{}{dot}", query.join("&"))
}

fn verify(algorithm: Algorithm, key: &[u8], data: &[u8], proof: &[u8]) -> bool {
    let hash = match algorithm {
        Algorithm::Ed25519 => {
            let Ok(key) = STANDARD.decode(key) else { return false };
            return signature::UnparsedPublicKey::new(&signature::ED25519, key).verify(data, proof).is_ok();
        }
        Algorithm::HmacSha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
        Algorithm::HmacSha256 => hmac::HMAC_SHA256,
        Algorithm::HmacSha512 => hmac::HMAC_SHA512,
    };
    hmac::verify(&hmac::Key::new(hash, key), data, proof).is_ok()
}

fn decode(text: &str, hexed: bool) -> Option<Vec<u8>> {
    if hexed {
        hex::decode(text).ok()
    } else {
        STANDARD.decode(text).ok().or_else(|| STANDARD_NO_PAD.decode(text).ok())
    }
}

/// A JWT over the body. The algorithm is chosen among those of a shared secret, never `none` and never one of a public key.
fn tokened(token: &Token, with: &Fillings, called: &Called<'_>, now: SystemTime) -> Result<(), Doubt> {
    let key = token.key.plain(with).filter(|k| !k.is_empty()).ok_or("no key is configured")?;
    let given = header_text(called.headers, &token.header).ok_or("it has no token")?;
    let given = given.strip_prefix("Bearer ").unwrap_or(given).trim();
    let claims = claims(given, key.as_bytes())?;
    let time = |name: &str| claims[name].as_f64().filter(|t| t.is_finite() && *t >= 0.0).map(|t| t as u64);
    let unix = seconds(now);
    match (time("exp"), time("iat")) {
        (Some(exp), _) if unix > exp.saturating_add(60) => return Err("its token is too old"),
        (None, Some(iat)) => fresh(iat, token.window, now)?,
        (None, None) => return Err("its token has no time"),
        _ => {}
    }
    if time("nbf").is_some_and(|nbf| nbf > unix + 60) {
        return Err("its token is from the future");
    }
    match claims[token.body_claim.as_str()].as_str() {
        Some(hash) if same(hash.to_ascii_lowercase().as_bytes(), sha256_hex(called.body).as_bytes()) => {}
        None if called.body.is_empty() => {}
        _ => return Err("its body is not the one that was signed"),
    }
    let Some(claim) = &token.url_claim else { return Ok(()) };
    let signed = claims[claim.as_str()].as_str().unwrap_or_default().to_ascii_lowercase();
    let url = called.url.ok_or("http.public_url is not configured, and the token is over the URL")?;
    if same(signed.as_bytes(), sha256_hex(url.as_str().as_bytes()).as_bytes()) {
        Ok(())
    } else {
        Err("its URL is not the one that was signed")
    }
}

/// The claims of a token whose signature holds.
fn claims(token: &str, key: &[u8]) -> Result<Value, Doubt> {
    let mut parts = token.split('.');
    let (Some(head), Some(body), Some(proof), None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        return Err("its token is none");
    };
    let json = |part: &str| -> Option<Value> { serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).ok()?).ok() };
    let header = json(head).ok_or("its token is none")?;
    let hash = match header["alg"].as_str() {
        Some("HS256") => hmac::HMAC_SHA256,
        Some("HS384") => hmac::HMAC_SHA384,
        Some("HS512") => hmac::HMAC_SHA512,
        _ => return Err("its token is signed in a way that is not taken"),
    };
    let proof = URL_SAFE_NO_PAD.decode(proof).map_err(|_| "its token is none")?;
    hmac::verify(&hmac::Key::new(hash, key), format!("{head}.{body}").as_bytes(), &proof)
        .map_err(|_| "its signature is wrong")?;
    json(body).ok_or("its token is none")
}

fn header_text<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h str> {
    headers.get(name).and_then(|v| v.to_str().ok())
}

fn fresh(at: u64, window: u64, now: SystemTime) -> Result<(), Doubt> {
    if seconds(now).abs_diff(at) <= window { Ok(()) } else { Err("its time is too far away") }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// SHA-256 in hex.
pub(crate) fn sha256_hex(data: &[u8]) -> String {
    hex::encode(digest::digest(&digest::SHA256, data))
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
