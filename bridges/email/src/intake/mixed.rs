//! SMTP has one answer for all recipients. Where some have the mail and others never will, the answer is `250`, and the others' part comes back as a report.

use isthmus_bridge::{DeliveryError, Failure};
use tracing::{info, warn};

use super::compose::returned_header;
use super::{Fate, Intake, Letter, Recipient};
use crate::notice::{self, Stamp};
use crate::proto::Reply;
use crate::smtp::{self, Start};
use crate::state::ReturnPath;

impl Intake {
    /// Makes fates that one answer can tell: all alike, or all of them temporary or positive.
    pub(super) async fn reconcile(&self, letter: &Letter, recipients: &[Recipient], fates: Vec<Fate>) -> Vec<Fate> {
        let temporary = |f: &Fate| matches!(f, Fate::Refused(reply) if reply.is_temporary());
        if !fates.contains(&Fate::Taken) || fates.iter().any(temporary) {
            return fates;
        }
        let mut reconciled = Vec::with_capacity(fates.len());
        for (fate, recipient) in fates.into_iter().zip(recipients) {
            reconciled.push(match fate {
                Fate::Refused(reply) => self.report(letter, recipient, &reply).await,
                Fate::Stopped(reply) => {
                    info!(%reply, "mail for one of several recipients was stopped by policy and dropped");
                    Fate::Taken
                }
                Fate::Taken => Fate::Taken,
            });
        }
        reconciled
    }

    /// Sends the report before the answer: if that fails the client keeps the mail, and who has it already will not get it twice.
    async fn report(&self, letter: &Letter, recipient: &Recipient, reply: &Reply) -> Fate {
        let (Some(sender), Recipient::User { address, .. } | Recipient::Administrators(address)) =
            (&letter.sender, recipient)
        else {
            info!(%reply, "mail for one of several recipients was refused; nobody takes a report");
            return Fate::Taken;
        };
        let path = ReturnPath {
            sender: sender.clone(),
            recipient: address.clone(),
            orcpt: None,
            envid: None,
            no_report: false,
            headers: returned_header(&letter.raw),
        };
        if !notice::may_answer(&path, &self.bridge.config.mail_domain) {
            info!(%reply, "mail for one of several recipients was refused; its sender takes no reports");
            return Fate::Taken;
        }
        let failure = if reply.status == "5.2.2" { Failure::OverQuota } else { Failure::Rejected };
        let error = DeliveryError::new(failure, reply.text.as_str()).with_code(reply.status);
        let id = hex::encode(
            &self.host.mac("email report", format!("{address}\n{}", hex::encode(letter.mail.digest)).as_bytes())[..12],
        );
        let stamp = Stamp { domain: &self.bridge.config.mail_domain, id: &id, at: self.host.now() };
        let report = self.bridge.signed(notice::undelivered(&path, &error, &stamp));
        let envelope = smtp::Envelope { sender: None, utf8: false, to: path.sender, id: None };
        match self.bridge.relay.send(&envelope, &report, &mut Start::unasked()).await {
            Ok(_) => Fate::Taken,
            Err(fault) => {
                warn!(%fault, "a report could not be sent; the mail is put off");
                Fate::Refused(Reply::new(451, "4.3.0", "not settled for all, try again later"))
            }
        }
    }
}
