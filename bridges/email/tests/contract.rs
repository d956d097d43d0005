//! The clauses that every bridge keeps to, on this one.

mod common;

use isthmus_bridge::suite::Contract;
use isthmus_bridge::{BareJid, ContactId, Host};
use isthmus_email::Email;
use isthmus_testkit::smtp::{FakeSmtp, Features};
use serde_json::json;

async fn contract() -> Contract {
    let server = FakeSmtp::start(Features::default()).await.expect("a relay");
    let keys = json!({"smtp": common::relay(server.address(), json!({})), "listen": {"lmtp": "127.0.0.1:0"}});
    Contract::of(Email, keys, "alice@outside.test").holding(server).prepared(|host| {
        let romeo = BareJid::from("romeo@example.org");
        host.register(&romeo);
        let given: Host = host.host();
        let claimed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
            runtime.block_on(async move { given.claim(&romeo, &ContactId::from("romeo@email.example")).await.is_ok() })
        });
        assert!(claimed.join().expect("no panic"));
    })
}

isthmus_bridge::contract_suite!(contract().await);
