//! How webhooks prove themselves: `[auth]` and `[webhook.auth]`.

use std::net::IpAddr;
use std::str::FromStr;

use isthmus_bridge::section::Table;

use super::{Reader, header, seconds};
use crate::provider::spec::{Algorithm, Auth, Scheme, Signature, Signed, Token};

const SECRET: &str = "a secret, such as \"{webhook_secret}\"";

impl Reader {
    pub(super) fn auth(&self, table: &mut Table) -> Auth {
        let Some(mut inner) = table.table("auth") else { return Auth::default() };
        let sources = inner
            .read("sources", "a list of networks such as \"192.0.2.0/24\"", |v| {
                v.as_array()?.iter().map(|n| network(n.as_str()?)).collect::<Option<Vec<_>>>()
            })
            .unwrap_or_default();
        let words = &["path-secret", "query-secret", "header-secret", "basic", "signature", "jwt", "sources"];
        let scheme = match inner.choice("scheme", words) {
            Some("path-secret") => self.needed(&mut inner, "secret", SECRET).map(Scheme::PathSecret),
            Some("query-secret") => {
                let name = inner.required("field", "the name of a field of the query");
                let secret = self.needed(&mut inner, "secret", SECRET);
                name.zip(secret).map(|(name, secret)| Scheme::QuerySecret(name, secret))
            }
            Some("header-secret") => {
                let header = header(&mut inner, "header");
                let secret = self.needed(&mut inner, "secret", SECRET);
                header.zip(secret).map(|(name, secret)| Scheme::HeaderSecret(name, secret))
            }
            Some("basic") => {
                let user = self.needed(&mut inner, "user", SECRET);
                let password = self.needed(&mut inner, "password", SECRET);
                user.zip(password).map(|(user, password)| Scheme::Basic(user, password))
            }
            Some("signature") => self.signature(&mut inner).map(Scheme::Signature),
            Some("jwt") => self.token(&mut inner).map(Scheme::Token),
            _ => None,
        };
        table.close(inner);
        Auth { sources, scheme }
    }

    fn signature(&self, table: &mut Table) -> Option<Signature> {
        let algorithm = table.choice("algorithm", &["hmac-sha1", "hmac-sha256", "hmac-sha512", "ed25519"]);
        let algorithm = match algorithm {
            Some("hmac-sha1") => Algorithm::HmacSha1,
            Some("hmac-sha512") => Algorithm::HmacSha512,
            Some("ed25519") => Algorithm::Ed25519,
            _ => Algorithm::HmacSha256,
        };
        let key = self.needed(table, "key", "the secret, or the public key in base64, such as \"{auth_token}\"");
        let header_ = header(table, "header");
        let hex = table.choice("encoding", &["base64", "hex"]) == Some("hex");
        let over = table.read(
            "over",
            "a list of \"url\", \"sorted-url\", \"fields\", \"body\", \"header:Name\", \"words:…\"",
            |v| {
                v.as_array()?
                    .iter()
                    .map(|piece| signed(piece.as_str()?))
                    .collect::<Option<Vec<_>>>()
                    .filter(|l| !l.is_empty())
            },
        );
        if over.is_none() {
            table.fault("over", "is missing: expected what is signed, such as [\"body\"]");
        }
        let timestamp = if table.has("timestamp") { header(table, "timestamp") } else { None };
        let window = seconds(table, "window", 300);
        let body_hash = table.string("body_hash");
        Some(Signature { algorithm, key: key?, header: header_?, hex, over: over?, timestamp, window, body_hash })
    }

    fn token(&self, table: &mut Table) -> Option<Token> {
        let header = if table.has("header") { header(table, "header") } else { Some(http::header::AUTHORIZATION) };
        let key = self.needed(table, "key", "the secret that signs tokens, such as \"{signature_secret}\"");
        let body_claim = table.string("body_claim").unwrap_or_else(|| "payload_hash".to_owned());
        let url_claim = table.string("url_claim");
        let window = seconds(table, "window", 300);
        Some(Token { header: header?, key: key?, body_claim, url_claim, window })
    }
}

fn signed(piece: &str) -> Option<Signed> {
    Some(match piece {
        "url" => Signed::Url,
        "sorted-url" => Signed::SortedUrl,
        "fields" => Signed::Fields,
        "body" => Signed::Body,
        other => match other.split_once(':')? {
            ("header", name) => Signed::Header(http::HeaderName::from_str(name).ok()?),
            ("words", words) => Signed::Words(words.to_owned()),
            _ => return None,
        },
    })
}

/// `192.0.2.0/24` or a single address.
pub(super) fn network(text: &str) -> Option<(IpAddr, u8)> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address.parse::<IpAddr>().ok()?, Some(bits.parse::<u8>().ok()?)),
        None => (text.parse::<IpAddr>().ok()?, None),
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    let bits = bits.unwrap_or(most);
    (bits <= most).then_some((address, bits))
}
