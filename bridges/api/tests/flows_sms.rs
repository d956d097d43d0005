//! What an SMS bridge will say to the core and hear from it, played with Loopback: the contract carries it.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, StatusCode};
use isthmus_bridge::suite::loopback::texted_code;
use isthmus_bridge::suite::{FakeHost, LoopbackKind, Session, build};
use isthmus_bridge::{
    Address, Bridge, ContactId, Failure, Host, Intent, Late, Message, MessageRef, Outcome, Recipient, Refused, Step,
    Text, Values,
};
use serde_json::{Value, json};

struct Net {
    bridge: Arc<dyn Bridge>,
    fake: Arc<FakeHost>,
    host: Host,
}

impl Net {
    fn new() -> Self {
        let keys = json!({"mode": "held", "registration": true, "networks": ["sms"]});
        let bridge = build(&LoopbackKind, keys).expect("good keys");
        let fake = FakeHost::of(&bridge);
        let host = fake.host();
        Self { bridge, fake, host }
    }

    fn at(&self, local: &str) -> Address {
        self.bridge.addressing().parse(Some(local), None).expect("a good local part")
    }

    fn session(&self, user: &str) -> Session {
        Session::start(&self.bridge, &self.fake, user, &Address::Gateway)
    }

    /// What the provider's request is answered with.
    async fn hook(&self, path: &str, body: Value) -> StatusCode {
        let body = Bytes::from(body.to_string());
        let request = Request::builder().method("POST").uri(format!("/hooks/sms/{path}")).body(body).expect("sound");
        self.bridge.webhook(request, &self.host).await.status()
    }

    /// A text from outside to a number of the gateway's.
    async fn text_in(&self, own: &str, id: &str, body: &str) -> StatusCode {
        self.hook("in", json!({"own": own, "peer": "+15550100", "body": body, "id": id})).await
    }

    /// Sends a text as this number.
    async fn text_out(&self, session: &Session, own: &str) {
        let mut event = self.fake.outbound(&session.of().user, self.at("+15550100"), text("hello"));
        event.own = Some(ContactId::from(own));
        let key = session.send_event(event);
        assert!(matches!(self.fake.outcome_of(&key).await, Outcome::Legs(legs) if legs[0].result.is_ok()));
    }

    fn arrived(&self) -> Vec<String> {
        self.fake
            .accepts()
            .iter()
            .filter(|e| e.id.as_ref().is_some_and(|i| i.as_str().starts_with("in")))
            .map(|e| e.to.to_string())
            .collect()
    }
}

fn text(body: &str) -> Intent {
    Intent::Send(Box::new(Message::chat(body)))
}

#[tokio::test(start_paused = true)]
async fn a_report_may_come_before_the_answer_to_the_send() {
    let net = Net::new();
    let session = net.session("romeo@example.org");
    let key = session.send(net.at("early"), text("hello"));
    let told = net.fake.told_of("the report", |t| t.what == Late::Delivered).await;
    let Outcome::Legs(legs) = net.fake.outcome_of(&key).await else { panic!("dropped") };
    let MessageRef::Foreign { id, .. } = &told.of else { panic!("{told:?}") };
    assert_eq!(legs[0].ids, std::slice::from_ref(id), "the id that the report named becomes known with the answer");
    assert_eq!(net.fake.state_of(&key), Some(Late::Delivered));
}

#[tokio::test(start_paused = true)]
async fn states_come_by_webhook_and_only_rise() {
    let net = Net::new();
    let session = net.session("romeo@example.org");
    let legs = session.say(net.at("alice"), "hello").await.expect("carried");
    let Some((key, ..)) = net.fake.settled().pop() else { panic!("no answer") };
    let status = |state: &str| json!({"network": "sms", "id": legs[0].ids[0].as_str(), "state": state});
    assert_eq!(net.hook("status", status("displayed")).await, StatusCode::OK);
    assert_eq!(net.hook("status", status("delivered")).await, StatusCode::OK, "the provider's reports overtake");
    assert_eq!(net.fake.state_of(&key), Some(Late::Displayed));
    net.fake.store_away(true);
    assert_eq!(net.hook("status", status("displayed")).await, StatusCode::SERVICE_UNAVAILABLE, "sent again later");
}

#[tokio::test(start_paused = true)]
async fn a_shared_number_goes_to_who_wrote_last_and_else_to_its_owner() {
    let net = Net::new();
    let shared = "+15550199";
    let (romeo, juliet) = (net.session("romeo@example.org"), net.session("juliet@example.org"));
    assert_eq!(net.text_in(shared, "in1", "anybody?").await, StatusCode::NOT_FOUND, "nobody's number");
    net.fake.configure_owner(&ContactId::from(shared), &"desk@example.org".into());
    assert_eq!(net.text_in(shared, "in2", "anybody?").await, StatusCode::OK);
    net.text_out(&romeo, shared).await;
    assert_eq!(net.text_in(shared, "in3", "hello romeo").await, StatusCode::OK);
    net.text_out(&juliet, shared).await;
    assert_eq!(net.text_in(shared, "in4", "hello juliet").await, StatusCode::OK);
    assert_eq!(net.arrived(), ["desk@example.org", "romeo@example.org", "juliet@example.org"]);
    // A number that is one user's goes to them, whoever writes.
    net.fake.own(&"romeo@example.org".into(), &ContactId::from("+15550111"));
    net.text_out(&juliet, "+15550111").await;
    assert_eq!(net.text_in("+15550111", "in5", "hello owner").await, StatusCode::OK);
    assert_eq!(net.arrived().last().map(String::as_str), Some("romeo@example.org"));
}

#[tokio::test(start_paused = true)]
async fn a_second_copy_is_taken_once_and_a_re_used_id_is_another_message() {
    let net = Net::new();
    net.fake.configure_owner(&ContactId::from("+1"), &"romeo@example.org".into());
    for (id, body) in [("in1", "hello"), ("in1", "hello"), ("in1", "another text under the same id")] {
        assert_eq!(net.text_in("+1", id, body).await, StatusCode::OK);
    }
    assert_eq!(net.arrived().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_provider_is_answered_after_the_commit_only() {
    let net = Net::new();
    net.fake.configure_owner(&ContactId::from("+1"), &"romeo@example.org".into());
    net.fake.refuse(|e| {
        matches!(&e.event, isthmus_bridge::Event::Message(m) if m.body == "full")
            .then(|| Refused::Later("disk full".to_owned()))
    });
    assert_eq!(net.text_in("+1", "in1", "full").await, StatusCode::SERVICE_UNAVAILABLE);
    assert!(net.arrived().is_empty());
    net.fake.bar(&"romeo@example.org".into());
    assert_eq!(net.text_in("+1", "in2", "hello").await, StatusCode::FORBIDDEN, "for good");
}

#[tokio::test(start_paused = true)]
async fn a_number_is_claimed_with_the_code_that_was_texted_to_it() {
    let net = Net::new();
    let number = |n: &str| Values::new().with("number", n);
    let code = |c: &str| Values::new().with("code", c);
    let romeo = net.session("romeo@example.org");

    // A wrong number is asked again, in the same form, with what was wrong.
    let step = romeo.command("register", Address::Gateway, vec![number("five")]).await.expect("a form");
    let Step::Ask { form, last: false, .. } = step else { panic!("{step:?}") };
    assert_eq!(form.fields[0].error, Some(Text::key("number-wrong")));

    // The code goes to the phone; the state of the dialogue does not hold it.
    let step = romeo.command("register", Address::Gateway, vec![number("+15550100")]).await.expect("a form");
    let Step::Ask { state, last: true, .. } = step else { panic!("{step:?}") };
    let texted = texted_code(&net.host, "+15550100").await.expect("a code was texted");
    assert!(!state.to_string().contains(&texted), "the code is not in the state: {state}");
    let sealed = net.host.load("code", "+15550100").await.expect("there").expect("kept");
    assert!(!String::from_utf8_lossy(&sealed).contains(&texted), "the code is kept sealed");

    // A wrong code is asked again; the right one claims the number for ever.
    let answer = async |user: &str, given: &str| {
        let mut call = isthmus_bridge::Call::start("register", user.into(), Address::Gateway);
        (call.state, call.values, call.action) = (state.clone(), code(given), isthmus_bridge::Action::Complete);
        net.bridge.step(call, &net.host).await
    };
    let wrong = answer("romeo@example.org", "nonsense").await.expect("a form");
    assert!(matches!(&wrong, Step::Ask { form, .. } if form.fields[0].error == Some(Text::key("code-wrong"))));
    let done = answer("romeo@example.org", &texted).await.expect("registered");
    assert_eq!(done, Step::done(Text::key("registered").with("number", "+15550100")));
    let own = ContactId::from("+15550100");
    assert_eq!(net.host.owner(&own).await, Ok(Some("romeo@example.org".into())));
    let again = answer("romeo@example.org", &texted).await.expect("a form");
    assert!(matches!(again, Step::Ask { .. }), "a code is good once");

    // Own identities are never re-assigned, not even after he gave it up: not to one who reads that phone now, either.
    net.host.release(&"romeo@example.org".into(), &own).await.expect("given up");
    assert_eq!(net.host.owner(&own).await, Ok(None));
    let juliet = net.session("juliet@example.org");
    juliet.command("register", Address::Gateway, vec![number("+15550100")]).await.expect("a form");
    let hers = texted_code(&net.host, "+15550100").await.expect("a code was texted");
    let taken = answer("juliet@example.org", &hers).await.expect_err("it was his");
    assert_eq!(taken.failure, Failure::Conflict);
}

#[tokio::test(start_paused = true)]
async fn a_code_does_not_hold_for_ever() {
    let net = Net::new();
    let romeo = net.session("romeo@example.org");
    let number = Values::new().with("number", "+15550100");
    romeo.command("register", Address::Gateway, vec![number]).await.expect("a form");
    assert!(texted_code(&net.host, "+15550100").await.is_some());
    tokio::time::advance(std::time::Duration::from_secs(601)).await;
    assert_eq!(texted_code(&net.host, "+15550100").await, None);
}

#[tokio::test(start_paused = true)]
async fn each_recipient_has_an_outcome_of_their_own() {
    let net = Net::new();
    let session = net.session("romeo@example.org");
    let mut event = net.fake.outbound(&session.of().user, net.at("alice"), text("to all"));
    event.to.extend([net.at("refuse"), net.at("busy")].map(Recipient::to));
    let key = session.send_event(event);
    let Outcome::Legs(legs) = net.fake.outcome_of(&key).await else { panic!("dropped") };
    let of =
        |leg: &isthmus_bridge::Leg| (leg.to.clone().map(|t| t.to_string()), leg.result.clone().map_err(|e| e.failure));
    let expected =
        [("alice%sms", Ok(())), ("refuse%sms", Err(Failure::NoSuchRecipient)), ("busy%sms", Err(Failure::Unreachable))];
    assert_eq!(legs.iter().map(of).collect::<Vec<_>>(), expected.map(|(to, result)| (Some(to.to_owned()), result)));
}

#[tokio::test(start_paused = true)]
async fn what_the_users_server_gave_back_comes_to_the_bridge() {
    let net = Net::new();
    let session = net.session("romeo@example.org");
    let error = isthmus_bridge::DeliveryError::new(Failure::NoSuchRecipient, "no such user");
    let intent = Intent::Undelivered { of: Some("in7".into()), once: None, said: None, error };
    let legs = session.deliver(Address::Gateway, intent).await;
    assert_eq!(legs[0].result, Ok(()));
    assert!(net.host.load("undelivered", "in7").await.expect("there").is_some());
}
