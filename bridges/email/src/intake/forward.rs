//! `postmaster@` and `abuse@` for administrators who want it by mail too.

use tracing::warn;

use super::{Fate, Intake, Letter, Recipient};
use crate::proto::Reply;
use crate::smtp::{Envelope, Start};

impl Intake {
    /// Passes on what came for administrators, under its own envelope sender, once the rest of it is settled.
    pub(super) async fn forward(&self, letter: &Letter, recipients: &[Recipient], mut fates: Vec<Fate>) -> Vec<Fate> {
        if self.bridge.config.postmaster.is_empty() {
            return fates;
        }
        for (fate, recipient) in fates.iter_mut().zip(recipients) {
            let settled = *fate == Fate::Taken && matches!(recipient, Recipient::Administrators(_));
            if settled && !self.forwarded(letter).await {
                *fate = Fate::Refused(Reply::new(451, "4.3.0", "not passed on yet, try again later"));
            }
        }
        fates
    }

    async fn forwarded(&self, letter: &Letter) -> bool {
        let header = letter.raw.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(letter.raw.len());
        let utf8 = !letter.raw[..header].is_ascii();
        // Somebody has to have it: the administrators by XMPP, or one by mail.
        let mut arrived = !self.host.admins().is_empty();
        for to in &self.bridge.config.postmaster {
            let sender = letter.sender.as_ref().map(ToString::to_string);
            let envelope = Envelope { sender, to: to.clone(), id: None, utf8 };
            match self.bridge.relay.send(&envelope, &letter.raw, &mut Start::unasked()).await {
                Ok(_) => arrived = true,
                Err(fault) => {
                    // What the relay will never take is not worth trying for days where somebody else has it.
                    warn!(%to, %fault, "mail for the postmaster could not be passed on");
                    if fault.retry != isthmus_bridge::Retry::Never {
                        return false;
                    }
                }
            }
        }
        arrived
    }
}
