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

/// What became of a mail to a bounce address.
pub(super) enum Done {
    /// It was a report.
    Fate(Fate),
    /// It was an ordinary mail (of a vacation program), for this user at this address.
    Ordinary(BareJid, Mailbox),
}

impl Intake {
    /// A mail to a bounce address, which was checked at RCPT: it is about that very message, whatever it looks like.
    pub(super) async fn bounced(&self, letter: &Letter, bounce: &Bounce) -> Done {
        let of = MessageRef::Key(bounce.key.clone());
        match &letter.report {
            Some(Report::Delivery(dsn)) => Done::Fate(self.delivery(&of, Some(bounce), dsn).await),
            Some(Report::Disposition(mdn)) => Done::Fate(self.disposition(&of, mdn).await),
            None => self.without_form(letter, bounce, &of).await,
        }
    }

    /// A report to a user's own address: mail servers that do not keep to the envelope send it there. `None`: no report.
    pub(super) async fn reported(&self, letter: &Letter, users: &[BareJid]) -> Option<Fate> {
        let report = letter.report.as_ref()?;
        let found = match report {
            Report::Delivery(dsn) => self.find_sent(users, dsn.envelope_id.as_deref(), dsn.message_id.as_deref()).await,
            Report::Disposition(mdn) => self.find_sent(users, None, mdn.message_id.as_deref()).await,
        };
        match found {
            Ok(Some(of)) => Some(match report {
                Report::Delivery(dsn) => self.delivery(&of, None, dsn).await,
                Report::Disposition(mdn) => self.disposition(&of, mdn).await,
            }),
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

    /// The message that a report to one of these users is about, if they sent it.
    async fn find_sent(
        &self,
        users: &[BareJid],
        envid: Option<&str>,
        id: Option<&str>,
    ) -> Result<Option<MessageRef>, StoreError> {
        let network = self.bridge.addressing.only_network();
        let key = envid.filter(|e| {
            !e.is_empty() && e.len() <= 100 && e.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        });
        let by_key = key.map(|k| MessageRef::Key(DeliveryKey::new(k)));
        let by_id = id.map(|i| MessageRef::foreign(network.clone(), ForeignMessageId::new(i)));
        for of in by_key.into_iter().chain(by_id) {
            if let Some(Known { user, key: Some(key), .. }) = self.host.find(&of).await?
                && users.contains(&user)
            {
                return Ok(Some(MessageRef::Key(key)));
            }
        }
        Ok(None)
    }

    async fn delivery(&self, of: &MessageRef, bounce: Option<&Bounce>, dsn: &Dsn) -> Fate {
        let mut fate = Fate::Taken;
        for recipient in &dsn.recipients {
            let Some(what) = &recipient.what else { continue };
            let named = [&recipient.original, &recipient.last];
            let contacts = named.into_iter().flatten().map(Mailbox::contact);
            let leg = match bounce {
                // One envelope per recipient: whoever else is named there was reached by forwarding.
                Some(bounce) => contacts.into_iter().find(|c| bounce.is_for(c, self.host.as_ref())),
                None => contacts.into_iter().next(),
            };
            let leg = match (leg, bounce) {
                (None, Some(bounce)) => self.only_leg(of, bounce).await,
                (leg, _) => leg,
            };
            fate = worse(fate, self.tell(of, leg, what.clone()).await);
        }
        fate
    }

    /// The recipient of the message that this bounce address was made for, where the report names somebody else.
    async fn only_leg(&self, of: &MessageRef, bounce: &Bounce) -> Option<ContactId> {
        match self.host.find(of).await {
            Ok(Some(Known { address: Address::Contact(contact), .. }))
                if bounce.is_for(&contact, self.host.as_ref()) =>
            {
                Some(contact)
            }
            _ => None,
        }
    }

    async fn disposition(&self, of: &MessageRef, mdn: &Mdn) -> Fate {
        if !mdn.displayed {
            return Fate::Taken;
        }
        self.tell(of, mdn.by.as_ref().map(Mailbox::contact), Late::Displayed).await
    }

    /// Not RFC 3464: either the bounce of an old server, or the answer of a vacation program.
    async fn without_form(&self, letter: &Letter, bounce: &Bounce, of: &MessageRef) -> Done {
        let mail = &letter.mail;
        let from = letter.from.mailbox.to_string();
        if let Some(what) = report::plain_bounce(&from, mail.subject.as_deref().unwrap_or(""), &mail.text) {
            let leg = self.only_leg(of, bounce).await;
            return Done::Fate(self.tell(of, leg, what).await);
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
