//! Who may what: modes, roles, affiliations, kicks, bans, invitations, the room's form.

use crate::stage::Plan;

super::scenarios! {
    modes Plan::default();
    roles Plan::default();
    kick Plan::default();
    ban Plan::default();
    invitations Plan::default();
    owner_form Plan::default();
}

pub(super) mod scripts {
    use anyhow::Result;

    use crate::stage::{DESK, OTHER, Stage, field, submit};

    fn admin(item: &str) -> String {
        format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>")
    }

    /// He is the room's operator, she is inside.
    async fn his_room(s: &mut Stage) -> Result<(String, usize)> {
        s.join(DESK, "verona", "romeo").await?;
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.settle().await?;
        Ok((s.room("verona"), juliet))
    }

    pub(in crate::scenes) async fn modes(s: &mut Stage) -> Result<()> {
        let (_, juliet) = his_room(s).await?;
        s.scene("a mode of somebody");
        s.say(DESK, "verona", "/mode +v juliet").await?;
        s.scene("a mode of the room");
        s.say(DESK, "verona", "/mode +s").await?;
        s.scene("two at once");
        s.say(DESK, "verona", "/mode +o-v juliet juliet").await?;
        s.scene("by somebody else");
        s.does(juliet, "MODE #verona -o romeo").await?;
        s.settle().await?;
        s.scene("no right to");
        s.say(DESK, "verona", "/mode +o romeo").await?;
        s.scene("the user's own modes");
        let network = s.network();
        s.send(DESK, &format!("<message to='{network}' type='chat'><body>MODE romeo +w</body></message>"))?;
        s.settle().await
    }

    pub(in crate::scenes) async fn roles(s: &mut Stage) -> Result<()> {
        let (room, juliet) = his_room(s).await?;
        for (name, item) in [
            ("member", "<item nick='juliet' affiliation='member'/>"),
            ("admin", "<item nick='juliet' affiliation='admin'/>"),
            ("none", "<item nick='juliet' affiliation='none'/>"),
            ("moderator", "<item nick='juliet' role='moderator'/>"),
            ("participant", "<item nick='juliet' role='participant'/>"),
            ("nobody", "<item nick='nobody' affiliation='member'/>"),
            ("nonsense", "<item nick='juliet' affiliation='king'/>"),
        ] {
            s.scene(name);
            s.try_ask(DESK, &room, "set", &admin(item)).await?;
        }
        s.scene("who is what");
        for item in ["<item affiliation='admin'/>", "<item affiliation='member'/>", "<item role='moderator'/>"] {
            s.ask(DESK, &room, "get", &admin(item)).await?;
        }
        s.does(juliet, "JOIN #second").await?;
        s.join(DESK, "second", "romeo").await?;
        s.scene("no right to");
        let second = s.room("second");
        s.try_ask(DESK, &second, "set", &admin("<item nick='juliet' affiliation='member'/>")).await
    }

    pub(in crate::scenes) async fn kick(s: &mut Stage) -> Result<()> {
        let (room, juliet) = his_room(s).await?;
        s.join(OTHER, "verona", "benvolio").await?;
        s.scene("with a reason");
        s.ask(DESK, &room, "set", &admin("<item nick='juliet' role='none'><reason>night</reason></item>")).await?;
        s.does(juliet, "JOIN #verona").await?;
        s.settle().await?;
        s.scene("without");
        s.ask(DESK, &room, "set", &admin("<item nick='juliet' role='none'/>")).await?;
        s.scene("somebody who is not there");
        s.try_ask(DESK, &room, "set", &admin("<item nick='nobody' role='none'/>")).await?;
        s.scene("no right to");
        s.try_ask(OTHER, &room, "set", &admin("<item nick='romeo' role='none'/>")).await?;
        s.does(juliet, "JOIN #verona").await?;
        s.say(DESK, "verona", "/mode +o juliet").await?;
        s.scene("the user is kicked");
        s.does(juliet, "KICK #verona romeo :out").await?;
        s.settle().await
    }

    pub(in crate::scenes) async fn ban(s: &mut Stage) -> Result<()> {
        let (room, juliet) = his_room(s).await?;
        s.scene("a ban by mode");
        s.say(DESK, "verona", "/mode +b *!*@192.0.2.1").await?;
        s.scene("the list of the banned");
        s.ask(DESK, &room, "get", &admin("<item affiliation='outcast'/>")).await?;
        s.scene("somebody is banned and thrown out");
        s.say(DESK, "verona", "/mode +b juliet!*@*").await?;
        s.ask(DESK, &room, "set", &admin("<item nick='juliet' role='none'><reason>night</reason></item>")).await?;
        s.scene("the user is banned elsewhere");
        s.does(juliet, "JOIN #closed").await?;
        s.does(juliet, "MODE #closed +b romeo!*@*").await?;
        let closed = s.room("closed");
        s.send(DESK, &format!("<presence to='{closed}/romeo'><x xmlns='http://jabber.org/protocol/muc'/></presence>"))?;
        s.settle().await
    }

    pub(in crate::scenes) async fn invitations(s: &mut Stage) -> Result<()> {
        let (room, juliet) = his_room(s).await?;
        let ann = s.person("ann").await?;
        let (annas, room_ann) = (s.nick("ann"), format!("{room}/ann"));
        for (name, to) in [
            ("a nick's address", annas.as_str()),
            ("an occupant's address", &room_ann),
            ("a bare nick", "ann"),
            ("a user", "mercutio@localhost"),
        ] {
            s.scene(name);
            let invite = format!(
                "<x xmlns='http://jabber.org/protocol/muc#user'><invite to='{to}'><reason>come</reason></invite></x>"
            );
            s.send(DESK, &format!("<message to='{room}'>{invite}</message>"))?;
            s.settle().await?;
        }
        s.scene("a direct one");
        let bob = s.person("bob").await?;
        let bobs = s.nick("bob");
        let direct = format!("<x xmlns='jabber:x:conference' jid='{room}' reason='come'/>");
        s.send(DESK, &format!("<message to='{bobs}'>{direct}</message>"))?;
        s.settle().await?;
        s.scene("the user is invited");
        s.does(juliet, "JOIN #second").await?;
        s.does(juliet, "INVITE romeo #second").await?;
        s.settle().await?;
        let _ = (ann, bob);
        Ok(())
    }

    pub(in crate::scenes) async fn owner_form(s: &mut Stage) -> Result<()> {
        let (room, _) = his_room(s).await?;
        const OWNER: &str = "http://jabber.org/protocol/muc#owner";
        s.scene("the form");
        s.ask(DESK, &room, "get", &format!("<query xmlns='{OWNER}'/>")).await?;
        s.scene("filled in");
        let form = submit(
            &(field("FORM_TYPE", &["http://jabber.org/protocol/muc#roomconfig"])
                + &field("record_history", &["false"])),
        );
        s.ask(DESK, &room, "set", &format!("<query xmlns='{OWNER}'>{form}</query>")).await?;
        s.scene("cancelled");
        s.ask(DESK, &room, "set", &format!("<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='cancel'/></query>"))
            .await
            .map(drop)
    }
}
