//! Our own stanzas on a real ngircd and InspIRCd, where the comparison leaves a known difference out, or where biboumi has nothing to compare with.

use std::time::Instant;

use anyhow::{Context, Result};
use isthmus_testkit::xml::Element;

use crate::stage::{DESK, NET, OTHER, PHONE, Plan, Side, Stage, command, field as fills, submit};

pub(crate) const NGIRCD: Plan = Plan { fixed: false, persistent: false, inspircd: false };
pub(crate) const INSPIRCD: Plan = Plan { inspircd: true, ..NGIRCD };
pub(crate) const MUC: &str = "<x xmlns='http://jabber.org/protocol/muc'/>";
const INFO: &str = "<query xmlns='http://jabber.org/protocol/disco#info'/>";
const OWNER: &str = "<query xmlns='http://jabber.org/protocol/muc#owner'/>";
pub(crate) const STANZAS: &str = "urn:ietf:params:xml:ns:xmpp-stanzas";

pub(crate) async fn plays(plan: Plan, script: impl AsyncFn(&mut Stage) -> Result<()>) {
    crate::play(Side::Ours, plan, &script).await;
}

fn admin(item: &str) -> String {
    format!("<query xmlns='http://jabber.org/protocol/muc#admin'>{item}</query>")
}

/// As it stands in the stream, but for the stream's own namespace; attributes by their names.
pub(crate) fn spelled(stanza: &Element) -> String {
    let mut stanza = stanza.clone();
    stanza.attrs.sort();
    stanza.to_string().replace(" xmlns='jabber:component:accept'", "")
}

pub(crate) fn codes(stanza: &Element) -> Vec<&str> {
    stanza.walk().filter(|e| e.name == "status").filter_map(|e| e.attr("code")).collect()
}

/// Waits until the user is told that somebody in the room is this.
async fn is(s: &mut Stage, nick: &str, affiliation: &str, role: &str) -> Result<Element> {
    let from = format!("{}/{nick}", s.room("verona"));
    let item =
        |e: &Element| e.name == "item" && e.attr("affiliation") == Some(affiliation) && e.attr("role") == Some(role);
    let what = format!("{nick} as {affiliation} and {role}");
    s.expect(DESK, &what, |p| p.name == "presence" && p.attr("from") == Some(&from) && p.walk().any(item)).await
}

/// Who has this role, by the room's own list.
async fn list(s: &mut Stage, role: &str) -> Result<Vec<String>> {
    let room = s.room("verona");
    let answer = s.ask(DESK, &room, "get", &admin(&format!("<item role='{role}'/>"))).await?;
    let mut nicks: Vec<String> = answer.walk().filter_map(|e| e.attr("nick")).map(str::to_owned).collect();
    nicks.sort();
    Ok(nicks)
}

/// A wish to change what somebody is; the answer.
async fn set(s: &mut Stage, item: &str) -> Result<Element> {
    let room = s.room("verona");
    s.ask(DESK, &room, "set", &admin(item)).await
}

#[tokio::test]
async fn somebody_is_named_by_their_address() {
    plays(NGIRCD, async |s| {
        s.join(DESK, "verona", "romeo").await?;
        let juliet = s.person("Juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        let shown = is(s, "Juliet", "none", "participant").await?;
        let shown = shown.walk().find_map(|e| e.attr("jid")).context("her address is shown")?.to_owned();
        assert!(shown.starts_with("juliet%net@irc.localhost/~Juliet@"), "{shown}");
        let bare = s.nick("juliet");
        for (jid, wish, modes) in [
            (&bare, "affiliation='member'", "+v Juliet"),
            (&shown, "affiliation='admin'", "+o Juliet"),
            (&bare, "role='participant'", "-o Juliet"),
            (&shown, "role='moderator'", "+h Juliet"),
            (&bare, "affiliation='none'", "-hv Juliet Juliet"),
        ] {
            s.scene(wish);
            let answer = set(s, &format!("<item jid='{jid}' {wish}/>")).await?;
            assert_eq!(answer.attr("type"), Some("result"), "{jid} {wish}: {answer}");
            let lines = s.steps.last().and_then(|step| step.lines.get("Juliet")).cloned().unwrap_or_default();
            let done = format!(" MODE #verona {modes}");
            assert!(lines.iter().any(|line| line.ends_with(&done)), "{jid} {wish}: {lines:?}");
        }
        // Nobody of that name; and somebody of that name on another network is not she.
        let elsewhere = "juliet%elsewhere@irc.localhost".to_owned();
        for jid in [s.nick("nobody"), elsewhere.clone()] {
            for wish in ["affiliation='member'", "role='moderator'", "role='none'", "affiliation='owner'"] {
                s.scene(wish);
                let answer = set(s, &format!("<item jid='{jid}' {wish}/>")).await?;
                assert_eq!(answer.error().as_deref(), Some("cancel/item-not-found"), "{jid} {wish}: {answer}");
                let heard = s.steps.last().map(|step| step.lines.clone()).unwrap_or_default();
                assert!(heard.values().all(Vec::is_empty), "{jid} {wish}: {heard:?}");
            }
        }
        let answer = set(s, &format!("<item jid='{elsewhere}' affiliation='outcast'/>")).await?;
        assert_eq!(answer.error().as_deref(), Some("cancel/item-not-found"), "{answer}");
        // Nor is she invited in that one's place, by either kind of invitation.
        let (room, other) = (s.room("verona"), "#verona%elsewhere@irc.localhost");
        s.scene("invitations");
        let invite = format!("<x xmlns='http://jabber.org/protocol/muc#user'><invite to='{elsewhere}'/></x>");
        s.send(DESK, &format!("<message to='{room}' id='m1'>{invite}</message>"))?;
        let refused = s.expect(DESK, "the refusal", |m| m.attr("id") == Some("m1")).await?;
        assert_eq!(refused.error().as_deref(), Some("cancel/item-not-found"), "{refused}");
        // Nor is she told that somebody does not come.
        let decline = format!("<x xmlns='http://jabber.org/protocol/muc#user'><decline to='{elsewhere}'/></x>");
        s.send(DESK, &format!("<message to='{room}' id='m2'>{decline}</message>"))?;
        let refused = s.expect(DESK, "the refusal", |m| m.attr("id") == Some("m2")).await?;
        assert_eq!(refused.error().as_deref(), Some("cancel/item-not-found"), "{refused}");
        s.person("ann").await?;
        let direct = format!("<x xmlns='jabber:x:conference' jid='{other}'/>");
        s.send(DESK, &format!("<message to='{}'>{direct}</message>", s.nick("ann")))?;
        s.settle().await?;
        let lines = s.steps.last().and_then(|step| step.lines.get("ann")).cloned().unwrap_or_default();
        assert!(!lines.iter().any(|line| line.contains(" INVITE ")), "{lines:?}");
        // Thrown out, and banned from where she is.
        s.scene("a kick");
        let answer = set(s, &format!("<item jid='{shown}' role='none'><reason>night</reason></item>")).await?;
        assert_eq!(answer.attr("type"), Some("result"), "{answer}");
        let kicked = s.steps.last().and_then(|step| step.lines.get("Juliet")).cloned().unwrap_or_default();
        assert!(kicked.iter().any(|line| line.ends_with(" KICK #verona Juliet :night")), "{kicked:?}");
        s.does(juliet, "JOIN #verona").await?;
        is(s, "Juliet", "none", "participant").await?;
        s.scene("a ban");
        let answer = set(s, &format!("<item jid='{bare}' affiliation='outcast'><reason>dawn</reason></item>")).await?;
        assert_eq!(answer.attr("type"), Some("result"), "{answer}");
        let lines = s.steps.last().and_then(|step| step.lines.get("Juliet")).cloned().unwrap_or_default();
        let host = shown.split('@').next_back().context("a host")?;
        let at = |end: String| lines.iter().position(|line| line.ends_with(&end));
        let (ban, kick) = (at(format!(" MODE #verona +b *!*@{host}")), at(" KICK #verona Juliet :dawn".to_owned()));
        assert!(ban.is_some() && ban < kick, "{lines:?}");
        let room = s.room("verona");
        let banned = s.ask(DESK, &room, "get", &admin("<item affiliation='outcast'/>")).await?;
        let mask = banned.walk().find_map(|e| e.attr("jid")).map(str::to_owned);
        assert_eq!(mask.as_deref(), Some(&*format!("*!*@{host}")), "{banned}");
        // As the list has it, it is lifted.
        let answer = set(s, &format!("<item jid='*!*@{host}' affiliation='none'/>")).await?;
        assert_eq!(answer.attr("type"), Some("result"), "{answer}");
        s.does(juliet, "JOIN #verona").await?;
        is(s, "Juliet", "none", "participant").await.map(drop)
    })
    .await;
}

/// Under the id of its client, or under one of ours; and always with one by the room.
#[tokio::test]
async fn a_message_without_an_id_comes_back_with_one() {
    plays(NGIRCD, async |s| {
        s.join(DESK, "verona", "romeo").await?;
        let room = s.room("verona");
        let mut ids = Vec::new();
        for (words, id) in [("ay me", ""), ("speak again", ""), ("bright angel", " id='m1'"), ("O Romeo", " id=''")] {
            let body = format!("<body>{words}</body>");
            s.send_as_is(&format!("<message from='{DESK}' to='{room}' type='groupchat'{id}>{body}</message>"))?;
            let back = s.expect(DESK, words, |m| m.body() == Some(words)).await?;
            let own = back.attr("id").filter(|id| !id.is_empty()).with_context(|| format!("no id: {back}"))?;
            let by_room = back.get("stanza-id", "urn:xmpp:sid:0").with_context(|| format!("no stanza-id: {back}"))?;
            assert_eq!(by_room.attr("by"), Some(&*room), "{back}");
            let by_room = by_room.attr("id").filter(|id| !id.is_empty()).context("an empty stanza-id")?;
            assert_eq!(own == "m1", id == " id='m1'", "{back}");
            ids.extend([own.to_owned(), by_room.to_owned()]);
            s.settle().await?;
        }
        // No message has an id of another one.
        for (n, ids_of_one) in ids.chunks(2).enumerate() {
            let others = ids.chunks(2).enumerate().filter(|(m, _)| *m != n).flat_map(|(_, ids)| ids);
            assert!(others.into_iter().all(|id| !ids_of_one.contains(id)), "{ids:?}");
        }
        Ok(())
    })
    .await;
}

/// What the network says of somebody beside their words, as clients see it.
#[tokio::test]
async fn who_is_away_logged_in_or_a_program_is_shown_so() {
    plays(INSPIRCD, async |s| {
        let services = s.services().await?;
        services.register("capulet", "sesame", None).await?;
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.join(DESK, "verona", "romeo").await?;
        let hers = format!("{}/juliet", s.room("verona"));
        let of_her = |p: &Element| p.name == "presence" && p.attr("from") == Some(&hers) && p.attr("type").is_none();
        let text = |p: &Element, name: &str| p.child(name).map(|e| e.text.clone());
        s.does(juliet, "AWAY :at church").await?;
        let away = s.expect(DESK, "that she is away", |p| of_her(p) && p.child("show").is_some()).await?;
        assert_eq!(
            (text(&away, "show").as_deref(), text(&away, "status").as_deref()),
            (Some("away"), Some("at church"))
        );
        assert!(!away.has("hats", "urn:xmpp:hats:0"), "{away}");
        s.settle().await?;
        // A program says of itself that it is one, and that goes with its words.
        s.does(juliet, "MODE juliet +B").await?;
        s.does(juliet, "PRIVMSG #verona :beep").await?;
        let bot = s.expect(DESK, "that she is a program", |p| of_her(p) && p.has("hats", "urn:xmpp:hats:0")).await?;
        let hats = bot.get("hats", "urn:xmpp:hats:0").context("hats")?;
        let hats: Vec<_> = hats.children.iter().map(|hat| (hat.attr("title"), hat.attr("uri"))).collect();
        assert!(matches!(&hats[..], [(Some(title), Some(_))] if title.to_lowercase().contains("bot")), "{bot}");
        assert_eq!(text(&bot, "show").as_deref(), Some("away"), "she is that still: {bot}");
        s.settle().await?;
        s.does(juliet, "AWAY").await?;
        let back = s.expect(DESK, "that she is back", |p| of_her(p) && p.child("show").is_none()).await?;
        assert_eq!((text(&back, "status"), back.has("hats", "urn:xmpp:hats:0")), (None, true), "{back}");
        let account = |p: &Element| {
            let account = p.walk().find(|e| e.name == "account" && e.ns == "urn:isthmus:account:0");
            account.and_then(|account| account.attr("name")).map(str::to_owned)
        };
        assert_eq!(account(&back), None, "{back}");
        s.settle().await?;
        s.does(juliet, "PRIVMSG NickServ :IDENTIFY capulet sesame").await?;
        let known = s.expect(DESK, "that she is logged in", |p| of_her(p) && account(p).is_some()).await?;
        assert_eq!(account(&known).as_deref(), Some("capulet"), "{known}");
        // Who comes in sees it at once.
        s.does(juliet, "AWAY :at church").await?;
        s.expect(DESK, "that she is away again", |p| of_her(p) && p.child("show").is_some()).await?;
        s.settle().await?;
        s.send(PHONE, &format!("<presence to='{}/romeo'>{MUC}</presence>", s.room("verona")))?;
        let seen = s.expect(PHONE, "her", of_her).await?;
        assert_eq!((text(&seen, "status").as_deref(), seen.has("hats", "urn:xmpp:hats:0")), (Some("at church"), true));
        assert_eq!(account(&seen).as_deref(), Some("capulet"), "{seen}");
        s.settle().await
    })
    .await;
}

async fn taken_nicks(s: &mut Stage) -> Result<()> {
    let juliet = s.person("juliet").await?;
    s.does(juliet, "JOIN #verona").await?;
    let (room, words) =
        (s.room("verona"), if s.is_inspircd() { "Nickname is already in use." } else { "Nickname already in use" });
    let refusal = |nick: &str, to: &str, id: &str, words: &str| {
        format!(
            "<presence from='{room}/{nick}' id='{id}' to='{to}' type='error'>{MUC}<error type='cancel' code='409'>\
             <conflict xmlns='{STANZAS}'/><text xmlns='{STANZAS}'>{words}</text></error></presence>"
        )
    };
    let is_error = |p: &Element| p.name == "presence" && p.attr("type") == Some("error");
    // At the registration: the join fails, and nothing is left of it.
    s.send(OTHER, &format!("<presence to='{room}/juliet' id='m1'>{MUC}</presence>"))?;
    let refused = s.expect(OTHER, "the refusal", is_error).await?;
    assert_eq!(spelled(&refused), refusal("juliet", OTHER, "m1", "The nick juliet is in use."));
    // Inside: the old nick stays.
    s.join(DESK, "verona", "romeo").await?;
    s.send(DESK, &format!("<presence to='{room}/juliet' id='m2'/>"))?;
    let refused = s.expect(DESK, "the refusal", is_error).await?;
    assert_eq!(spelled(&refused), refusal("juliet", DESK, "m2", words));
    s.say(DESK, "verona", "by any other name").await?;
    let lines = s.steps.iter().filter_map(|step| step.lines.get("juliet")).flatten();
    assert!(lines.into_iter().any(|line| line.starts_with(":romeo!") && line.ends_with("by any other name")));
    Ok(())
}

#[tokio::test]
async fn a_nick_that_is_taken_is_a_conflict_with_its_code_on_ngircd() {
    plays(NGIRCD, taken_nicks).await;
}

#[tokio::test]
async fn a_nick_that_is_taken_is_a_conflict_with_its_code_on_inspircd() {
    plays(INSPIRCD, taken_nicks).await;
}

async fn no_right(s: &mut Stage) -> Result<()> {
    let juliet = s.person("juliet").await?;
    s.does(juliet, "JOIN #verona").await?;
    s.join(DESK, "verona", "romeo").await?;
    let room = s.room("verona");
    for item in [
        "<item nick='juliet' role='none'/>",
        "<item nick='juliet' affiliation='member'/>",
        "<item nick='romeo' affiliation='owner'/>",
        "<item jid='*!*@192.0.2.1' affiliation='outcast'/>",
    ] {
        let answer = s.ask(DESK, &room, "set", &admin(item)).await?;
        let words = answer.walk().find(|e| e.name == "text").map(|e| e.text.clone()).unwrap_or_default();
        let id = answer.attr("id").unwrap_or_default();
        let expected = format!(
            "<iq from='{room}' id='{id}' to='{DESK}' type='error'><error type='auth'><forbidden xmlns='{STANZAS}'/>\
             <text xmlns='{STANZAS}'>{words}</text></error></iq>"
        );
        assert_eq!(spelled(&answer), expected, "{item}");
        let servers = ["Your privileges are too low", "You are not channel operator", "You must be a channel op"];
        assert!(servers.iter().any(|own| words.starts_with(own)), "the server's words (482) to {item}: {words:?}");
    }
    let heard = s.steps.iter().filter_map(|step| step.lines.get("juliet")).flatten();
    let done: Vec<&String> = heard.filter(|line| line.contains(" MODE ") || line.contains(" KICK ")).collect();
    assert!(done.is_empty(), "{done:?}");
    Ok(())
}

#[tokio::test]
async fn who_has_no_right_to_change_anybody_is_told_so_on_ngircd() {
    plays(NGIRCD, no_right).await;
}

#[tokio::test]
async fn who_has_no_right_to_change_anybody_is_told_so_on_inspircd() {
    plays(INSPIRCD, no_right).await;
}

/// 100, 110, 210, 303: which of them, and where.
#[tokio::test]
async fn a_presence_of_ones_own_says_whether_the_nick_is_the_one_that_was_asked_for() {
    plays(NGIRCD, async |s| {
        let own = |p: &Element| p.name == "presence" && codes(p).contains(&"110");
        let knock = |room: &str, nick: &str| format!("<presence to='{room}/{nick}'>{MUC}</presence>");
        let (verona, third) = (s.room("verona"), s.room("third"));
        s.send(DESK, &knock(&verona, "romeo"))?;
        let entered = s.expect(DESK, "own presence", own).await?;
        assert_eq!((entered.attr("from"), codes(&entered)), (Some(&*format!("{verona}/romeo")), vec!["100", "110"]));
        s.is_connected(DESK);
        s.settle().await?;
        // The network's nick is what it is, whatever is asked for in another room.
        s.send(DESK, &knock(&third, "montague"))?;
        let entered = s.expect(DESK, "own presence", own).await?;
        let codes_here = vec!["100", "110", "210"];
        assert_eq!((entered.attr("from"), codes(&entered)), (Some(&*format!("{third}/romeo")), codes_here));
        s.settle().await?;
        // Asked for.
        s.send(DESK, &format!("<presence to='{verona}/montague'/>"))?;
        let from = format!("{verona}/romeo");
        let old = s.expect(DESK, "the old nick's end", |p| own(p) && p.attr("from") == Some(&from)).await?;
        assert_eq!((old.attr("type"), codes(&old)), (Some("unavailable"), vec!["303", "110"]));
        assert!(old.walk().any(|e| e.attr("nick") == Some("montague")), "{old}");
        let from = format!("{verona}/montague");
        let new = s.expect(DESK, "the new nick", |p| own(p) && p.attr("from") == Some(&from)).await?;
        assert_eq!((new.attr("type"), codes(&new)), (None, vec!["110"]));
        s.settle().await?;
        // Not asked for in this way.
        s.send(DESK, &format!("<message to='{NET}' type='chat'><body>NICK benvolio</body></message>"))?;
        let from = format!("{verona}/benvolio");
        let new = s.expect(DESK, "another nick", |p| own(p) && p.attr("from") == Some(&from)).await?;
        assert_eq!(codes(&new), ["110", "210"]);
        s.settle().await
    })
    .await;
}

/// Who may not speak is a visitor, until they may.
async fn voices(s: &mut Stage) -> Result<()> {
    let (juliet, nurse) = (s.person("juliet").await?, s.person("nurse").await?);
    for who in [juliet, nurse] {
        s.does(who, "JOIN #verona").await?;
    }
    s.join(DESK, "verona", "romeo").await?;
    assert_eq!(list(s, "participant").await?, ["nurse", "romeo"]);
    s.does(juliet, "MODE #verona +m").await?;
    is(s, "nurse", "none", "visitor").await?;
    assert!(codes(&is(s, "romeo", "none", "visitor").await?).contains(&"110"));
    assert_eq!(list(s, "visitor").await?, ["nurse", "romeo"]);
    assert_eq!((list(s, "moderator").await?, list(s, "participant").await?), (vec!["juliet".to_owned()], vec![]));
    s.does(juliet, "MODE #verona +v nurse").await?;
    is(s, "nurse", "member", "participant").await?;
    s.does(juliet, "MODE #verona +v romeo").await?;
    assert!(codes(&is(s, "romeo", "member", "participant").await?).contains(&"110"));
    assert_eq!((list(s, "visitor").await?, list(s, "participant").await?.len()), (vec![], 2));
    s.does(juliet, "MODE #verona -v nurse").await?;
    is(s, "nurse", "none", "visitor").await?;
    // The same from here, by who may.
    s.does(juliet, "MODE #verona +o romeo").await?;
    is(s, "romeo", "admin", "moderator").await?;
    for (role, modes, affiliation) in
        [("participant", "+v nurse", "member"), ("visitor", "-v nurse", "none"), ("participant", "+v nurse", "member")]
    {
        s.scene(role);
        let answer = set(s, &format!("<item nick='nurse' role='{role}'/>")).await?;
        assert_eq!(answer.attr("type"), Some("result"), "{role}: {answer}");
        let lines = s.steps.last().and_then(|step| step.lines.get("nurse")).cloned().unwrap_or_default();
        let done = |line: &&String| line.starts_with(":romeo!") && line.replace(" :", " ").ends_with(modes);
        assert!(lines.iter().any(|line| done(&line)), "{modes}: {lines:?}");
        assert!(list(s, role).await?.contains(&"nurse".to_owned()), "{role} {affiliation}");
    }
    s.does(juliet, "MODE #verona -v nurse").await?;
    s.does(juliet, "MODE #verona -ov romeo romeo").await?;
    s.settle().await?;
    assert_eq!(list(s, "visitor").await?, ["nurse", "romeo"]);
    s.does(juliet, "MODE #verona -m").await?;
    is(s, "nurse", "none", "participant").await?;
    is(s, "romeo", "none", "participant").await?;
    assert_eq!((list(s, "visitor").await?, list(s, "participant").await?.len()), (vec![], 2));
    Ok(())
}

#[tokio::test]
async fn who_may_not_speak_is_a_visitor_until_they_may_on_ngircd() {
    plays(NGIRCD, voices).await;
}

#[tokio::test]
async fn who_may_not_speak_is_a_visitor_until_they_may_on_inspircd() {
    plays(INSPIRCD, voices).await;
}

/// Features of a room, as this resource is told; and how many are inside.
async fn features(s: &mut Stage, who: &str) -> Result<(Vec<String>, Option<String>)> {
    let room = s.room("verona");
    let info = s.ask(who, &room, "get", INFO).await?;
    let of_modes = ["password", "unsecured", "moderated", "unmoderated", "hidden", "public", "open", "members"];
    let named = |var: &str| var.strip_prefix("muc_").is_some_and(|v| of_modes.iter().any(|m| v.starts_with(m)));
    let mut all: Vec<String> =
        info.walk().filter(|e| e.name == "feature").filter_map(|e| e.attr("var")).map(str::to_owned).collect();
    all.retain(|var| named(var));
    all.sort();
    let count = info.walk().find(|e| e.attr("var") == Some("muc#roominfo_occupants"));
    Ok((all, count.and_then(|field| field.child("value")).map(|value| value.text.clone())))
}

/// What the room's form says of this field.
async fn field(s: &mut Stage, name: &str) -> Result<Option<String>> {
    let room = s.room("verona");
    let form = s.ask(DESK, &room, "get", OWNER).await?;
    let field = form.walk().find(|e| e.name == "field" && e.attr("var") == Some(name));
    let field = field.with_context(|| format!("no field {name}: {form}"))?;
    Ok(field.child("value").map(|value| value.text.clone()))
}

/// What others make of a room: each mode, on and off, in what the room says of itself and in its form.
async fn modes(s: &mut Stage) -> Result<()> {
    let juliet = s.person("juliet").await?;
    s.does(juliet, "JOIN #verona").await?;
    // What is the server's usual is not what is looked for here.
    for mode in ["+n", "-t", "-s", "-p"] {
        s.does(juliet, &format!("MODE #verona {mode}")).await?;
    }
    s.join(DESK, "verona", "romeo").await?;
    let open = ["muc_open", "muc_public", "muc_unmoderated", "muc_unsecured"];
    assert_eq!(features(s, DESK).await?.0, open);
    let hidden: &[&str] = if s.is_inspircd() { &["s", "p"] } else { &["s"] };
    let mut cases = vec![
        ("k sesame", "muc_unsecured", "muc_passwordprotected", "muc#roomconfig_passwordprotectedroom", "false", "true"),
        ("m", "muc_unmoderated", "muc_moderated", "muc#roomconfig_moderatedroom", "false", "true"),
        ("l 7", "", "", "muc#roomconfig_maxusers", "", "7"),
        ("t", "", "", "muc#roomconfig_changesubject", "true", "false"),
        ("i", "", "", "invite_only", "false", "true"),
    ];
    cases.extend(hidden.iter().map(|m| (*m, "muc_public", "muc_hidden", "muc#roomconfig_publicroom", "true", "false")));
    for (mode, before, after, name, off, on) in cases {
        let changed: Vec<&str> = open.iter().map(|f| if *f == before { after } else { f }).collect();
        let mut changed: Vec<String> = changed.into_iter().map(str::to_owned).collect();
        changed.sort();
        let is_news = |m: &Element| m.name == "message" && codes(m) == ["104"];
        for (sign, expected, value) in [('+', changed, on), ('-', open.map(str::to_owned).to_vec(), off)] {
            s.does(juliet, &format!("MODE #verona {sign}{}", if sign == '-' && mode == "l 7" { "l" } else { mode }))
                .await?;
            s.expect(DESK, "that the room is another", is_news).await?;
            s.settle().await?;
            let (told, inside) = features(s, DESK).await?;
            assert_eq!((&told, inside.as_deref()), (&expected, Some("2")), "{sign}{mode}, inside");
            // By a device that is not inside it is asked over the same connection, which is.
            assert_eq!(features(s, PHONE).await?, (expected, None), "{sign}{mode}, outside");
            // And by somebody who has none.
            let closed: Vec<String> = open.map(str::to_owned).to_vec();
            assert_eq!(features(s, OTHER).await?, (closed, None), "{sign}{mode}, somebody else");
            assert_eq!(field(s, name).await?.unwrap_or_default(), value, "{sign}{mode}");
        }
    }
    Ok(())
}

/// The room's form, filled in with its own fields and the user's in one; what became of the room's modes.
async fn form(s: &mut Stage) -> Result<()> {
    s.join(DESK, "verona", "romeo").await?;
    let juliet = s.person("juliet").await?;
    s.does(juliet, "JOIN #verona").await?;
    let room = s.room("verona");
    let all = [
        ("invite_only", "1", "0"),
        ("muc#roomconfig_passwordprotectedroom", "1", "0"),
        ("muc#roomconfig_roomsecret", "sesame", ""),
        ("muc#roomconfig_maxusers", "9", ""),
        ("muc#roomconfig_moderatedroom", "1", "0"),
        ("muc#roomconfig_changesubject", "0", "1"),
        ("muc#roomconfig_publicroom", "0", "1"),
        ("record_history", "0", "1"),
    ];
    for on in [true, false] {
        let fields: String =
            all.iter().map(|(name, set, unset)| fills(name, &[if on { set } else { unset }])).collect();
        let x = submit(&(fills("FORM_TYPE", &["http://jabber.org/protocol/muc#roomconfig"]) + &fields));
        let query = format!("<query xmlns='http://jabber.org/protocol/muc#owner'>{x}</query>");
        let answer = s.ask(DESK, &room, "set", &query).await?;
        assert_eq!(answer.attr("type"), Some("result"), "{answer}");
        s.scene("the modes");
        s.does(juliet, "MODE #verona").await?;
        let lines = s.steps.last().and_then(|step| step.lines.get("juliet")).cloned().unwrap_or_default();
        let modes = lines.iter().find(|line| line.contains(" 324 ")).context("no modes")?;
        let letters = modes.split(' ').find(|word| word.starts_with('+')).unwrap_or_default();
        let set: Vec<char> = "iklmst".chars().filter(|mode| letters.contains(*mode)).collect();
        assert_eq!(set.len(), if on { 6 } else { 0 }, "{modes}");
        assert!(!on || modes.replace(" :", " ").ends_with(" sesame 9"), "{modes}");
        for (name, set, unset) in all {
            let shown = field(s, name).await?.unwrap_or_default().replace("true", "1").replace("false", "0");
            let secret = name == "muc#roomconfig_roomsecret";
            assert_eq!(
                shown,
                if secret {
                    ""
                } else if on {
                    set
                } else {
                    unset
                },
                "{name}"
            );
        }
    }
    Ok(())
}

#[tokio::test]
async fn the_rooms_form_changes_modes_and_settings_on_ngircd() {
    plays(NGIRCD, form).await;
}

#[tokio::test]
async fn the_rooms_form_changes_modes_and_settings_on_inspircd() {
    plays(INSPIRCD, form).await;
}

#[tokio::test]
async fn a_room_says_of_itself_what_others_have_made_of_it_on_ngircd() {
    plays(NGIRCD, modes).await;
}

#[tokio::test]
async fn a_room_says_of_itself_what_others_have_made_of_it_on_inspircd() {
    plays(INSPIRCD, modes).await;
}

#[tokio::test]
async fn the_table_of_a_connection_says_which_device_is_in_which_room() {
    plays(NGIRCD, async |s| {
        s.join(DESK, "verona", "romeo").await?;
        s.join(PHONE, "mantua", "romeo").await?;
        s.join(DESK, "tomb", "romeo").await?;
        s.join(PHONE, "tomb", "romeo").await?;
        let rows = async |s: &mut Stage, who: &str| -> Result<Vec<(String, String)>> {
            let info = command("get-irc-connection-info", "execute", None, "");
            let answer = s.ask(who, NET, "set", &info).await?;
            let value = |item: &Element, var: &str| {
                let field = item.walk().find(|e| e.name == "field" && e.attr("var") == Some(var));
                field.and_then(|f| f.child("value")).map(|v| v.text.clone()).unwrap_or_default()
            };
            let mut rows: Vec<(String, String)> = answer
                .walk()
                .filter(|e| e.name == "item" && e.ns == "jabber:x:data")
                .map(|item| (value(item, "room"), value(item, "clients")))
                .collect();
            rows.sort();
            Ok(rows)
        };
        let row = |room: &str, clients: &str| (room.to_owned(), clients.to_owned());
        let all = [row("#mantua%net", "phone"), row("#tomb%net", "desk, phone"), row("#verona%net", "desk")];
        assert_eq!(rows(s, DESK).await?, all);
        assert_eq!(rows(s, PHONE).await?, all);
        let tomb = s.room("tomb");
        s.send(DESK, &format!("<presence to='{tomb}/romeo' type='unavailable'/>"))?;
        s.settle().await?;
        let all = [row("#mantua%net", "phone"), row("#tomb%net", "phone"), row("#verona%net", "desk")];
        assert_eq!(rows(s, DESK).await?, all);
        Ok(())
    })
    .await;
}

#[tokio::test]
async fn words_to_somebody_in_a_room_that_one_is_not_in_arrive() {
    plays(NGIRCD, async |s| {
        let juliet = s.person("Juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        let hers = format!("{}/Juliet", s.room("verona"));
        let say = |words: &str, id: &str| {
            format!("<message to='{hers}' type='chat' id='{id}'><body>{words}</body></message>")
        };
        // Without a connection there is nobody to say it to.
        s.send(DESK, &say("too soon", "m1"))?;
        let refused = s.expect(DESK, "the refusal", |m| m.attr("id") == Some("m1")).await?;
        assert_eq!(refused.error().as_deref(), Some("modify/not-acceptable"), "{refused}");
        // In another room; and by a device that is in none.
        s.join(DESK, "mantua", "romeo").await?;
        for (who, words, id) in [(DESK, "from Mantua", "m2"), (PHONE, "by telephone", "m3")] {
            s.scene(words);
            s.send(who, &say(words, id))?;
            let line = s.hears(juliet, words).await?;
            assert!(line.starts_with(":romeo!") && line.ends_with(&format!(" PRIVMSG Juliet :{words}")), "{line}");
            s.settle().await?;
            let told = s.steps.last().map(|step| format!("{:?}", step.heard)).unwrap_or_default();
            assert!(!told.contains("error"), "{told}");
        }
        // Her answer comes from her, for there is no room in which both are.
        s.does(juliet, "PRIVMSG romeo :speak again").await?;
        let from = s.nick("juliet");
        let heard = s.expect(DESK, "her answer", |m| m.body() == Some("speak again")).await?;
        assert_eq!(heard.attr("from").and_then(|f| f.split('/').next()), Some(&*from), "{heard}");
        s.settle().await
    })
    .await;
}

/// Idle time by WHOIS (XEP-0012), the time by CTCP (XEP-0202).
async fn clocks(s: &mut Stage) -> Result<()> {
    let juliet = s.person("juliet").await?;
    s.does(juliet, "JOIN #verona").await?;
    s.join(DESK, "verona", "romeo").await?;
    let hers = format!("{}/juliet", s.room("verona"));
    let idle = async |s: &mut Stage| -> Result<u64> {
        let answer = s.ask(DESK, &hers, "get", "<query xmlns='jabber:iq:last'/>").await?;
        let last = answer.get("query", "jabber:iq:last").with_context(|| answer.to_string())?;
        Ok(last.attr("seconds").context("no seconds")?.parse()?)
    };
    let begun = Instant::now();
    s.does(juliet, "PRIVMSG #verona :ay me").await?;
    let mut seconds = 0;
    while seconds < 2 {
        seconds = idle(s).await?;
        assert!(seconds <= begun.elapsed().as_secs() + 1, "{seconds} s after {:?}", begun.elapsed());
        assert!(begun.elapsed().as_secs() < 60, "she is never idle");
    }
    let begun = Instant::now();
    s.does(juliet, "PRIVMSG #verona :O Romeo").await?;
    let seconds = idle(s).await?;
    assert!(seconds <= begun.elapsed().as_secs() + 1, "{seconds} s after {:?}", begun.elapsed());

    // Her program says its time as in mail, with its zone.
    let question = "<time xmlns='urn:xmpp:time'/>";
    let ask = |id: &str| format!("<iq to='{hers}' type='get' id='{id}'>{question}</iq>");
    s.send(DESK, &ask("m1"))?;
    s.hears(juliet, "PRIVMSG juliet :\u{1}TIME\u{1}").await?;
    s.does(juliet, "NOTICE romeo :\u{1}TIME Sun, 22 Nov 2026 15:04:05 +0100\u{1}").await?;
    let answer = s.expect(DESK, "her time", |iq| iq.attr("id") == Some("m1")).await?;
    let time = answer.get("time", "urn:xmpp:time").with_context(|| answer.to_string())?;
    let part = |name: &str| time.child(name).map(|e| e.text.as_str());
    assert_eq!((part("tzo"), part("utc")), (Some("+01:00"), Some("2026-11-22T14:04:05Z")), "{answer}");
    assert_eq!((answer.attr("type"), answer.attr("from")), (Some("result"), Some(&*hers)));
    s.settle().await?;
    // Or in words that no program can read: then they are for people.
    s.send(DESK, &ask("m2"))?;
    s.hears(juliet, "PRIVMSG juliet :\u{1}TIME\u{1}").await?;
    s.does(juliet, "NOTICE romeo :\u{1}TIME half past nine\u{1}").await?;
    let answer = s.expect(DESK, "her words", |iq| iq.attr("id") == Some("m2")).await?;
    assert_eq!(answer.error().as_deref(), Some("cancel/feature-not-implemented"), "{answer}");
    assert!(answer.walk().any(|e| e.name == "text" && e.text == "half past nine"), "{answer}");
    s.settle().await
}

#[tokio::test]
async fn somebodys_idle_time_and_clock_are_asked_of_them_on_ngircd() {
    plays(NGIRCD, clocks).await;
}

#[tokio::test]
async fn somebodys_idle_time_and_clock_are_asked_of_them_on_inspircd() {
    plays(INSPIRCD, clocks).await;
}
