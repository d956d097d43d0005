//! What is said: in rooms, in private, and its history.

use crate::stage::Plan;

super::scenarios! {
    messages Plan::default();
    history Plan::default();
    private Plan::default();
    topic Plan::default();
    raw Plan::default();
}

pub(super) mod scripts {
    use anyhow::Result;

    use crate::stage::{DESK, OTHER, Stage, field, submit};

    const MAM: &str = "urn:xmpp:mam:2";

    pub(in crate::scenes) async fn messages(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.join(DESK, "verona", "romeo").await?;
        let room = s.room("verona");
        s.scene("one line");
        s.say(DESK, "verona", "But, soft! &lt;what&gt; light &amp; so on").await?;
        s.scene("several lines");
        s.say(DESK, "verona", "first\nsecond\n\nthird").await?;
        s.scene("an action");
        s.say(DESK, "verona", "/me sighs").await?;
        s.scene("something that begins with a slash");
        s.say(DESK, "verona", "/methinks").await?;
        s.scene("an action behind a line");
        s.say(DESK, "verona", "hello\n/me waves").await?;
        s.scene("a line behind an action");
        s.say(DESK, "verona", "/me waves\nhello").await?;
        s.scene("a mode behind a line");
        s.say(DESK, "verona", "first\n/mode +v juliet").await?;
        s.scene("lines behind a mode");
        s.say(DESK, "verona", "/mode -v juliet\nthanks").await?;
        s.scene("somebody's line");
        s.does(juliet, "PRIVMSG #verona :O Romeo").await?;
        s.settle().await?;
        s.scene("somebody's action");
        s.does(juliet, "PRIVMSG #verona :\u{1}ACTION sighs too\u{1}").await?;
        s.settle().await?;
        s.scene("bold and colours");
        s.does(juliet, "PRIVMSG #verona :\u{2}wherefore\u{2} \u{3}04art\u{3} thou").await?;
        s.settle().await?;
        s.scene("a notice in the room");
        s.does(juliet, "NOTICE #verona :hear, hear").await?;
        s.settle().await?;
        s.scene("ids of others are kept, and ours cannot be forged");
        let ids = format!(
            "<stanza-id xmlns='urn:xmpp:sid:0' id='forged' by='{room}'/><origin-id xmlns='urn:xmpp:sid:0' id='o1'/>"
        );
        s.send(DESK, &format!("<message to='{room}' type='groupchat' id='m1'><body>ids</body>{ids}</message>"))?;
        s.settle().await?;
        s.scene("no body");
        s.send(DESK, &format!("<message to='{room}' type='groupchat'><composing xmlns='http://jabber.org/protocol/chatstates'/></message>"))?;
        s.settle().await
    }

    pub(in crate::scenes) async fn history(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.join(DESK, "verona", "romeo").await?;
        for n in 1..=3 {
            s.say(DESK, "verona", &format!("mine {n}")).await?;
            s.does(juliet, &format!("PRIVMSG #verona :hers {n}")).await?;
            s.settle().await?;
        }
        let room = s.room("verona");
        s.scene("the archive");
        s.ask(DESK, &room, "set", &format!("<query xmlns='{MAM}' queryid='a'/>")).await?;
        s.scene("its first page");
        let page = |max: &str| format!("<set xmlns='http://jabber.org/protocol/rsm'>{max}</set>");
        s.ask(DESK, &room, "set", &format!("<query xmlns='{MAM}' queryid='b'>{}</query>", page("<max>2</max>")))
            .await?;
        s.scene("its last page");
        let last = page("<max>2</max><before/>");
        s.ask(DESK, &room, "set", &format!("<query xmlns='{MAM}' queryid='c'>{last}</query>")).await?;
        s.scene("a time in which nothing was");
        let form = submit(&(field("FORM_TYPE", &[MAM]) + &field("end", &["2001-01-01T00:00:00Z"])));
        s.ask(DESK, &room, "set", &format!("<query xmlns='{MAM}' queryid='d'>{form}</query>")).await?;
        s.scene("behind a line that nobody knows");
        let unknown = page("<after>nonsense</after>");
        s.ask(DESK, &room, "set", &format!("<query xmlns='{MAM}' queryid='e'>{unknown}</query>")).await?;
        s.scene("what it can be asked for");
        s.ask(DESK, &room, "get", &format!("<query xmlns='{MAM}'/>")).await?;
        s.scene("entering again");
        s.join(DESK, "verona", "romeo").await?;
        s.scene("entering again, two lines");
        s.join_with(DESK, "verona", "romeo", "<history maxstanzas='2'/>").await?;
        s.scene("entering again, none");
        s.join_with(DESK, "verona", "romeo", "<history maxchars='0'/>").await?;
        s.scene("somebody else's archive");
        s.join(OTHER, "verona", "benvolio").await?;
        s.ask(OTHER, &room, "set", &format!("<query xmlns='{MAM}' queryid='f'/>")).await.map(drop)
    }

    pub(in crate::scenes) async fn private(s: &mut Stage) -> Result<()> {
        let juliet = s.person("Juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.join(DESK, "verona", "romeo").await?;
        let (hers, room, nobody) = (s.nick("juliet"), s.room("verona"), s.nick("nobody"));
        s.scene("to a nick");
        s.send(DESK, &format!("<message to='{hers}' type='chat'><body>psst</body></message>"))?;
        s.settle().await?;
        s.scene("from a nick");
        s.does(juliet, "PRIVMSG romeo :yes?").await?;
        s.settle().await?;
        s.scene("an action, a notice");
        s.does(juliet, "PRIVMSG romeo :\u{1}ACTION waves\u{1}").await?;
        s.does(juliet, "NOTICE romeo :listen").await?;
        s.settle().await?;
        s.scene("to nobody");
        s.send(DESK, &format!("<message to='{nobody}' type='chat'><body>hello?</body></message>"))?;
        s.settle().await?;
        s.scene("to an occupant");
        s.send(DESK, &format!("<message to='{room}/Juliet' type='chat'><body>in here</body></message>"))?;
        s.settle().await?;
        s.scene("the occupant answers");
        s.does(juliet, "PRIVMSG romeo :in here as well").await?;
        s.settle().await?;
        s.scene("an action in private");
        s.send(DESK, &format!("<message to='{hers}' type='chat'><body>/me bows</body></message>"))?;
        s.settle().await?;
        s.scene("asked for version and time");
        s.does(juliet, "PRIVMSG romeo :\u{1}PING 123\u{1}").await?;
        s.settle().await?;
        s.settle().await
    }

    pub(in crate::scenes) async fn topic(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.does(juliet, "TOPIC #verona :The balcony").await?;
        s.scene("a room with a topic");
        s.join(DESK, "verona", "romeo").await?;
        s.scene("hers");
        s.does(juliet, "TOPIC #verona :The tomb").await?;
        s.settle().await?;
        let room = s.room("verona");
        s.scene("his, of two lines");
        s.send(
            DESK,
            &format!("<message to='{room}' type='groupchat' id='m1'><subject>A street\nof Verona</subject></message>"),
        )?;
        s.settle().await?;
        s.scene("his, where only operators may");
        s.does(juliet, "MODE #verona +t").await?;
        s.send(DESK, &format!("<message to='{room}' type='groupchat' id='m2'><subject>Mantua</subject></message>"))?;
        s.settle().await
    }

    pub(in crate::scenes) async fn raw(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        let network = s.network();
        s.scene("not connected");
        s.send(DESK, &format!("<message to='{network}' type='chat'><body>WHOIS juliet</body></message>"))?;
        s.settle().await?;
        s.join(DESK, "verona", "romeo").await?;
        s.scene("a question");
        s.send(DESK, &format!("<message to='{network}' type='chat'><body>WHOIS juliet</body></message>"))?;
        s.settle().await?;
        s.scene("a command that the server does not know");
        s.send(DESK, &format!("<message to='{network}' type='chat'><body>NONSENSE</body></message>"))?;
        s.settle().await?;
        s.scene("entering by hand");
        s.send(DESK, &format!("<message to='{network}' type='chat'><body>JOIN #second</body></message>"))?;
        s.settle().await?;
        s.scene("a message by hand");
        s.send(DESK, &format!("<message to='{network}' type='chat'><body>PRIVMSG #verona :by hand</body></message>"))?;
        s.settle().await
    }
}
