//! Which of several things it is that the server speaks of.

use isthmus_bridge::Query;
use isthmus_bridge::query::ProbeKind;

use super::*;

#[tokio::test]
async fn a_message_to_somebody_who_has_gone_fails_also_while_a_question_to_them_waits() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "romeo juliet").await;
    let script = async {
        client.expect("PRIVMSG juliet :\u{1}VERSION").await;
        client.send(":juliet!j@k QUIT :bye").await;
        let key = session.send(net.address("juliet%net"), chat("still there?"));
        client.expect("PRIVMSG juliet :still there?").await;
        client.send(":irc.test 401 romeo juliet :No such nick/channel").await;
        assert_eq!(failure(&net.host, &key).await, Some(Failure::NoSuchRecipient), "the message");
        client.send(":irc.test 401 romeo juliet :No such nick/channel").await;
    };
    let what = Query::Probe { of: net.occupant("#c%net", "juliet"), what: ProbeKind::Version };
    let ((), (_, end)) = tokio::join!(script, session.ask(what));
    assert_eq!(end.expect_err("nobody").failure, Failure::NoSuchRecipient, "the question");
    session.stop().await.expect("stops");
}
