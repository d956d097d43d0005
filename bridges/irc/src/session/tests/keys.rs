//! Passwords of rooms, and rooms that are one channel under two addresses.

use isthmus_bridge::Values;

use super::*;

#[tokio::test]
async fn a_room_is_entered_again_with_the_password_that_it_has_now() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo juliet").await;
    let learnt = [":juliet!j@k MODE #c +k balcony", ":irc.test 324 romeo #c +ntk *"];
    let learnt_anew = [":irc.test 324 romeo #c +ntk orchard"];
    let lifted = [":juliet!j@k MODE #c -k *"];
    // A server need not say which it is.
    for (changes, joins) in [(&learnt[..], "JOIN #c balcony"), (&learnt_anew, "JOIN #c orchard"), (&lifted, "JOIN #c")]
    {
        for change in changes {
            client.send(change).await;
        }
        client.send("PING :sync").await;
        client.expect("PONG :sync").await;
        drop(client);
        client = stage.welcome("PREFIX=(ov)@+").await;
        assert_eq!(client.expect("JOIN ").await, joins, "{changes:?}");
        client.send(":romeo!u@host.test JOIN #c").await;
        client.send(":irc.test 353 romeo = #c :@romeo juliet").await;
        client.send(":irc.test 366 romeo #c :End").await;
        client.expect("MODE #c").await;
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_rooms_password_is_changed_by_taking_the_old_one_off() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let (session, mut client) = net.inside(&stage, "", "@romeo").await;
    client.send(":irc.test 324 romeo #c +ntk old").await;
    client.send("PING :sync").await;
    client.expect("PONG :sync").await;
    let form = |key: &str| Intent::SetRoomConfig { values: Values::new().with("muc#roomconfig_roomsecret", key) };
    let key = session.send(net.address("#c%net"), form("new"));
    assert_eq!(client.expect("MODE").await, "MODE #c -k+k old new");
    client.send(":romeo!u@host.test MODE #c -k+k old new").await;
    assert_eq!(failure(&net.host, &key).await, None);
    // What no server could take is said, and nothing else is made of it.
    for bad in ["se cret", "a,b", ":a", "a\u{1}"] {
        let key = session.send(net.address("#c%net"), form(bad));
        let error = error(&net.host, &key).await.unwrap_or_else(|| panic!("{bad:?} was taken"));
        assert!(key_is("no-such-password")(&error.text), "{bad:?}: {error}");
    }
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_password_that_cannot_be_one_spoils_no_other_rooms_join() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    let locked = |key: &str| Intent::Join { nick: "romeo".to_owned(), password: Some(key.to_owned()) };
    session.send(net.address("#a%net"), locked("one,two"));
    session.send(net.address("#b%net"), locked("three"));
    session.send(net.address("#c%net"), join("romeo"));
    let mut client = stage.welcome("").await;
    let mut joins = vec![client.expect("JOIN ").await, client.expect("JOIN ").await];
    joins.sort();
    assert_eq!(joins, ["JOIN #a one,two", "JOIN #b,#c three"]);
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn one_channel_under_another_address_is_told_where_it_is() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    let session = net.session();
    let key = session.send(net.address("#a[b]%net"), join("romeo"));
    let mut client = stage.welcome("CASEMAPPING=rfc1459 PREFIX=(ov)@+").await;
    client.admit("#a[b]", "romeo @juliet").await;
    assert_eq!(failure(&net.host, &key).await, None);
    // Its server may write it either way.
    client.send(":juliet!j@k PRIVMSG #A{B} :there").await;
    let said = net.host.emitted("her words", |e| matches!(&e.event, Event::Message(m) if m.body == "there")).await;
    assert!(matches!(&said.from, Address::Occupant { room, .. } if room.as_str() == "#a[b]%net"), "{:?}", said.from);
    let other = net.address("#a{b}%net");
    let key = session.send(other.clone(), join("romeo"));
    assert_eq!(failure(&net.host, &key).await, Some(Failure::Rejected));
    let refused = net.host.emitted("where it is", |e| e.from == other).await;
    let Event::Room(RoomChange::Refused { redirect, .. }) = refused.event else { panic!("{:?}", refused.event) };
    assert_eq!(redirect.as_ref().map(|room| room.as_str()), Some("#a[b]%net"));
    session.stop().await.expect("stops");
}

#[tokio::test]
async fn a_room_is_entered_with_its_password_after_a_restart_which_is_kept_sealed() {
    let stage = Stage::open().await;
    let net = Net::at(stage.port);
    net.host.set_default("persistent", "true");
    let with_password = Intent::Join { nick: "romeo".to_owned(), password: Some("sesame".to_owned()) };
    let session = net.session();
    let key = session.send(net.address("#c%net"), with_password);
    let mut client = stage.welcome("PREFIX=(ov)@+").await;
    client.expect("JOIN #c sesame").await;
    for line in [":romeo!u@host.test JOIN #c", ":irc.test 353 romeo = #c :romeo", ":irc.test 366 romeo #c :End"] {
        client.send(line).await;
    }
    assert_eq!(failure(&net.host, &key).await, None);
    session.stop().await.expect("stops");
    let kept = net.host.host().list("rooms", None).await.expect("the store is there");
    let kept: Vec<String> = kept.iter().map(|(_, value)| String::from_utf8_lossy(value).into_owned()).collect();
    assert!(kept.len() == 1 && kept[0].contains("#c%net"), "{kept:?}");
    assert!(!kept[0].contains("sesame") && !kept[0].contains(&hex::encode("sesame")), "{kept:?}");
    let session = net.session();
    let mut client = stage.welcome("PREFIX=(ov)@+").await;
    assert_eq!(client.expect("JOIN ").await, "JOIN #c sesame");
    session.stop().await.expect("stops");
}
