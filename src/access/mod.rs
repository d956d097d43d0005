//! Who may do what: tiers by the bare JID, and quotas.
//!
//! Pure: no clock, no store. A gateway knows its users only by JID, and a component cannot learn its server's domains, so both come from the
//! configuration (`[access]`, `server.domains`).

mod quota;
mod storage;

pub use quota::{Limiter, Over, Pace, Quota, Quotas};
pub use storage::{Full, Held, Ledger, Storage, Verdict};

use globset::{GlobBuilder, GlobMatcher};
use isthmus_bridge::BareJid;
use std::sync::Arc;

/// What somebody may do. Ordered: each tier includes the ones before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tier {
    /// Nothing; their stanzas are answered with `forbidden` and nothing reaches them.
    Blocked,
    /// Gets what others send to them, sends nothing of their own.
    Receive,
    /// Uses the gateway.
    User,
    /// Administers it as well.
    Admin,
}

impl Tier {
    /// The words of the configuration, in order.
    pub const NAMES: [&'static str; 4] = ["blocked", "receive", "user", "admin"];

    /// The tier of this word of the configuration.
    pub fn by_name(name: &str) -> Option<Self> {
        match name {
            "blocked" => Some(Self::Blocked),
            "receive" => Some(Self::Receive),
            "user" => Some(Self::User),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    /// Its word in the configuration.
    pub fn name(self) -> &'static str {
        Self::NAMES[self as usize]
    }
}

/// A glob over bare JIDs: `*@example.org`, `bot-?@*.example.org`; without `@` it is one over the domain alone.
#[derive(Debug, Clone)]
pub struct Pattern {
    matcher: GlobMatcher,
    whole: bool,
}

impl Pattern {
    /// The pattern, or what is wrong with it in words for the administrator.
    pub fn new(glob: &str) -> Result<Self, String> {
        if glob.trim().is_empty() {
            return Err("is empty".to_owned());
        }
        // JIDs arrive normalised, thus in lower case (RFC 7622 maps the local part, IDNA the domain).
        GlobBuilder::new(&glob.trim().to_lowercase())
            .build()
            .map(|g| Self { matcher: g.compile_matcher(), whole: glob.contains('@') })
            .map_err(|e| e.kind().to_string())
    }

    /// Whether it matches a normalised bare JID.
    pub fn matches(&self, user: &BareJid) -> bool {
        self.matcher.is_match(if self.whole { user.as_str() } else { domain(user) })
    }
}

impl std::fmt::Display for Pattern {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.matcher.glob().glob())
    }
}

/// A rule: these JIDs have that tier.
#[derive(Debug, Clone)]
pub struct Rule {
    /// Whom it is about.
    pub pattern: Pattern,
    /// What they may do.
    pub tier: Tier,
}

/// The tiers in force for one bridge (or for the core itself).
#[derive(Debug, Clone)]
pub struct Policy {
    /// Administrators; no rule takes that from them, so that nobody locks themselves out.
    pub admins: Arc<[BareJid]>,
    /// Domains whose users are local (`server.domains`), normalised.
    pub domains: Arc<[String]>,
    /// Tier of users of [`domains`](Self::domains).
    pub default: Tier,
    /// Tier of everybody else.
    pub foreign: Tier,
    /// Before both; the first that matches wins.
    pub rules: Vec<Rule>,
}

impl Policy {
    /// The tier of a user: administrators, then the first rule that matches, then by the domain.
    pub fn tier(&self, user: &BareJid) -> Tier {
        if self.admins.contains(user) {
            return Tier::Admin;
        }
        if let Some(rule) = self.rules.iter().find(|r| r.pattern.matches(user)) {
            return rule.tier;
        }
        let domain = domain(user);
        if self.domains.iter().any(|d| d == domain) { self.default } else { self.foreign }
    }

    /// Whether a user is an administrator.
    pub fn is_admin(&self, user: &BareJid) -> bool {
        self.tier(user) == Tier::Admin
    }
}

/// The domain of a bare JID.
fn domain(user: &BareJid) -> &str {
    user.as_str().split_once('@').map_or(user.as_str(), |(_, d)| d)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(rules: &[(&str, Tier)]) -> Policy {
        Policy {
            admins: [BareJid::new("admin@example.org")].into(),
            domains: ["example.org".to_owned()].into(),
            default: Tier::User,
            foreign: Tier::Blocked,
            rules: rules.iter().map(|(g, t)| Rule { pattern: Pattern::new(g).expect("a glob"), tier: *t }).collect(),
        }
    }

    #[test]
    fn the_tier_of_a_user() {
        use Tier::*;
        let none: &[(&str, Tier)] = &[];
        type Case<'c> = (&'c [(&'c str, Tier)], &'c str, Tier);
        let table: &[Case<'_>] = &[
            (none, "juliet@example.org", User),
            (none, "juliet@sub.example.org", Blocked),
            (none, "juliet@notexample.org", Blocked),
            (none, "example.org", User),
            (none, "admin@example.org", Admin),
            (&[("*", Blocked)], "admin@example.org", Admin),
            (&[("*@spam.example", Blocked), ("*", User)], "x@spam.example", Blocked),
            (&[("*@spam.example", Blocked), ("*", User)], "x@other.example", User),
            (&[("partner.example", Receive)], "x@partner.example", Receive),
            (&[("partner.example", Receive)], "x@sub.partner.example", Blocked),
            (&[("*.partner.example", Receive)], "x@sub.partner.example", Receive),
            (&[("partner.example", Receive)], "partner.example@evil.example", Blocked),
            (&[("Ops-*@Example.org", Admin)], "ops-7@example.org", Admin),
            (&[("ops-?@example.org", Admin)], "ops-77@example.org", User),
            (&[("juliet@example.org", Receive), ("juliet@example.org", Admin)], "juliet@example.org", Receive),
        ];
        for (rules, user, tier) in table {
            assert_eq!(policy(rules).tier(&BareJid::new(*user)), *tier, "{user} under {rules:?}");
        }
    }

    #[test]
    fn a_bad_glob_is_refused_in_words() {
        assert!(Pattern::new("[a@example.org").is_err());
        assert!(Pattern::new(" ").is_err());
    }

    #[test]
    fn tiers_are_ordered_and_named() {
        for (i, name) in Tier::NAMES.iter().enumerate() {
            let tier = Tier::by_name(name).expect("a tier");
            assert_eq!((tier as usize, tier.name()), (i, *name));
        }
        assert!(Tier::Blocked < Tier::Receive && Tier::Receive < Tier::User && Tier::User < Tier::Admin);
    }
}
