//! `isthmus import biboumi` on databases that biboumi has written: settings, rooms and history are there afterwards.

use anyhow::{Context, Result};
use isthmus_testkit::postgres::Postgres;
use isthmus_testkit::xml::Element;
use serde_json::Value;

use crate::stage::{DESK, GATEWAY, OTHER, Plan, Side, Stage, command, field, submit};

const MAM: &str = "<query xmlns='urn:xmpp:mam:2' queryid='a'/>";

#[tokio::test]
async fn a_sqlite_database_is_taken_over() {
    change_over(None).await.unwrap();
}

#[tokio::test]
async fn a_postgresql_database_is_taken_over() {
    let server = Postgres::start().await.unwrap();
    let url = server.database("biboumi").await.unwrap();
    change_over(Some(&url.replace("postgres://", "postgresql://"))).await.unwrap();
}

async fn change_over(database: Option<&str>) -> Result<()> {
    let lines = database.map(|url| format!("db_name={url}\n")).unwrap_or_default();
    let mut s = Stage::open_with(Side::Biboumi, Plan::default(), &lines).await?;
    let (network, room) = (s.network(), s.room("verona"));
    set(&mut s, GATEWAY, &[("max_history_length", &["7"]), ("record_history", &["true"]), ("persistent", &["false"])])
        .await?;
    let port = s.port().to_string();
    let of_network: &[(&str, &[&str])] = &[
        ("address", &["127.0.0.1"]),
        ("ports", &[&port]),
        ("tls_ports", &[]),
        ("realname", &["Romeo Montague"]),
        ("nick", &["romeo"]),
        ("encoding_in", &["koi8-r"]),
        ("encoding_out", &["koi8-r"]),
        ("after_connect_commands", &["MODE romeo +w", "AWAY :gone"]),
        ("fingerprint", &["0123456789abcdef0123456789abcdef01234567"]),
        ("verify_cert", &["false"]),
        ("throttle_limit", &["25"]),
    ];
    set(&mut s, network, of_network).await?;
    set(&mut s, &room, &[("persistent", &["true"]), ("record_history", &["true"]), ("encoding_in", &["latin1"])])
        .await?;
    for to in [GATEWAY, network] {
        s.send(DESK, &format!("<presence to='{to}' type='subscribe'/>"))?;
    }
    let juliet = s.person("juliet").await?;
    s.does(juliet, "JOIN #verona").await?;
    s.join(DESK, "verona", "romeo").await?;
    s.say(DESK, "verona", "only romeo hears this").await?;
    s.join(OTHER, "verona", "benvolio").await?;
    s.does(juliet, "PRIVMSG #verona :both hear this").await?;
    s.does(juliet, "PRIVMSG #verona :both hear this").await?;
    // Who speaks sees it at once, before what others said a moment earlier has come.
    s.settle().await?;
    s.say(OTHER, "verona", "/me too").await?;
    let (romeos, benvolios) = (archive(&mut s, DESK, &room).await?, archive(&mut s, OTHER, &room).await?);
    assert_eq!((romeos.len(), benvolios.len()), (4, 3), "{romeos:?} {benvolios:?}");

    let [first, second] = s.change_over(database).await?;
    let count = |said: &Value, what: &str| (said[what]["taken"].as_u64(), said[what]["present"].as_u64());
    assert_eq!(count(&first, "lines"), (Some(4), Some(0)), "{first:#}");
    assert_eq!(count(&first, "contacts"), (Some(2), Some(0)), "{first:#}");
    assert_eq!(count(&first, "rooms"), (Some(1), Some(0)), "{first:#}");
    for what in ["settings", "lines", "contacts", "rooms"] {
        assert_eq!(second[what]["taken"], 0, "a second run takes nothing twice: {second:#}");
        assert_eq!(second[what]["present"], first[what]["taken"], "and finds all of it: {second:#}");
    }
    let lost: Vec<&str> = first["lost"].as_array().into_iter().flatten().filter_map(|l| l["what"].as_str()).collect();
    assert_eq!(lost.len(), 2, "the fingerprint, and an encoding that biboumi never used: {first:#}");

    // The persistent room is entered again by itself, since biboumi knew with which nick.
    assert!(s.hears(juliet, " JOIN ").await?.starts_with(":romeo!"));
    let form = s.ask(DESK, network, "set", &command("configure", "execute", None, "")).await?;
    for (key, values) in [
        ("address", vec!["127.0.0.1"]),
        ("realname", vec!["Romeo Montague"]),
        ("encoding_in", vec!["koi8-r"]),
        ("after_connect_commands", vec!["MODE romeo +w", "AWAY :gone"]),
        ("verify_cert", vec!["false"]),
    ] {
        assert_eq!(shown(&form, key), values, "{key}");
    }
    let form = s.ask(DESK, GATEWAY, "set", &command("configure", "execute", None, "")).await?;
    assert_eq!(shown(&form, "max_history_length"), ["7"]);
    let form = s.ask(DESK, &room, "set", &command("configure", "execute", None, "")).await?;
    assert_eq!(
        (shown(&form, "persistent"), shown(&form, "encoding_in")),
        (vec!["true".to_owned()], vec!["latin1".to_owned()])
    );

    // The history is as it was, for each of them.
    s.join(DESK, "verona", "romeo").await?;
    assert_eq!(archive(&mut s, DESK, &room).await?, romeos);
    s.join(OTHER, "verona", "benvolio").await?;
    assert_eq!(archive(&mut s, OTHER, &room).await?, benvolios);

    refusals(&s).await
}

/// What cannot be done is said in one sentence, and nothing is changed.
async fn refusals(s: &Stage) -> Result<()> {
    let isthmus = s.isthmus().context("ours")?;
    let own = isthmus.folder().join("data/isthmus.db").display().to_string();
    let cases = [("/nowhere/at.all", "the gateway runs"), (&*own, "the gateway runs")];
    for (database, words) in cases {
        let output = isthmus.cli(&["import", "biboumi", database]).await?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(words), "{said}");
    }
    Ok(())
}

#[tokio::test]
async fn what_is_no_database_of_biboumi_is_refused_and_a_configuration_is_written() {
    use isthmus_testkit::fake::FakeXmpp;
    use isthmus_testkit::isthmus::Setup;

    let xmpp = FakeXmpp::start(&[GATEWAY]).await.unwrap();
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), xmpp.address());
    let isthmus = setup.bridge("irc", "irc", GATEWAY, "").write().unwrap();
    let folder = isthmus.folder().to_owned();
    std::fs::write(folder.join("text"), "this is not a database at all, whatever its name says").unwrap();
    std::fs::write(folder.join("biboumi.cfg"), "hostname=irc.example.org\npassword=hush\nadmin=a@example.org\n")
        .unwrap();
    let run = async |words: &[&str]| {
        let output = isthmus.cli(words).await.unwrap();
        (
            output.status.code(),
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)),
        )
    };
    for (file, words) in [("nothing-here", "there is no file"), ("text", "not a database")] {
        let file = folder.join(file).display().to_string();
        let (code, said) = run(&["import", "biboumi", &file]).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains(words), "{said}");
    }
    // Somebody else's tables: our own.
    let other = isthmus.folder().join("data/isthmus.db");
    let (_, said) = run(&["import", "biboumi", &other.display().to_string()]).await;
    assert!(said.contains("there is no file") || said.contains("no database of biboumi"), "{said}");

    let fresh = folder.join("fresh").display().to_string();
    let configuration = folder.join("biboumi.cfg").display().to_string();
    let words = ["import", "biboumi", &*other.display().to_string(), &configuration].map(str::to_owned);
    let program = env!("CARGO_BIN_EXE_isthmus");
    let shown = std::process::Command::new(program).args(&words).args(["--config", &fresh]).output().unwrap();
    assert_eq!(shown.status.code(), Some(3), "nothing is configured yet");
    assert!(String::from_utf8_lossy(&shown.stdout).contains("domain = \"irc.example.org\""), "the files are shown");
    let written =
        std::process::Command::new(program).args(&words).args(["--write", "--config", &fresh]).output().unwrap();
    assert_ne!(written.status.code(), Some(3), "{}", String::from_utf8_lossy(&written.stderr));
    let file = std::fs::read_to_string(folder.join("fresh/bridges/irc.toml")).unwrap();
    assert!(file.contains("secret = \"hush\""), "{file}");
}

/// Fills in the settings of an address.
async fn set(s: &mut Stage, to: &str, values: &[(&str, &[&str])]) -> Result<()> {
    let form = s.ask(DESK, to, "set", &command("configure", "execute", None, "")).await?;
    let session = form.walk().find_map(|e| e.attr("sessionid")).context("no session")?.to_owned();
    let fields: String = values.iter().map(|(name, values)| field(name, values)).collect();
    let done = s.ask(DESK, to, "set", &command("configure", "next", Some(&session), &submit(&fields))).await?;
    anyhow::ensure!(done.attr("type") == Some("result"), "{done}");
    Ok(())
}

fn shown(form: &Element, key: &str) -> Vec<String> {
    let field = form.walk().find(|e| e.name == "field" && e.attr("var") == Some(key));
    field.into_iter().flat_map(|f| &f.children).filter(|c| c.name == "value").map(|v| v.text.clone()).collect()
}

/// Who said what in the room, as its archive has it for this user.
async fn archive(s: &mut Stage, who: &str, room: &str) -> Result<Vec<(String, String)>> {
    s.scene("the archive");
    s.ask(who, room, "set", MAM).await?;
    let heard = s.steps.last().context("no step")?.heard.values().flatten();
    let mut lines = Vec::new();
    for message in heard.filter(|m| m.child("result").is_some()) {
        let inner = message.walk().find(|e| e.name == "message" && e.body().is_some()).context("no message")?;
        let from = inner.attr("from").unwrap_or_default().to_owned();
        lines.push((from, inner.body().unwrap_or_default().to_owned()));
    }
    Ok(lines)
}
