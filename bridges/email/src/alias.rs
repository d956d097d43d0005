//! Which local parts a user may have at the mail domain.

/// Never a user's: the names of RFC 2142, those by which certificate authorities verify a domain, and what mail systems use themselves.
/// Whoever receives mail to `hostmaster@` can obtain a certificate for the domain.
const RESERVED: [&str; 70] = [
    // RFC 2142
    "abuse",
    "ftp",
    "hostmaster",
    "info",
    "marketing",
    "news",
    "noc",
    "postmaster",
    "sales",
    "security",
    "support",
    "usenet",
    "uucp",
    "webmaster",
    "www",
    "list",
    "list-request",
    // certificate authorities (CA/Browser Forum, 3.2.2.4.4) and what others have accepted
    "admin",
    "administrator",
    "ssl-admin",
    "ssladmin",
    "ssl-administrator",
    "ssladministrator",
    "ssl-webmaster",
    "sslwebmaster",
    "sysadmin",
    "it",
    "is",
    "mis",
    "dns-admin",
    "dnsadmin",
    "domain-admin",
    "domains",
    "ca",
    "certificates",
    "certs",
    "pki",
    "ssl",
    "tls",
    // systems
    "root",
    "mailer-daemon",
    "mail-daemon",
    "daemon",
    "bounce",
    "bounces",
    "nobody",
    "noreply",
    "no-reply",
    "do-not-reply",
    "system",
    "operator",
    "owner",
    "mail",
    "email",
    "smtp",
    "imap",
    "listserv",
    "majordomo",
    "mailman",
    "spam",
    "phishing",
    "dmarc",
    "tlsrpt",
    "autoconfig",
    "autodiscover",
    "localhost",
    "postfix",
    "gateway",
    "isthmus",
    "xmpp",
];

/// Why a name cannot be an alias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BadAlias {
    /// Letters, digits, `.`, `-`, `_`; neither first nor last a mark; 2 to 48 characters.
    Form,
    /// It is one that belongs to the domain's operator.
    Reserved,
}

/// An alias as it is claimed: lower case.
pub(crate) fn read(typed: &str) -> Result<String, BadAlias> {
    let alias = typed.trim().to_ascii_lowercase();
    let holds = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '.' | '-' | '_');
    let ends = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    let form = (2..=48).contains(&alias.len())
        && alias.chars().all(holds)
        && ends(alias.chars().next())
        && ends(alias.chars().next_back())
        && !alias.contains("..");
    if !form {
        return Err(BadAlias::Form);
    }
    if is_reserved(&alias) { Err(BadAlias::Reserved) } else { Ok(alias) }
}

/// Whether mail to it is the operator's, never a user's (RFC 2142; `-request`, `owner-` for lists).
pub(crate) fn is_reserved(local: &str) -> bool {
    let local = local.to_ascii_lowercase();
    RESERVED.contains(&local.as_str())
        || local.ends_with("-request")
        || local.ends_with("-owner")
        || local.starts_with("owner-")
        || local.starts_with("xn--")
}

/// The alias to propose to a user with this local part; `None` where it cannot be one.
pub(crate) fn proposal(local: &str) -> Option<String> {
    let plain: String = local
        .to_ascii_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' })
        .collect();
    read(plain.trim_matches(['-', '.', '_'])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_operator_are_nobodys() {
        for name in [
            "postmaster",
            "HostMaster",
            "admin",
            "administrator",
            "webmaster",
            "root",
            "ssl-admin",
            "mailer-daemon",
            "bounce",
            "abuse",
            "news-request",
        ] {
            assert_eq!(read(name), Err(BadAlias::Reserved), "{name}");
            assert!(is_reserved(name), "{name}");
        }
    }

    #[test]
    fn forms() {
        for (typed, alias) in [(" Juliet ", "juliet"), ("j.capulet-2_x", "j.capulet-2_x")] {
            assert_eq!(read(typed).as_deref(), Ok(alias));
        }
        for typed in ["", "a", ".a", "a.", "a..b", "a+b", "a=b", "a%b", "a@b", "a b", "é", "a\r\nb", &"a".repeat(49)] {
            assert_eq!(read(typed), Err(BadAlias::Form), "{typed:?}");
        }
    }

    #[test]
    fn proposals() {
        assert_eq!(proposal("juliet"), Some("juliet".into()));
        assert_eq!(proposal("o'brien"), Some("o-brien".into()));
        assert_eq!(proposal("admin"), None);
        assert_eq!(proposal("日本"), None);
    }
}
