//! The clauses that every bridge keeps to, on this one.

mod common;

use isthmus_bridge::suite::Contract;
use isthmus_sms::Sms;
use isthmus_testkit::httpd::{Act, Httpd};

async fn contract() -> Contract {
    let server = Httpd::answering(|_| Act::text(202, "0: Accepted for delivery")).await.expect("a provider");
    let keys = common::kannel(&server.url(), serde_json::json!({}));
    Contract::of(Sms, keys, "+15551112222").holding(server).prepared(|host| host.register(&"romeo@example.org".into()))
}

isthmus_bridge::contract_suite!(contract().await);
