//! What an idle session costs.

use isthmus_bridge::SessionOf;
use isthmus_bridge::inbox::inbox;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::session::{Link, Session as Inner};

#[tokio::test]
async fn an_idle_session_is_at_most_one_and_a_half_kibibytes() {
    let bridge = build(&crate::Irc, json!({})).expect("good keys");
    let host = FakeHost::of(&bridge);
    let (_sender, inbox) = inbox(CancellationToken::new());
    let future = bridge.session(SessionOf::new(USER.into(), "net".into()), inbox, host.host());
    let (task, session, link) = (size_of_val(&*future), size_of::<Inner>(), size_of::<Link>());
    // The session and its connection stand in boxes of their own; the figure is for all three.
    assert!(task + session + link <= 1536, "task {task} + session {session} + link {link}");
}
