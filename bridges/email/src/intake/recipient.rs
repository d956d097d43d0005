//! Whom a `RCPT TO` means.

use isthmus_bridge::{BareJid, Gateway, StoreError};
use tracing::warn;

use crate::address::Mailbox;
use crate::auth::Peer;
use crate::config::Config;
use crate::envelope::{self, Bounce};
use crate::proto::Reply;

/// A recipient that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Recipient {
    /// A user.
    User {
        /// Who.
        user: BareJid,
        /// As addressed, tag included.
        address: Mailbox,
    },
    /// `postmaster@` and `abuse@` (RFC 2142).
    Administrators(Mailbox),
    /// The return path of a mail of ours.
    Bounce(Bounce),
    /// It looks like one, and was never made here. Refused at once by SMTP; behind our own server a refusal would bounce to a forged sender.
    Forged,
}

/// Finds out. Refusals are those that LMTP may make too: there is no such recipient, or try again.
pub(super) async fn resolve(config: &Config, host: &dyn Gateway, to: &str, peer: &Peer) -> Result<Recipient, Reply> {
    let unknown = || Reply::new(550, "5.1.1", "no such person here");
    let mailbox = match Mailbox::parse(to) {
        Ok(mailbox) => mailbox,
        // RFC 5321 section 4.5.1: reserved, also without a domain.
        Err(_) if to.eq_ignore_ascii_case("postmaster") => {
            Mailbox::new("postmaster", &config.mail_domain).map_err(|_| unknown())?
        }
        Err(_) => return Err(Reply::new(550, "5.1.3", "that is no mail address")),
    };
    if mailbox.domain() != config.mail_domain {
        return Err(Reply::new(550, "5.7.1", "mail for that domain is not taken here"));
    }
    if envelope::looks_like_one(&mailbox) {
        return match envelope::verify(host, &mailbox, &config.mail_domain) {
            Some(bounce) => Ok(Recipient::Bounce(bounce)),
            None if *peer == Peer::Mta => Ok(Recipient::Forged),
            None => Err(Reply::new(550, "5.1.1", "no such bounce address")),
        };
    }
    let contact = mailbox.contact();
    let local = contact.as_str().rsplit_once('@').map_or("", |(local, _)| local);
    let untagged = local.split('+').next().unwrap_or(local);
    if matches!(untagged, "postmaster" | "abuse") {
        return if host.admins().is_empty() && config.postmaster.is_empty() {
            Err(unknown())
        } else {
            Ok(Recipient::Administrators(mailbox))
        };
    }
    match user(config, host, local, untagged).await {
        Ok(Some(user)) if host.may_receive(&user) => Ok(Recipient::User { user, address: mailbox }),
        Ok(_) => Err(unknown()),
        Err(fault) => {
            warn!(error = %fault, "a recipient could not be looked up");
            Err(Reply::new(451, "4.3.0", "storage is away, try again later"))
        }
    }
}

async fn user(config: &Config, host: &dyn Gateway, local: &str, untagged: &str) -> Result<Option<BareJid>, StoreError> {
    for alias in [local, untagged] {
        let Ok(alias) = Mailbox::new(alias, &config.mail_domain) else { continue };
        if let Some(user) = host.owner(&alias.contact()).await? {
            return Ok(Some(user));
        }
        if local == untagged {
            break;
        }
    }
    Ok(fixed_form(config, untagged))
}

/// `juliet=capulet.lit`: for users of our own domains who did not register.
fn fixed_form(config: &Config, local: &str) -> Option<BareJid> {
    if !config.fixed_form {
        return None;
    }
    let (node, domain) = local.rsplit_once('=')?;
    // What nodeprep forbids in a JID (RFC 6122 appendix A.5) stands in no local part of one.
    let sound = !node.is_empty() && !node.contains(['"', '&', '\'', '/', ':', '<', '>', '@', ' ']);
    let ours = config.local_domains.iter().any(|d| d.eq_ignore_ascii_case(domain));
    (sound && ours).then(|| BareJid::new(format!("{node}@{}", domain.to_ascii_lowercase())))
}
