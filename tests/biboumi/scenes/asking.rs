//! Questions: discovery, lists, what occupants run, commands; refusals; the gateway as one network.

use crate::stage::Plan;

super::scenarios! {
    discovery Plan::default();
    list Plan::default();
    occupants Plan::default();
    self_ping Plan::default();
    commands Plan::default();
    connection_info Plan::default();
    disconnect Plan::default();
    disconnect_somebody Plan::default();
    roster Plan::default();
    refusals Plan::default();
    nick_in_use Plan::default();
    fixed_network Plan { fixed: true, ..Plan::default() };
}

mod scripts {
    use anyhow::{Context, Result};

    use crate::stage::{DESK, GATEWAY, OTHER, Stage, command, field, submit};

    const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
    const ITEMS: &str = "<query xmlns='http://jabber.org/protocol/disco#items'/>";
    const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";

    fn items(node: &str) -> String {
        format!("<query xmlns='http://jabber.org/protocol/disco#items' node='{node}'/>")
    }

    const COMMANDS: &str = "http://jabber.org/protocol/commands";

    pub(super) async fn discovery(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        let (network, room, nick) = (s.network(), s.room("verona"), s.nick("juliet"));
        s.scene("before entering");
        for to in [GATEWAY, network, &room, &nick] {
            s.ask(DESK, to, "get", INFO).await?;
        }
        s.ask(DESK, GATEWAY, "get", ITEMS).await?;
        s.join(DESK, "verona", "romeo").await?;
        s.scene("inside");
        s.ask(DESK, &room, "get", INFO).await?;
        s.ask(DESK, &room, "get", ITEMS).await?;
        s.ask(DESK, &format!("{room}/juliet"), "get", INFO).await?;
        s.scene("a room of which nothing is known");
        let other = s.room("unheard-of");
        s.ask(DESK, &other, "get", INFO).await?;
        s.scene("traffic and own nick");
        for node in ["http://jabber.org/protocol/muc#traffic", "x-roomuser-item"] {
            s.ask(DESK, &room, "get", &format!("<query xmlns='http://jabber.org/protocol/disco#info' node='{node}'/>"))
                .await?;
        }
        Ok(())
    }

    pub(super) async fn list(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        for n in 1..=4 {
            s.does(juliet, &format!("JOIN #room{n}")).await?;
        }
        s.join(DESK, "room1", "romeo").await?;
        let network = s.network();
        s.scene("all of them");
        s.ask(DESK, network, "get", ITEMS).await?;
        s.scene("a page");
        let page = |set: &str| {
            format!(
                "<query xmlns='http://jabber.org/protocol/disco#items'><set xmlns='http://jabber.org/protocol/rsm'>{set}</set></query>"
            )
        };
        let first = s.ask(DESK, network, "get", &page("<max>2</max>")).await?;
        let last = first.walk().find(|e| e.name == "last").context("no last")?.text.clone();
        s.scene("the next page");
        s.ask(DESK, network, "get", &page(&format!("<max>2</max><after>{last}</after>"))).await?;
        s.scene("behind something that is not in it");
        s.ask(DESK, network, "get", &page("<max>2</max><after>nothing</after>")).await.map(drop)
    }

    pub(super) async fn occupants(s: &mut Stage) -> Result<()> {
        s.join(DESK, "verona", "romeo").await?;
        s.join(OTHER, "verona", "benvolio").await?;
        let room = s.room("verona");
        let other = format!("{room}/benvolio");
        for (name, payload) in [
            ("ping", PING),
            ("version", "<query xmlns='jabber:iq:version'/>"),
            ("vcard", "<vCard xmlns='vcard-temp'/>"),
            ("discovery", "<query xmlns='http://jabber.org/protocol/disco#info'/>"),
            ("something else", "<query xmlns='urn:example:nothing'/>"),
        ] {
            s.scene(name);
            s.ask(DESK, &other, "get", payload).await?;
        }
        s.scene("somebody who is not there");
        s.try_ask(DESK, &format!("{room}/nobody"), "get", PING).await?;
        s.scene("the gateway's own");
        s.ask(DESK, GATEWAY, "get", PING).await?;
        s.ask(DESK, GATEWAY, "get", "<query xmlns='jabber:iq:version'/>").await?;
        s.ask(DESK, GATEWAY, "get", "<vCard xmlns='vcard-temp'/>").await.map(drop)
    }

    pub(super) async fn self_ping(s: &mut Stage) -> Result<()> {
        let room = s.room("verona");
        s.scene("not inside");
        s.ask(DESK, &format!("{room}/romeo"), "get", PING).await?;
        s.join(DESK, "verona", "romeo").await?;
        s.scene("inside");
        s.ask(DESK, &format!("{room}/romeo"), "get", PING).await?;
        s.scene("from a device that is not inside");
        s.ask("romeo@localhost/third", &format!("{room}/romeo"), "get", PING).await.map(drop)
    }

    pub(super) async fn commands(s: &mut Stage) -> Result<()> {
        let (network, room) = (s.network(), s.room("verona"));
        s.scene("which there are");
        for to in [GATEWAY, network, &room] {
            s.ask(DESK, to, "get", &items(COMMANDS)).await?;
        }
        s.scene("ping");
        s.ask(DESK, GATEWAY, "set", &command("ping", "execute", None, "")).await?;
        s.scene("hello");
        let form = s.ask(DESK, GATEWAY, "set", &command("hello", "execute", None, "")).await?;
        let session = form.walk().find_map(|e| e.attr("sessionid")).unwrap_or("none").to_owned();
        let filled = submit(&field("name", &["Romeo"]));
        s.ask(DESK, GATEWAY, "set", &command("hello", "next", Some(&session), &filled)).await?;
        for (name, to) in [("gateway", GATEWAY), ("network", network), ("room", &*room)] {
            s.scene(&format!("{name}: settings"));
            let form = s.ask(DESK, to, "set", &command("configure", "execute", None, "")).await?;
            let session = form.walk().find_map(|e| e.attr("sessionid")).unwrap_or("none").to_owned();
            s.scene(&format!("{name}: settings, cancelled"));
            s.ask(DESK, to, "set", &command("configure", "cancel", Some(&session), "")).await?;
        }
        s.scene("settings, filled in");
        let form = s.ask(DESK, GATEWAY, "set", &command("configure", "execute", None, "")).await?;
        let session = form.walk().find_map(|e| e.attr("sessionid")).unwrap_or("none").to_owned();
        let filled = submit(
            &(field("max_history_length", &["42"]) + &field("record_history", &["0"]) + &field("persistent", &["1"])),
        );
        s.ask(DESK, GATEWAY, "set", &command("configure", "next", Some(&session), &filled)).await?;
        s.scene("a command that there is not");
        s.ask(DESK, GATEWAY, "set", &command("nonsense", "execute", None, "")).await?;
        s.scene("one for administrators");
        s.ask(DESK, GATEWAY, "set", &command("disconnect-user", "execute", None, "")).await.map(drop)
    }

    pub(super) async fn connection_info(s: &mut Stage) -> Result<()> {
        let network = s.network();
        s.scene("not connected");
        s.ask(DESK, network, "set", &command("get-irc-connection-info", "execute", None, "")).await?;
        s.join(DESK, "verona", "romeo").await?;
        s.scene("connected");
        s.ask(DESK, network, "set", &command("get-irc-connection-info", "execute", None, "")).await.map(drop)
    }

    pub(super) async fn disconnect(s: &mut Stage) -> Result<()> {
        s.join(DESK, "verona", "romeo").await?;
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.settle().await?;
        s.scene("the form");
        let form = s.ask(DESK, GATEWAY, "set", &command("disconnect-from-irc-server", "execute", None, "")).await?;
        let session = form.walk().find_map(|e| e.attr("sessionid")).unwrap_or("none").to_owned();
        s.scene("filled in");
        s.is_gone(DESK);
        let filled = submit(&(field("irc-servers", &["net"]) + &field("quit-message", &["good night"])));
        s.ask(DESK, GATEWAY, "set", &command("disconnect-from-irc-server", "next", Some(&session), &filled)).await?;
        s.expect(DESK, "own end", |p| p.attr("type") == Some("unavailable")).await.ok();
        s.settle().await
    }

    pub(super) async fn disconnect_somebody(s: &mut Stage) -> Result<()> {
        const ADMIN: &str = "alice@localhost/desk";
        s.join(DESK, "verona", "romeo").await?;
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.settle().await?;
        s.scene("whose");
        let form = s.ask(ADMIN, GATEWAY, "set", &command("disconnect-from-irc-server", "execute", None, "")).await?;
        let session = form.walk().find_map(|e| e.attr("sessionid")).unwrap_or("none").to_owned();
        s.scene("which");
        let filled = submit(&field("jid", &["romeo@localhost"]));
        s.ask(ADMIN, GATEWAY, "set", &command("disconnect-from-irc-server", "next", Some(&session), &filled)).await?;
        s.scene("filled in");
        s.is_gone(DESK);
        let filled = submit(&(field("irc-servers", &["net"]) + &field("quit-message", &["good night"])));
        s.ask(ADMIN, GATEWAY, "set", &command("disconnect-from-irc-server", "next", Some(&session), &filled)).await?;
        s.expect(DESK, "own end", |p| p.attr("type") == Some("unavailable")).await.ok();
        s.settle().await
    }

    pub(super) async fn roster(s: &mut Stage) -> Result<()> {
        let network = s.network();
        s.scene("the gateway");
        s.send(DESK, &format!("<presence to='{GATEWAY}' type='subscribe'/>"))?;
        s.settle().await?;
        s.scene("a network");
        s.send(DESK, &format!("<presence to='{network}' type='subscribe'/>"))?;
        s.settle().await?;
        s.scene("connected");
        s.join(DESK, "verona", "romeo").await?;
        s.scene("probed");
        s.send("romeo@localhost", &format!("<presence to='{network}' type='probe'/>"))?;
        s.settle().await?;
        s.scene("no more");
        s.send(DESK, &format!("<presence to='{network}' type='unsubscribe'/>"))?;
        s.settle().await
    }

    pub(super) async fn refusals(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #closed").await?;
        s.does(juliet, "MODE #closed +k sesame").await?;
        s.join(DESK, "verona", "romeo").await?;
        s.scene("a key is needed");
        let closed = s.room("closed");
        s.send(DESK, &format!("<presence to='{closed}/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>"))?;
        s.settle().await?;
        s.scene("the right one");
        s.join_with(DESK, "closed", "romeo", "<password>sesame</password>").await?;
        s.scene("by invitation only");
        s.does(juliet, "JOIN #private").await?;
        s.does(juliet, "MODE #private +i").await?;
        let private = s.room("private");
        s.send(
            DESK,
            &format!("<presence to='{private}/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>"),
        )?;
        s.settle().await?;
        s.scene("no nick");
        let verona = s.room("verona");
        s.send(OTHER, &format!("<presence to='{verona}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"))?;
        s.settle().await?;
        s.scene("nobody may speak");
        s.does(juliet, "JOIN #silent").await?;
        s.does(juliet, "MODE #silent +m").await?;
        s.join(DESK, "silent", "romeo").await?;
        s.say(DESK, "silent", "hm").await?;
        s.scene("a room that one is not in");
        let elsewhere = s.room("elsewhere");
        s.send(DESK, &format!("<message to='{elsewhere}' type='groupchat'><body>hm</body></message>"))?;
        s.settle().await
    }

    pub(super) async fn nick_in_use(s: &mut Stage) -> Result<()> {
        s.person("romeo").await?;
        s.scene("while connecting");
        let room = s.room("verona");
        s.send(DESK, &format!("<presence to='{room}/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>"))?;
        s.expect(DESK, "the refusal", |p| p.attr("type") == Some("error")).await?;
        s.settle().await
    }

    pub(super) async fn fixed_network(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.scene("discovery");
        s.ask(DESK, GATEWAY, "get", INFO).await?;
        s.ask(DESK, GATEWAY, "get", &items(COMMANDS)).await?;
        s.scene("entering");
        s.join(DESK, "verona", "romeo").await?;
        s.scene("talking");
        s.say(DESK, "verona", "hello").await?;
        s.does(juliet, "PRIVMSG #verona :hello yourself").await?;
        s.settle().await?;
        s.scene("in private");
        let hers = s.nick("juliet");
        s.send(DESK, &format!("<message to='{hers}' type='chat'><body>psst</body></message>"))?;
        s.does(juliet, "PRIVMSG romeo :yes?").await?;
        s.settle().await?;
        s.scene("the list");
        s.ask(DESK, GATEWAY, "get", ITEMS).await?;
        s.scene("a line for the server");
        s.send(DESK, &format!("<message to='{GATEWAY}' type='chat'><body>WHOIS juliet</body></message>"))?;
        s.settle().await
    }
}
