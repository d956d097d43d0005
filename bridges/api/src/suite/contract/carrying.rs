//! Clauses about what a bridge does while it runs.

use bytes::Bytes;
use http::{Method, Request};
use tokio_util::sync::CancellationToken;

use super::texts::Lines;
use super::{Contract, Session};
use crate::address::{Address, RoomId};
use crate::bridge::Mode;
use crate::error::{DeliveryError, Failure};
use crate::host::{Host, MessageRef};
use crate::message::{ForeignMessageId, Message, MessageKind, OnceKey};
use crate::outbound::{Intent, Recipient};
use crate::query::{ProbeKind, Query};
use crate::settings::Values;
use crate::suite::PATIENCE;
use crate::ticket::Outcome;

impl Contract {
    /// Whatever is wanted of whomever: one outcome, with words that the translation files have; held, nothing is handed over before `starting`.
    pub async fn every_ticket_is_answered(self) {
        let (session, host, bridge, _) = self.session();
        let lines = Lines::of(&*bridge);
        for address in self.addresses(&bridge) {
            for intent in intents(&address) {
                let key = session.send(address.clone(), intent.clone());
                let Outcome::Legs(legs) = host.outcome_of(&key).await else {
                    panic!("the ticket of {intent:?} to {address:?} was dropped");
                };
                assert!(!legs.is_empty(), "no leg for {intent:?} to {address:?}");
                for error in legs.iter().filter_map(|leg| leg.result.as_ref().err()) {
                    lines.expect(&error.text, &format!("the failure of {intent:?}"));
                }
                let carried = legs.iter().any(|leg| leg.result.is_ok() && !leg.ids.is_empty());
                if bridge.profile().mode == Mode::Held && carried {
                    let started = host.started().iter().any(|(k, _)| *k == key);
                    assert!(started, "{intent:?} was handed over before `starting`");
                }
            }
        }
        let answers = host.settled().len();
        let Ok(()) = session.stop().await else { panic!("the session ended in an error") };
        assert_eq!(host.settled().len(), answers, "a ticket was answered twice");
    }

    /// With several recipients there is one leg for each, or a single one that speaks for all.
    pub async fn several_recipients_get_a_leg_each(self) {
        let (session, host, bridge, contact) = self.session();
        if bridge.profile().max_recipients > 1 {
            let mut event = host.outbound(&self.user, contact.clone(), send("to both"));
            event.to.push(Recipient::to(contact));
            let key = session.send_event(event);
            let Outcome::Legs(legs) = host.outcome_of(&key).await else { panic!("the ticket was dropped") };
            let named = legs.iter().filter(|leg| leg.to.is_some()).count();
            let sound = (legs.len() == 1 && named == 0) || (named == legs.len() && legs.len() <= 2);
            assert!(sound, "expected a leg for each recipient or one for all, found {legs:?}");
        }
        assert!(session.stop().await.is_ok());
    }

    /// A few hundred deliveries in a row: each is answered, none is lost.
    pub async fn many_deliveries_are_all_answered(self) {
        let (session, host, _, contact) = self.session();
        let keys: Vec<_> = (0..200).map(|i| session.send(contact.clone(), send(&format!("message {i}")))).collect();
        for key in keys {
            assert!(matches!(host.outcome_of(&key).await, Outcome::Legs(_)), "the ticket of {key} was dropped");
        }
        assert!(session.stop().await.is_ok());
    }

    /// `starting` fails: nothing leaves, and the session goes on with the next delivery. (Live bridges have no leases.)
    pub async fn a_lost_lease_sends_nothing_and_the_session_goes_on(self) {
        let (session, host, bridge, contact) = self.session();
        if bridge.profile().mode == Mode::Held {
            let event = host.outbound(&self.user, contact.clone(), send("never sent"));
            host.lose_lease(&event.key);
            let key = session.send_event(event);
            match host.outcome_of(&key).await {
                Outcome::Dropped => {}
                Outcome::Legs(legs) => {
                    assert!(legs.iter().all(|leg| leg.result.is_err()), "sent without a lease: {legs:?}");
                }
            }
        }
        carried(&session, contact).await;
        assert!(session.stop().await.is_ok());
    }

    /// While the link is full the session waits; afterwards it goes on.
    pub async fn a_full_link_loses_nothing(self) {
        let (session, host, _, contact) = self.session();
        host.room_for(Some(0));
        let key = session.send(contact.clone(), send("while full"));
        tokio::task::yield_now().await;
        host.room_for(None);
        assert!(matches!(host.outcome_of(&key).await, Outcome::Legs(_)), "the ticket was dropped");
        carried(&session, contact).await;
        assert!(session.stop().await.is_ok());
    }

    /// Every question ends, answered or not.
    pub async fn every_question_ends(self) {
        let (session, _, bridge, _) = self.session();
        for address in self.addresses(&bridge) {
            for query in questions(&address) {
                let (_, _) = session.ask(query).await;
            }
        }
        assert!(session.stop().await.is_ok());
    }

    /// Idle or with work before it: the session returns, and no ticket that it has taken is left without an answer.
    pub async fn a_session_stops_in_time(self) {
        let (idle, ..) = self.session();
        tokio::task::yield_now().await;
        assert!(idle.stop().await.is_ok(), "an idle session ended in an error");

        let (busy, host, _, contact) = self.session();
        let keys: Vec<_> = (0..20).map(|_| busy.send(contact.clone(), send("last words"))).collect();
        let inbox = busy.inbox().clone();
        assert!(busy.stop().await.is_ok(), "a busy session ended in an error");
        assert!(inbox.is_closed(), "the inbox outlives its session");
        drop(inbox.take_back()); // what it has not begun is the core's again
        for key in keys {
            host.outcome_of(&key).await;
        }
    }

    /// A session that was stopped can be started again on the same bridge, beside another user's.
    pub async fn a_session_starts_again(self) {
        let (first, host, bridge, contact) = self.session();
        assert!(first.stop().await.is_ok());
        let again = Session::start(&bridge, &host, self.user.as_str(), &contact);
        let other = Session::start(&bridge, &host, "juliet@example.org", &contact);
        carried(&again, contact.clone()).await;
        assert!(again.stop().await.is_ok());
        // Whether she may send is not the question here: she gets an answer.
        other.deliver(contact, send("still here")).await;
        assert!(other.stop().await.is_ok());
    }

    /// What all sessions share ends on its token.
    pub async fn the_service_stops_in_time(self) {
        let bridge = self.bridge();
        let host = self.host(&bridge).host();
        let stop = CancellationToken::new();
        let serving = tokio::spawn({
            let stop = stop.clone();
            async move { bridge.serve(host, stop).await }
        });
        tokio::task::yield_now().await;
        stop.cancel();
        match tokio::time::timeout(PATIENCE, serving).await {
            Ok(Ok(result)) => assert!(result.is_ok(), "the service ended in an error: {result:?}"),
            Ok(Err(e)) => panic!("the service panicked: {e}"),
            Err(_) => panic!("the service did not end within {} s", PATIENCE.as_secs()),
        }
    }

    /// Requests that nobody's provider makes: refused, and nothing is accepted.
    pub async fn nonsense_on_the_webhook_is_refused(self) {
        let bridge = self.bridge();
        let fake = self.host(&bridge);
        let host: Host = fake.host();
        for path in ["/", "/in", "/status", "/%00%ff", "/../../etc/passwd"] {
            for method in [Method::GET, Method::POST, Method::DELETE] {
                for body in [&b""[..], b"{", b"{}", b"[]", b"\xff\xfe\0", b"a=b&a=c", b"null"] {
                    let request = Request::builder().method(method.clone()).uri(path).body(Bytes::from_static(body));
                    let Ok(request) = request else { continue };
                    let answer = bridge.webhook(request, &host).await;
                    let status = answer.status();
                    assert!(!status.is_success() || body.is_empty(), "{method} {path} {body:?}: {status}");
                }
            }
        }
        assert!(fake.accepts().is_empty() && fake.emits().is_empty(), "nonsense was taken for a message");
    }
}

/// The contact takes a message.
async fn carried(session: &Session, contact: Address) {
    if let Err(error) = session.say(contact, "hello").await {
        panic!("the contact does not take a message: {error}");
    }
}

fn send(body: &str) -> Intent {
    Intent::Send(Box::new(Message::chat(body)))
}

/// Every intent, with values that are in nobody's interest.
fn intents(to: &Address) -> Vec<Intent> {
    let of = MessageRef::foreign("nowhere".into(), ForeignMessageId::from("unheard-of"));
    let (who, text) = (to.clone(), || Some("why".to_owned()));
    let group = |body: &str| {
        let kind = if matches!(to, Address::Room(_)) { MessageKind::Group } else { MessageKind::Chat };
        Intent::Send(Box::new(Message { kind, body: body.to_owned(), ..Message::default() }))
    };
    let thumb = || vec!["👍".to_owned()];
    vec![
        group("before anything else"),
        Intent::Join { nick: "romeo".to_owned(), password: None },
        group("hello"),
        group(""),
        group("two\nlines\r\nthree\rfour\n.\nQUIT :x\r\n\0nul\u{7}\u{202e}"),
        group(&"longer than any line ".repeat(500)),
        Intent::Mark { of: Some(of.clone()), at: None },
        Intent::Typing { on: true },
        Intent::Typing { on: false },
        Intent::React { of: of.clone(), add: thumb(), remove: Vec::new() },
        Intent::Retract { of, reason: text() },
        Intent::Presence { available: true, away: true, status: text() },
        Intent::Presence { available: true, away: false, status: None },
        Intent::Rename { nick: "an other\r\nnick".to_owned() },
        Intent::SetSubject { subject: "a subject\r\nwith a break".to_owned() },
        Intent::SetRole { who: who.clone(), role: Some("moderator".to_owned()), affiliation: None, reason: text() },
        Intent::Remove { who: who.clone(), reason: text() },
        Intent::Ban { mask: "*!*@nowhere".to_owned(), on: true, reason: text() },
        Intent::Ban { mask: "*!*@nowhere".to_owned(), on: false, reason: None },
        Intent::Invite { room: RoomId::from("#nowhere"), who, reason: text() },
        Intent::SetRoomConfig { values: Values::new().with("nonsense", "1") },
        Intent::Leave { status: text() },
        Intent::Subscribe { status: text() },
        Intent::Unsubscribe,
        Intent::Block,
        Intent::Unblock,
        Intent::Raw { line: "NONSENSE :as it were".to_owned() },
        Intent::Undelivered {
            of: Some(ForeignMessageId::from("unheard-of")),
            once: Some(OnceKey::from("unheard-of")),
            said: None,
            error: DeliveryError::new(Failure::NoSuchRecipient, "nobody is there"),
        },
    ]
}

fn questions(of: &Address) -> Vec<Query> {
    let probe = |what| Query::Probe { of: of.clone(), what };
    let mut all = vec![
        Query::Rooms { filter: None },
        Query::Rooms { filter: Some("nonsense\r\n".to_owned()) },
        Query::About(of.clone()),
        probe(ProbeKind::Ping),
        probe(ProbeKind::Version),
        probe(ProbeKind::Time),
        probe(ProbeKind::Last),
        Query::Search(Values::new().with("nick", "nobody")),
    ];
    if let Address::Room(room) = of {
        all.push(Query::RoomConfig(room.clone()));
        for list in ["owner", "admin", "member", "outcast", "nonsense"] {
            all.push(Query::Affiliates { room: room.clone(), list: list.to_owned() });
        }
    }
    all
}
