//! The sample bridge: a network whose contacts answer with what they were told. Copy this folder to begin a bridge; `docs/bridge-authors.md` walks through it.

use std::sync::Arc;

use async_trait::async_trait;
use isthmus_bridge::{
    Address, Addressing, BadAddress, Bridge, BridgeError, ConfigError, ContactId, Delivery, DeliveryError, Event,
    Failure, ForeignMessageId, Host, Inbound, Inbox, Intent, Kind, Lang, Message, Mode, NetworkId, Outbound, Parts,
    Profile, Recipient, Refused, Section, SessionOf, Text, Work,
};

/// `kind = "echo"`: what the registry of the core lists.
#[derive(Debug)]
pub struct EchoKind;

impl Kind for EchoKind {
    fn name(&self) -> &str {
        "echo"
    }

    /// Reads every key, collects every fault, and opens nothing: whether the far side is there is asked in `probe` and found out in `session`.
    fn build(&self, mut config: Section<'_>) -> Result<Arc<dyn Bridge>, Vec<ConfigError>> {
        let prefix = config.table.string("prefix").unwrap_or_default();
        let held = config.table.choice("mode", &["live", "held"]) == Some("held");
        let faults = config.table.finish(); // keys that nobody read are among them
        if !faults.is_empty() {
            return Err(faults);
        }
        // What the profile does not promise, the core degrades or refuses before it reaches the bridge.
        let mut profile = if held { Profile::held("echo", "Echo") } else { Profile::live("echo", "Echo") };
        profile.idempotent = held; // `once` below makes a second try harmless
        Ok(Arc::new(Echo { profile, prefix, texts: [(Lang::new("en"), include_str!("../texts/en.txt"))] }))
    }
}

struct Echo {
    profile: Profile,
    prefix: String,
    texts: [(Lang, &'static str); 1],
}

/// Every local part is a contact. Law: `parse(format(a)) == a`.
impl Addressing for Echo {
    fn parse(&self, local: Option<&str>, _resource: Option<&str>) -> Result<Address, BadAddress> {
        match local {
            Some("") => Err(BadAddress::Malformed("a name is expected before the @".to_owned())),
            local => Ok(local.map_or(Address::Gateway, |name| Address::Contact(ContactId::from(name)))),
        }
    }

    fn format(&self, address: &Address) -> Parts {
        let Address::Contact(name) = address else { return Parts::gateway() }; // no other address is ever made here
        Parts::local(name.as_str())
    }

    fn network(&self, _address: &Address) -> NetworkId {
        NetworkId::from("echo") // one network: every user has a single session
    }
}

#[async_trait]
impl Bridge for Echo {
    fn profile(&self) -> &Profile {
        &self.profile
    }

    fn addressing(&self) -> &dyn Addressing {
        self
    }

    /// One user's presence: reads its work until there is none and the core wants it to stop. A network with a socket selects over both.
    async fn session(&self, _of: SessionOf, mut inbox: Inbox, host: Host) -> Result<(), BridgeError> {
        while let Some(work) = inbox.recv().await {
            // Other work is a question, which is answered as failed by being dropped, or changed settings, of which there are none.
            if let Work::Deliver(delivery) = work {
                self.carry(*delivery, &host).await;
            }
        }
        Ok(())
    }

    /// One file per language; every `Text::key` of the bridge stands in each of them.
    fn texts(&self) -> &[(Lang, &str)] {
        &self.texts
    }
}

impl Echo {
    /// Carries one event and answers its ticket, whatever happens: a ticket that is dropped tells the sender that nobody knows.
    async fn carry(&self, Delivery { event, ticket, .. }: Delivery, host: &Host) {
        // Before the first byte that could reach anybody. On an error another attempt owns the event: send nothing.
        let Ok(()) = ticket.starting().await else { return };
        let carried = async { self.hand_over(self.answer(&event)?, host).await };
        match carried.await {
            Ok(()) => ticket.sent(Some(ForeignMessageId::from(event.key.as_str()))),
            Err(error) => ticket.failed(error),
        }
    }

    /// What the contact says to it.
    fn answer(&self, sent: &Outbound) -> Result<Inbound, DeliveryError> {
        let (Intent::Send(told), [Recipient { address: to @ Address::Contact(_), .. }]) = (&sent.intent, &sent.to[..])
        else {
            return Err(DeliveryError::new(Failure::Unsupported, Text::key("only-messages")));
        };
        let mut said = Message::chat(format!("{}{}", self.prefix, told.body));
        (said.kind, said.subject, said.thread) = (told.kind, told.subject.clone(), told.thread.clone());
        let mut reply = Inbound::new(sent.user.clone(), to.clone(), Event::Message(Box::new(said)));
        // The same event tried twice is the same answer, which the core delivers once.
        (reply.id, reply.once) = (Some(sent.key.as_str().into()), Some(sent.key.as_str().into()));
        Ok(reply)
    }

    /// Live: `emit` never waits; when the link is full the session stops reading until there is room. Held: `accept` has committed when it returns.
    async fn hand_over(&self, reply: Inbound, host: &Host) -> Result<(), DeliveryError> {
        if self.profile.mode == Mode::Held {
            return match host.accept(vec![reply]).await.pop() {
                Some(Ok(())) => Ok(()),
                Some(Err(Refused::Never(error))) => Err(error),
                _ => Err(DeliveryError::temporary(Failure::Unreachable, Text::key("store-away"))),
            };
        }
        while host.emit(reply.clone()).is_err() {
            host.ready().await;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use isthmus_bridge::suite::{FakeHost, Session, build};

    mod live {
        isthmus_bridge::contract_suite!(Contract::of(crate::EchoKind, serde_json::json!({"prefix": "> "}), "alice"));
    }
    mod held {
        isthmus_bridge::contract_suite!(Contract::of(crate::EchoKind, serde_json::json!({"mode": "held"}), "bob"));
    }

    #[tokio::test]
    async fn a_contact_answers_with_what_it_was_told() {
        let bridge = build(&EchoKind, serde_json::json!({"prefix": "> "})).expect("good keys");
        let host = FakeHost::of(&bridge);
        let session = Session::start(&bridge, &host, "romeo@example.org", &Address::Gateway);
        session.say(Address::Contact("alice".into()), "hello").await.expect("carried");
        assert!(matches!(&host.emits()[0].event, Event::Message(m) if m.body == "> hello"));
    }
}
