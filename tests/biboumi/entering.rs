//! How one enters, and how not: nicks, names, refusals and their words, on a real ngircd and InspIRCd.

use anyhow::{Context, Result};
use isthmus_testkit::xml::Element;

use crate::ours::{INSPIRCD, MUC, NGIRCD, STANZAS, codes, plays, spelled};
use crate::stage::{DESK, NET, Stage, command, field, submit};

fn own(p: &Element) -> bool {
    p.name == "presence" && codes(p).contains(&"110")
}

fn is_error(p: &Element) -> bool {
    p.name == "presence" && p.attr("type") == Some("error")
}

/// The settings say who one is; what a client asks for yields to them.
#[tokio::test]
async fn nick_user_name_and_real_name_are_as_they_are_set() {
    plays(NGIRCD, async |s| {
        let form = s.ask(DESK, NET, "set", &command("configure", "execute", None, "")).await?;
        let session = form.walk().find_map(|e| e.attr("sessionid")).context("no session")?.to_owned();
        let fields = [("nick", "montague"), ("username", "mask"), ("realname", "Romeo of Verona")];
        let fields: String = fields.iter().map(|(name, value)| field(name, &[value])).collect();
        let done = command("configure", "complete", Some(&session), &submit(&fields));
        let done = s.ask(DESK, NET, "set", &done).await?;
        assert_eq!(done.attr("type"), Some("result"), "{done}");
        let room = s.room("verona");
        s.send(DESK, &format!("<presence to='{room}/other'>{MUC}</presence>"))?;
        let entered = s.expect(DESK, "own presence", own).await?;
        let montague = format!("{room}/montague");
        assert_eq!((entered.attr("from"), codes(&entered)), (Some(&*montague), vec!["100", "110", "210"]), "{entered}");
        s.is_connected(DESK);
        s.settle().await?;
        let juliet = s.person("juliet").await?;
        s.scene("who he is");
        s.does(juliet, "WHOIS montague").await?;
        let lines = s.steps.last().and_then(|step| step.lines.get("juliet")).cloned().unwrap_or_default();
        let who = lines.iter().find(|line| line.contains(" 311 ")).with_context(|| format!("no 311: {lines:?}"))?;
        assert!(who.contains(" 311 juliet montague ~mask ") && who.ends_with(" :Romeo of Verona"), "{who}");
        Ok(())
    })
    .await;
}

/// Both are asked for while the connection is being made.
#[tokio::test]
async fn of_joins_that_wait_for_the_connection_the_first_one_names_the_user() {
    plays(NGIRCD, async |s| {
        let (verona, mantua) = (s.room("verona"), s.room("mantua"));
        for (room, nick) in [(&verona, "romeo"), (&mantua, "montague")] {
            s.send(DESK, &format!("<presence to='{room}/{nick}'>{MUC}</presence>"))?;
        }
        for (room, expected) in [(&verona, vec!["100", "110"]), (&mantua, vec!["100", "110", "210"])] {
            let of_room = |p: &Element| own(p) && p.attr("from").is_some_and(|from| from.starts_with(&**room));
            let entered = s.expect(DESK, "own presence", of_room).await?;
            assert_eq!((entered.attr("from"), codes(&entered)), (Some(&*format!("{room}/romeo")), expected));
        }
        s.is_connected(DESK);
        s.settle().await
    })
    .await;
}

/// Who is banned is told so, in the server's words.
async fn banned(s: &mut Stage) -> Result<()> {
    let juliet = s.person("juliet").await?;
    s.does(juliet, "JOIN #verona").await?;
    s.does(juliet, "MODE #verona +b romeo!*@*").await?;
    let room = s.room("verona");
    let knock = |id: &str| format!("<presence to='{room}/romeo' id='{id}'>{MUC}</presence>");
    let words = if s.is_inspircd() {
        "Cannot join channel (you&apos;re banned)"
    } else {
        "Cannot join channel (+b) -- You are banned"
    };
    let refusal = |id: &str| {
        format!(
            "<presence from='{room}/romeo' id='{id}' to='{DESK}' type='error'>{MUC}<error type='auth' code='403'>\
             <forbidden xmlns='{STANZAS}'/><text xmlns='{STANZAS}'>{words}</text></error></presence>"
        )
    };
    s.send(DESK, &knock("m1"))?;
    let refused = s.expect(DESK, "the refusal", is_error).await?;
    assert_eq!(spelled(&refused), refusal("m1"));
    s.settle().await?;
    // The same where the connection is there already, and no longer once it is lifted.
    s.join(DESK, "mantua", "romeo").await?;
    s.send(DESK, &knock("m2"))?;
    let refused = s.expect(DESK, "the refusal", is_error).await?;
    assert_eq!(spelled(&refused), refusal("m2"));
    s.settle().await?;
    s.does(juliet, "MODE #verona -b romeo!*@*").await?;
    s.join(DESK, "verona", "romeo").await
}

#[tokio::test]
async fn who_is_banned_is_told_so_on_ngircd() {
    plays(NGIRCD, banned).await;
}

#[tokio::test]
async fn who_is_banned_is_told_so_on_inspircd() {
    plays(INSPIRCD, banned).await;
}

#[tokio::test]
async fn a_host_that_nobody_knows_is_told_before_the_join_fails() {
    plays(NGIRCD, async |s| {
        let (network, host) = ("no-such-host.invalid@irc.localhost", "no-such-host.invalid");
        let room = format!("#c%{network}");
        s.send(DESK, &format!("<presence to='{room}/romeo' id='m1'>{MUC}</presence>"))?;
        let refused = s.expect(DESK, "the refusal", is_error).await?;
        let words = format!("There is no host {host}.");
        let expected = format!(
            "<presence from='{room}/romeo' id='m1' to='{DESK}' type='error'>{MUC}<error type='cancel' code='404'>\
             <item-not-found xmlns='{STANZAS}'/><text xmlns='{STANZAS}'>{words}</text></error></presence>"
        );
        assert_eq!(spelled(&refused), expected);
        let came = s.came(DESK);
        let at = |is: &dyn Fn(&Element) -> bool| came.iter().position(is);
        let told = |m: &Element, begins: &str| {
            m.attr("from").is_some_and(|from| from.split('/').next() == Some(network))
                && m.body().is_some_and(|body| body.starts_with(begins))
        };
        let attempt = at(&|m| told(m, &format!("Connecting to {host}:")));
        let why = at(&|m| told(m, &words));
        let end = at(&is_error);
        assert!(attempt.is_some() && attempt < why && why < end, "{came:#?}");
        Ok(())
    })
    .await;
}

/// The link breaks, which nobody is shown; but the room to come back to is closed.
async fn closed_meanwhile(s: &mut Stage) -> Result<()> {
    let juliet = s.person("juliet").await?;
    s.does(juliet, "OPER oper oper").await?;
    s.does(juliet, "JOIN #verona").await?;
    s.join(DESK, "verona", "romeo").await?;
    s.does(juliet, "MODE #verona +i").await?;
    s.settle().await?;
    s.is_gone(DESK);
    s.does(juliet, "KILL romeo :thus with a kiss").await?;
    let room = s.room("verona");
    let ends = |p: &Element| p.attr("type") == Some("unavailable") && p.attr("from") == Some(&*format!("{room}/romeo"));
    let end = s.expect(DESK, "his end in the room", ends).await?;
    assert_eq!((end.name.as_str(), codes(&end)), ("presence", vec!["110", "333"]), "{end}");
    let why = end.child("status").map(|status| status.text.as_str()).unwrap_or_default();
    let words = if s.is_inspircd() { "invite only" } else { "(+i)" };
    assert!(why.contains("Cannot join channel") && why.contains(words), "{end}");
    let errors = s.came(DESK).into_iter().filter(is_error).count();
    assert_eq!(errors, 0, "nobody has asked for that join");
    s.send(DESK, &format!("<message to='{room}' type='groupchat' id='m1'><body>hello?</body></message>"))?;
    let refused = s.expect(DESK, "the refusal", |m| m.attr("id") == Some("m1")).await?;
    assert_eq!(refused.error().as_deref(), Some("modify/not-acceptable"), "{refused}");
    Ok(())
}

#[tokio::test]
async fn who_comes_back_to_a_closed_room_is_put_out_with_the_reason_on_ngircd() {
    plays(NGIRCD, closed_meanwhile).await;
}

#[tokio::test]
async fn who_comes_back_to_a_closed_room_is_put_out_with_the_reason_on_inspircd() {
    plays(INSPIRCD, closed_meanwhile).await;
}
