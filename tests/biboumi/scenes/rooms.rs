//! Entering, leaving, devices, nicks.

use crate::stage::Plan;

super::scenarios! {
    join Plan::default();
    leave Plan::default();
    devices Plan::default();
    nicks Plan::default();
    persistent Plan { persistent: true, ..Plan::default() };
}

pub(super) mod scripts {
    use anyhow::Result;

    use crate::stage::{DESK, OTHER, PHONE, Stage};

    pub(in crate::scenes) async fn join(s: &mut Stage) -> Result<()> {
        let juliet = s.person("Juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.scene("a room with somebody in it");
        s.join(DESK, "verona", "romeo").await?;
        s.scene("an empty room");
        s.join(DESK, "empty", "romeo").await?;
        s.scene("another nick there");
        s.join(DESK, "third", "montague").await?;
        s.scene("the same room again");
        s.join(DESK, "verona", "romeo").await?;
        s.scene("another user");
        s.join(OTHER, "verona", "benvolio").await?;
        s.scene("somebody comes and goes");
        s.does(juliet, "PART #verona :bye").await?;
        s.settle().await?;
        s.does(juliet, "JOIN #verona").await?;
        s.settle().await?;
        s.does(juliet, "QUIT :for good").await.ok();
        s.forget(juliet);
        s.settle().await
    }

    pub(in crate::scenes) async fn leave(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.join(DESK, "verona", "romeo").await?;
        s.join(DESK, "second", "romeo").await?;
        s.join(OTHER, "verona", "benvolio").await?;
        s.scene("one of two rooms, with words");
        let room = s.room("verona");
        s.send(DESK, &format!("<presence to='{room}/romeo' type='unavailable'><status>so long</status></presence>"))?;
        s.settle().await?;
        s.scene("a room that one is not in");
        s.send(DESK, &format!("<presence to='{room}/romeo' type='unavailable'/>"))?;
        s.settle().await?;
        s.scene("the last room");
        let room = s.room("second");
        s.is_gone(DESK);
        s.send(DESK, &format!("<presence to='{room}/romeo' type='unavailable'/>"))?;
        s.expect(DESK, "own end", |p| p.attr("type") == Some("unavailable")).await?;
        s.settle().await
    }

    pub(in crate::scenes) async fn devices(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.join(DESK, "verona", "romeo").await?;
        s.scene("a second device");
        s.join(PHONE, "verona", "romeo").await?;
        s.scene("one of them speaks");
        s.say(PHONE, "verona", "from the phone").await?;
        s.scene("somebody speaks");
        s.does(juliet, "PRIVMSG #verona :to both").await?;
        s.settle().await?;
        s.scene("somebody speaks to the user alone");
        s.does(juliet, "PRIVMSG romeo :to you").await?;
        s.settle().await?;
        s.scene("a third one that is not inside speaks");
        let room = s.room("verona");
        s.send("romeo@localhost/third", &format!("<message to='{room}' type='groupchat'><body>hm</body></message>"))?;
        s.settle().await?;
        s.scene("the first one leaves");
        s.send(DESK, &format!("<presence to='{room}/romeo' type='unavailable'/>"))?;
        s.settle().await?;
        s.scene("the other one is still there");
        s.say(PHONE, "verona", "still here").await
    }

    pub(in crate::scenes) async fn nicks(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.join(DESK, "verona", "romeo").await?;
        s.join(DESK, "second", "romeo").await?;
        s.join(OTHER, "verona", "benvolio").await?;
        let room = s.room("verona");
        s.scene("a new nick");
        s.send(DESK, &format!("<presence to='{room}/Montague'/>"))?;
        s.settle().await?;
        s.scene("one that is taken");
        s.send(DESK, &format!("<presence to='{room}/juliet'/>"))?;
        s.settle().await?;
        s.scene("one that cannot be");
        s.send(DESK, &format!("<presence to='{room}/1 2'/>"))?;
        s.settle().await?;
        s.scene("somebody else's new nick");
        s.does(juliet, "NICK capulet").await?;
        s.settle().await
    }

    pub(in crate::scenes) async fn persistent(s: &mut Stage) -> Result<()> {
        let juliet = s.person("juliet").await?;
        s.does(juliet, "JOIN #verona").await?;
        s.join(DESK, "verona", "romeo").await?;
        let room = s.room("verona");
        s.scene("nobody is inside any more");
        s.send(DESK, &format!("<presence to='{room}/romeo' type='unavailable'/>"))?;
        s.settle().await?;
        s.does(juliet, "PRIVMSG #verona :while you were away").await?;
        s.settle().await?;
        s.scene("back");
        s.join(DESK, "verona", "romeo").await
    }
}
