//! Addresses of kept files: nobody can guess one, and none lasts for ever.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hmac::{Hmac, KeyInit, Mac};
use isthmus_bridge::BlobId;
use sha2::Sha256;
use url::Url;

/// Bytes of the authentication code in a link: 128 bits.
const MAC: usize = 16;

/// Makes and reads links `<public_url>/files/<token>/<name>`. The token holds the file's id and the time until which
/// the link is good, and is authenticated; nothing is stored, and no JID is in it.
#[derive(Clone)]
pub struct Links {
    key: Hmac<Sha256>,
    public_url: Url,
    good_for: Duration,
}

impl std::fmt::Debug for Links {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Links").field("public_url", &self.public_url.as_str()).finish_non_exhaustive()
    }
}

impl Links {
    /// The key must be the same for ever, or links given out before stop working.
    pub fn new(key: &[u8; 32], public_url: Url, good_for: Duration) -> Self {
        // HMAC takes keys of any length; the error type exists for other kinds of code.
        let key = Hmac::new_from_slice(key).expect("HMAC takes a key of any length");
        Self { key, public_url, good_for }
    }

    /// The address of a file from now on. `name` is shown, nothing depends on it.
    pub fn make(&self, id: &BlobId, name: &str, now: SystemTime) -> Url {
        let until = now + self.good_for;
        let until = until.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let token = format!("{}.{until:x}", id.as_str());
        let code = hex::encode(&self.code(&token).finalize().into_bytes()[..MAC]);
        let mut url = self.public_url.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(["files", &format!("{token}.{code}"), name]);
        }
        url
    }

    /// The file that a token of ours stands for, while it is good.
    pub fn open(&self, token: &str, now: SystemTime) -> Option<BlobId> {
        let (signed, code) = token.rsplit_once('.')?;
        let code = hex::decode(code).ok().filter(|code| code.len() == MAC)?;
        self.code(signed).verify_truncated_left(&code).ok()?;
        let (id, until) = signed.split_once('.')?;
        let until = UNIX_EPOCH.checked_add(Duration::from_secs(u64::from_str_radix(until, 16).ok()?))?;
        (now < until).then(|| BlobId::from(id))
    }

    fn code(&self, token: &str) -> Hmac<Sha256> {
        let mut code = self.key.clone();
        code.update(b"isthmus file link\0");
        code.update(token.as_bytes());
        code
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn links(key: u8) -> Links {
        let url = "https://gateway.example.org/isthmus/".parse().expect("a URL");
        Links::new(&[key; 32], url, Duration::from_secs(3600))
    }

    fn token(url: &Url) -> String {
        url.path_segments().and_then(|mut path| path.nth(2)).expect("a token").to_owned()
    }

    #[test]
    fn a_link_opens_its_file_until_its_time_is_over() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let id = BlobId::from("abcdefghijklmnopqrstuvwxyz");
        let url = links(1).make(&id, "a b/ü?.png", now);
        assert!(url.as_str().starts_with("https://gateway.example.org/isthmus/files/abc"), "{url}");
        assert!(url.as_str().ends_with("/a%20b%2F%C3%BC%3F.png"), "{url}");
        let token = token(&url);
        assert_eq!(links(1).open(&token, now), Some(id.clone()));
        assert_eq!(links(1).open(&token, now + Duration::from_secs(3599)), Some(id));
        assert_eq!(links(1).open(&token, now + Duration::from_secs(3600)), None, "too late");
        assert_eq!(links(2).open(&token, now), None, "another gateway's key");
    }

    #[test]
    fn a_token_that_was_tampered_with_opens_nothing() {
        let now = UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let token = token(&links(1).make(&BlobId::from("abcdefghijklmnopqrstuvwxyz"), "x", now));
        for index in 0..token.len() {
            let mut other = token.clone().into_bytes();
            other[index] = if other[index] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(other).expect("ASCII");
            assert_eq!(links(1).open(&other, now), None, "{other}");
        }
        for other in ["", ".", "..", "a.b.c", &token[..token.len() - 2], &format!("{token}00"), "a.ffffffffffffffff."] {
            assert_eq!(links(1).open(other, now), None, "{other}");
        }
    }
}
