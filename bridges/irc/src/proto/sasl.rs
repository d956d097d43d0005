//! SASL (IRCv3 3.2): PLAIN (RFC 4616), EXTERNAL, SCRAM-SHA-256 (RFC 5802, RFC 7677). Answers are made; what is sent when is the session's affair.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

/// A login that is under way.
#[derive(Debug)]
pub(crate) struct Login {
    mechanism: Mechanism,
    account: String,
    password: String,
    scram: Scram,
    /// A challenge that comes in pieces of 400 bytes.
    pieces: String,
}

/// A mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mechanism {
    Plain,
    External,
    ScramSha256,
}

impl Mechanism {
    /// By its name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        [Self::Plain, Self::External, Self::ScramSha256].into_iter().find(|m| m.name().eq_ignore_ascii_case(name))
    }

    /// As it is said in `AUTHENTICATE`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::External => "EXTERNAL",
            Self::ScramSha256 => "SCRAM-SHA-256",
        }
    }

    /// The one to use: what the user chose, else the best that the server names (one that names none has PLAIN).
    pub(crate) fn choose(chosen: &str, offered: &str) -> Self {
        if let Some(chosen) = Self::named(chosen) {
            return chosen;
        }
        let has = |m: Self| offered.split(',').any(|name| name.eq_ignore_ascii_case(m.name()));
        if has(Self::ScramSha256) { Self::ScramSha256 } else { Self::Plain }
    }
}

#[derive(Debug, Default)]
enum Scram {
    #[default]
    First,
    /// Sent the first message: nonce and bare message.
    Sent {
        nonce: String,
        bare: String,
    },
    /// Sent the proof: what the server has to answer.
    Proved {
        signature: Vec<u8>,
    },
    /// The server has proved that it knows the password.
    Verified,
    Done,
}

/// A server's words that cannot be true.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Nonsense;

impl Login {
    /// Not begun; `nonce` is random (SCRAM).
    pub(crate) fn new(mechanism: Mechanism, account: &str, password: &str) -> Self {
        Self {
            mechanism,
            account: account.to_owned(),
            password: password.to_owned(),
            scram: Scram::First,
            pieces: String::new(),
        }
    }

    /// Whether the server may say that all is well: with SCRAM only once it has proved itself (RFC 5802 section 3).
    pub(crate) fn may_end(&self) -> bool {
        self.mechanism != Mechanism::ScramSha256 || matches!(self.scram, Scram::Verified)
    }

    /// Its name.
    pub(crate) fn mechanism(&self) -> Mechanism {
        self.mechanism
    }

    /// The words of an `AUTHENTICATE` line from the server → the words of ours, one a line. `nonce` is random and printable.
    pub(crate) fn on_challenge(&mut self, words: &str, nonce: &str) -> Result<Vec<String>, Nonsense> {
        if words != "+" {
            self.pieces.push_str(words);
            if self.pieces.len() > 16 * 1024 {
                return Err(Nonsense);
            }
            if words.len() >= 400 {
                return Ok(Vec::new());
            }
        }
        let challenge = BASE64.decode(std::mem::take(&mut self.pieces)).map_err(|_| Nonsense)?;
        let answer = match self.mechanism {
            Mechanism::Plain => format!("{0}\0{0}\0{1}", self.account, self.password).into_bytes(),
            Mechanism::External => Vec::new(),
            Mechanism::ScramSha256 => self.scram(&challenge, nonce)?,
        };
        Ok(lines(&answer))
    }

    fn scram(&mut self, challenge: &[u8], nonce: &str) -> Result<Vec<u8>, Nonsense> {
        let challenge = std::str::from_utf8(challenge).map_err(|_| Nonsense)?;
        let field = |key: &str| challenge.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='));
        match std::mem::replace(&mut self.scram, Scram::Done) {
            Scram::First => {
                let account = self.account.replace('=', "=3D").replace(',', "=2C");
                let bare = format!("n={account},r={nonce}");
                let first = format!("n,,{bare}").into_bytes();
                self.scram = Scram::Sent { nonce: nonce.to_owned(), bare };
                Ok(first)
            }
            Scram::Sent { nonce, bare } => {
                let theirs = field("r").filter(|r| r.starts_with(&nonce) && r.len() > nonce.len()).ok_or(Nonsense)?;
                let salt = field("s").and_then(|s| BASE64.decode(s).ok()).ok_or(Nonsense)?;
                // A bound, for a server must not keep us busy for minutes.
                let rounds: u32 =
                    field("i").and_then(|i| i.parse().ok()).filter(|i| (1..=500_000).contains(i)).ok_or(Nonsense)?;
                let salted = hi(self.password.as_bytes(), &salt, rounds);
                let client_key = mac(&salted, b"Client Key");
                let stored = Sha256::digest(client_key);
                let without_proof = format!("c=biws,r={theirs}");
                let auth = format!("{bare},{challenge},{without_proof}");
                let signature = mac(&stored, auth.as_bytes());
                let proof: Vec<u8> = client_key.iter().zip(signature).map(|(a, b)| a ^ b).collect();
                let server_key = mac(&salted, b"Server Key");
                self.scram = Scram::Proved { signature: mac(&server_key, auth.as_bytes()).to_vec() };
                Ok(format!("{without_proof},p={}", BASE64.encode(proof)).into_bytes())
            }
            Scram::Proved { signature } => {
                let told = field("v").and_then(|v| BASE64.decode(v).ok()).ok_or(Nonsense)?;
                if told != signature {
                    return Err(Nonsense);
                }
                self.scram = Scram::Verified;
                Ok(Vec::new())
            }
            Scram::Verified | Scram::Done => Err(Nonsense),
        }
    }
}

/// Base64 in pieces of 400 bytes; a last piece of exactly 400 is followed by `+`.
fn lines(answer: &[u8]) -> Vec<String> {
    let encoded = BASE64.encode(answer);
    if encoded.is_empty() {
        return vec!["+".to_owned()];
    }
    let mut all: Vec<String> =
        encoded.as_bytes().chunks(400).map(|piece| String::from_utf8_lossy(piece).into_owned()).collect();
    if encoded.len().is_multiple_of(400) {
        all.push("+".to_owned());
    }
    all
}

fn mac(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

/// PBKDF2 with one block (RFC 5802 section 2.2).
fn hi(password: &[u8], salt: &[u8], rounds: u32) -> [u8; 32] {
    let mut salted = salt.to_vec();
    salted.extend_from_slice(&1u32.to_be_bytes());
    let mut last = mac(password, &salted);
    let mut sum = last;
    for _ in 1..rounds {
        last = mac(password, &last);
        sum.iter_mut().zip(last).for_each(|(s, l)| *s ^= l);
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(lines: &[String]) -> String {
        String::from_utf8(
            BASE64
                .decode(lines.concat().replace('+', ""))
                .unwrap_or_else(|_| BASE64.decode(lines.concat()).expect("base64")),
        )
        .expect("text")
    }

    #[test]
    fn plain_names_the_account_twice() {
        let mut login = Login::new(Mechanism::Plain, "jilles", "sesame");
        assert_eq!(login.on_challenge("+", ""), Ok(vec!["amlsbGVzAGppbGxlcwBzZXNhbWU=".to_owned()]));
        assert_eq!(Login::new(Mechanism::External, "a", "").on_challenge("+", ""), Ok(vec!["+".to_owned()]));
    }

    /// The example of RFC 7677 section 3.
    #[test]
    fn scram_is_that_of_the_rfc() {
        let mut login = Login::new(Mechanism::ScramSha256, "user", "pencil");
        let first = login.on_challenge("+", "rOprNGfwEbeRWgbNEkqO").expect("begins");
        assert_eq!(decoded(&first), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let challenge = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        let proof = login.on_challenge(&BASE64.encode(challenge), "").expect("goes on");
        let proof = String::from_utf8(BASE64.decode(proof.concat()).expect("base64")).expect("text");
        let expected = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
        assert_eq!(proof, expected);
        let good = BASE64.encode("v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert!(!login.may_end(), "the server has proved nothing yet");
        assert_eq!(login.on_challenge(&good, ""), Ok(vec!["+".to_owned()]));
        assert!(login.may_end());
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_found_out() {
        for wrong in ["r=other,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096", "r=nonceX,s=AA==,i=4000000000", "nonsense", ""] {
            let mut login = Login::new(Mechanism::ScramSha256, "user", "pencil");
            login.on_challenge("+", "nonce").expect("begins");
            assert_eq!(login.on_challenge(&BASE64.encode(wrong), ""), Err(Nonsense), "{wrong}");
        }
        assert_eq!(Login::new(Mechanism::Plain, "a", "b").on_challenge("?", ""), Err(Nonsense));
    }

    #[test]
    fn long_answers_come_in_pieces() {
        let mut login = Login::new(Mechanism::Plain, &"a".repeat(149), "");
        let all = login.on_challenge("+", "").expect("begins");
        assert_eq!((all[0].len(), all.last().map(String::as_str)), (400, Some("+")));
    }

    #[test]
    fn the_best_mechanism_is_chosen() {
        assert_eq!(Mechanism::choose("auto", "PLAIN,SCRAM-SHA-256"), Mechanism::ScramSha256);
        assert_eq!(Mechanism::choose("auto", ""), Mechanism::Plain);
        assert_eq!(Mechanism::choose("EXTERNAL", "PLAIN"), Mechanism::External);
    }
}
