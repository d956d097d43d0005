//! Bounces and dispositions → outcomes of what was sent.

use isthmus_bridge::{
    Address, BareJid, ContactId, DeliveryKey, ForeignMessageId, Known, Late, MessageRef, Refused, StoreError,
};
use tracing::{info, warn};

use super::{Fate, Intake, Letter};
use crate::address::Mailbox;
use crate::envelope::Bounce;
use crate::proto::Reply;
use crate::report::{self, Dsn, Mdn, Report};
use crate::{outgoing, state};

/// What became of a mail to a bounce address.
pub(super) enum Done {
    /// It was a report.
    Fate(Fate),
    /// It was an ordinary mail (of a vacation program), for this user at this address.
    Ordinary(BareJid, Mailbox),
}

/// Whom a bounce address was made for.
enum Whose {
    /// A recipient of the message; `None` where it has a single one that nobody knows the name of.
    Leg(Option<ContactId>),
    /// One of those whom "reply to all" added to this user's message.
    Added(BareJid, ContactId),
    /// Somebody whom this user's message went to, long ago.
    Unknown(BareJid),
    /// Of a message that nobody knows.
    Nobodys,
}

impl Intake {
    /// A mail to a bounce address, which was checked at RCPT: it is about that very message, whatever it looks like.
    pub(super) async fn bounced(&self, letter: &Letter, bounce: &Bounce) -> Done {
        let of = MessageRef::Key(bounce.key.clone());
        match &letter.report {
            Some(Report::Delivery(dsn)) => Done::Fate(self.delivery(&of, bounce, dsn).await),
            Some(Report::Disposition(mdn)) => {
                let leg = match self.whose(&of, bounce).await {
                    Ok(Whose::Leg(leg)) => leg,
                    Ok(_) => return Done::Fate(Fate::Taken),
                    Err(fault) => return Done::Fate(later(&fault.to_string())),
                };
                Done::Fate(self.disposition(&of, leg, mdn).await)
            }
            None => self.without_form(letter, bounce, &of).await,
        }
    }

    /// A report to a user's own address. That a mail was opened is told there, and believed if it comes from somebody whom the mail went to. What
    /// became of a mail on its way is told to its bounce address, which nobody else can make; anybody who has the mail could write such a report to
    /// the user's address, so it is shown as what it is, a mail. `None`: no report.
    pub(super) async fn reported(&self, letter: &Letter, user: &BareJid) -> Option<Fate> {
        let report = letter.report.as_ref()?;
        let found = match report {
            Report::Delivery(dsn) => self.find_sent(user, dsn.envelope_id.as_deref(), dsn.message_id.as_deref()).await,
            Report::Disposition(mdn) => self.find_sent(user, None, mdn.message_id.as_deref()).await,
        };
        match found {
            Ok(Some(known)) => match report {
                Report::Delivery(_) => None,
                Report::Disposition(mdn) => Some(self.opened(letter, known, mdn).await),
            },
            Ok(None) => {
                // Backscatter, or a forgery: nothing that was sent from here.
                info!(
                    id = letter.mail.id.as_deref().unwrap_or(""),
                    "a report about a mail that was never sent from here was dropped"
                );
                Some(Fate::Taken)
            }
            Err(fault) => Some(later(&fault.to_string())),
        }
    }

    /// A disposition notification: from whom the mail went to, as far as is known of them, or it changes nothing.
    async fn opened(&self, letter: &Letter, known: Known, mdn: &Mdn) -> Fate {
        let Some(key) = known.key else { return Fate::Taken };
        let by = letter.from.mailbox.contact();
        let several = match state::begun(self.host.as_ref(), key.as_str()).await {
            Ok(begun) => begun.map(|b| b.legs).filter(|legs| legs.len() > 1),
            Err(fault) => return later(&fault.to_string()),
        };
        let whose = match &several {
            Some(legs) => legs.contains(&by),
            None => known.address == Address::Contact(by.clone()),
        };
        if !whose || letter.is_doubtful() {
            info!(id = letter.mail.id.as_deref().unwrap_or(""), "a read notice of somebody else was dropped");
            return Fate::Taken;
        }
        self.disposition(&MessageRef::Key(key), Some(by), mdn).await
    }

    /// The message that a report to this user is about, if they sent it.
    async fn find_sent(
        &self,
        user: &BareJid,
        envid: Option<&str>,
        id: Option<&str>,
    ) -> Result<Option<Known>, StoreError> {
        let network = self.bridge.addressing.only_network();
        let key = envid.filter(|e| {
            !e.is_empty() && e.len() <= 100 && e.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        });
        let by_key = key.map(|k| MessageRef::Key(DeliveryKey::new(k)));
        let by_id = id.map(|i| MessageRef::foreign(network.clone(), ForeignMessageId::new(i)));
        for of in by_key.into_iter().chain(by_id) {
            if let Some(known) = self.host.find(&of).await?
                && known.user == *user
                && known.key.is_some()
            {
                return Ok(Some(known));
            }
        }
        Ok(None)
    }

    /// Every recipient has an envelope and a bounce address of their own: that address says whom a report is about, whoever else the mail was
    /// forwarded to and the report names.
    async fn delivery(&self, of: &MessageRef, bounce: &Bounce, dsn: &Dsn) -> Fate {
        let whose = match self.whose(of, bounce).await {
            Ok(whose) => whose,
            Err(fault) => return later(&fault.to_string()),
        };
        let mut fate = Fate::Taken;
        for recipient in &dsn.recipients {
            let Some(what) = &recipient.what else { continue };
            let named = recipient.original.as_ref().or(recipient.last.as_ref());
            fate = worse(fate, self.tell_whose(of, &whose, named, what.clone()).await);
        }
        fate
    }

    async fn tell_whose(&self, of: &MessageRef, whose: &Whose, named: Option<&Mailbox>, what: Late) -> Fate {
        let (user, contact) = match whose {
            Whose::Leg(leg) => return self.tell(of, leg.clone(), what).await,
            Whose::Added(user, contact) => (user, Some(contact.clone())),
            Whose::Unknown(user) => (user, named.map(Mailbox::contact)),
            Whose::Nobodys => return Fate::Taken,
        };
        let (Late::Failed(error), Some(contact)) = (what, contact) else { return Fate::Taken };
        match self.host.accept(vec![outgoing::not_reached(self.host.now(), user, of, &contact, &error)]).await.pop() {
            None | Some(Ok(()) | Err(Refused::Never(_))) => Fate::Taken,
            Some(Err(refused)) => later(&refused.to_string()),
        }
    }

    /// Whom this bounce address was made for.
    async fn whose(&self, of: &MessageRef, bounce: &Bounce) -> Result<Whose, StoreError> {
        let host = self.host.as_ref();
        let begun = state::begun(host, bounce.key.as_str()).await?.unwrap_or_default();
        if let Some(leg) = begun.legs.iter().find(|leg| bounce.is_for(leg, host)) {
            return Ok(Whose::Leg(Some(leg.clone())));
        }
        let Some(known) = host.find(of).await? else {
            // Not written down yet, or forgotten: what comes early waits, and for a single recipient needs no name.
            return Ok(if begun.legs.is_empty() { Whose::Leg(None) } else { Whose::Nobodys });
        };
        if let Some(added) = begun.added.iter().map(Mailbox::contact).find(|added| bounce.is_for(added, host)) {
            return Ok(Whose::Added(known.user, added));
        }
        Ok(match known.address {
            Address::Contact(contact) if bounce.is_for(&contact, host) => Whose::Leg(Some(contact)),
            _ => Whose::Unknown(known.user),
        })
    }

    async fn disposition(&self, of: &MessageRef, leg: Option<ContactId>, mdn: &Mdn) -> Fate {
        if !mdn.displayed {
            return Fate::Taken;
        }
        self.tell(of, leg, Late::Displayed).await
    }

    /// Not RFC 3464: either the bounce of an old server, or the answer of a vacation program.
    async fn without_form(&self, letter: &Letter, bounce: &Bounce, of: &MessageRef) -> Done {
        let mail = &letter.mail;
        if let Some(what) = report::plain_bounce(mail, &letter.from.mailbox, letter.sender.is_none()) {
            return Done::Fate(match self.whose(of, bounce).await {
                Ok(whose) => self.tell_whose(of, &whose, None, what).await,
                Err(fault) => later(&fault.to_string()),
            });
        }
        let user = match self.host.find(of).await {
            Ok(Some(known)) => known.user,
            Ok(None) => return Done::Fate(Fate::Taken),
            Err(fault) => return Done::Fate(later(&fault.to_string())),
        };
        // Shown as if it had come to the user's own address.
        let own = self.host.identities(&user).await.ok().and_then(|i| Mailbox::parse(i.first()?.as_str()).ok());
        match own.or_else(|| Mailbox::new("postmaster", &self.bridge.config.mail_domain).ok()) {
            Some(own) => Done::Ordinary(user, own),
            None => Done::Fate(Fate::Taken),
        }
    }

    async fn tell(&self, of: &MessageRef, leg: Option<ContactId>, what: Late) -> Fate {
        match self.host.outcome(of.clone(), leg, what).await {
            Ok(()) => Fate::Taken,
            Err(Refused::Never(error)) => {
                info!(reason = %error, "a report was not wanted");
                Fate::Taken
            }
            Err(refused) => later(&refused.to_string()),
        }
    }
}

fn later(reason: &str) -> Fate {
    warn!(reason, "a report could not be stored; it will come again");
    Fate::Refused(Reply::new(451, "4.3.0", "storage is away, try again later"))
}

fn worse(one: Fate, other: Fate) -> Fate {
    if one == Fate::Taken { other } else { one }
}
