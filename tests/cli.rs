//! The built program: exit codes and what it says.

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn isthmus(folder: Option<&Path>, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_isthmus"));
    command.args(arguments).stdin(Stdio::null());
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("ISTHMUS_") {
            command.env_remove(name);
        }
    }
    if let Some(folder) = folder {
        command.arg("--config").arg(folder);
    }
    command.output().expect("it starts")
}

fn out(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn err(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn folder(core: &str, bridge: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("bridges")).expect("made");
    std::fs::write(folder.path().join("isthmus.toml"), core).expect("written");
    std::fs::write(folder.path().join("bridges/echo.toml"), bridge).expect("written");
    folder
}

const ECHO: &str = "kind = \"echo\"\ndomain = \"echo.example.org\"\nsecret = \"s3cret\"\n";

/// A configuration that is in order, whose server is at this port.
fn good(port: u16) -> tempfile::TempDir {
    let core = format!(
        "data_dir = \"data\"\n[server]\nport = {port}\ndomains = [\"example.org\"]\n[http]\nlisten = \"off\"\n"
    );
    folder(&core, ECHO)
}

/// A port where nothing listens: taken and given back.
fn dead_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("bound").port()
}

#[test]
fn the_version_is_printed_for_people_and_for_programs() {
    let plain = isthmus(None, &["version"]);
    assert_eq!((plain.status.code(), out(&plain)), (Some(0), format!("isthmus {}\n", env!("CARGO_PKG_VERSION"))));
    let json: serde_json::Value = serde_json::from_slice(&isthmus(None, &["version", "--json"]).stdout).expect("JSON");
    assert_eq!(json["version"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn a_wrong_command_line_ends_with_2() {
    for arguments in
        [&["conquer"][..], &["queue", "retry"], &["send", "--bridge", "x"], &["run", "--log-format", "xml"]]
    {
        assert_eq!(isthmus(None, arguments).status.code(), Some(2), "{arguments:?}");
    }
    assert_eq!(isthmus(None, &["help"]).status.code(), Some(0));
}

#[test]
fn a_wrong_configuration_ends_with_3_and_names_every_fault() {
    let folder = folder("[server]\nport = 0\n", "kind = \"ecco\"\ndomain = \"echo.example.org\"\n");
    for verb in [&["run"][..], &["users", "list"], &["queue", "list"], &["status"]] {
        let output = isthmus(Some(folder.path()), verb);
        assert_eq!(output.status.code(), Some(3), "{verb:?}: {}", err(&output));
        let expected = "bridges/echo.toml: secret: is missing: expected the component secret that the XMPP server has for this domain, here or in secret_file\n\
             bridges/echo.toml:1: kind: \"ecco\" is no kind of bridge that this program has: expected one of \"echo\", \"email\", \"sms\", \"irc\"\n\
             isthmus.toml:2: server.port: expected a port number (1 to 65535), found the number 0\n\
             isthmus: the configuration has 3 faults\n";
        assert_eq!(err(&output), expected, "{verb:?}");
    }
    let json: serde_json::Value =
        serde_json::from_slice(&isthmus(Some(folder.path()), &["status", "--json"]).stdout).expect("JSON");
    assert_eq!(json["configuration"].as_array().map(Vec::len), Some(3));
    assert_eq!(json["configuration"][2]["line"], 2);
    let missing = isthmus(Some(&folder.path().join("none")), &["run"]);
    assert_eq!(missing.status.code(), Some(3));
    assert!(err(&missing).contains("/none: expected the configuration folder, but: No such file"), "{}", err(&missing));
}

#[test]
fn a_new_key_is_made_where_no_instance_runs() {
    let folder = good(dead_port());
    let data = folder.path().join("data");
    let key = || std::fs::read_to_string(data.join("secret.key")).expect("there is a key");
    let first = isthmus(Some(folder.path()), &["db", "rotate-key", "--json"]);
    assert_eq!(first.status.code(), Some(0), "{}", err(&first));
    let json: serde_json::Value = serde_json::from_slice(&first.stdout).expect("JSON");
    assert_eq!((json["sealed"].as_u64(), json["damaged"].as_u64()), (Some(0), Some(0)), "{json}");
    let before = key();
    let second = isthmus(Some(folder.path()), &["db", "rotate-key"]);
    assert!(out(&second).starts_with("the new key is "), "{}", out(&second));
    let lines: Vec<String> = key().lines().map(str::to_owned).collect();
    assert_eq!(lines.len(), before.lines().count() + 1);
    assert!(before.lines().all(|line| lines.iter().any(|l| l == line)), "what was sealed before still opens");
    // A key from the environment is the operator's to change.
    let output = Command::new(env!("CARGO_BIN_EXE_isthmus"))
        .args(["db", "rotate-key", "--config"])
        .arg(folder.path())
        .env("ISTHMUS_SECRETS__KEY", "ab".repeat(32))
        .output()
        .expect("it starts");
    assert_eq!(output.status.code(), Some(6), "{}", out(&output));
    assert!(err(&output).contains("stands in the environment"), "{}", err(&output));
}

#[test]
fn a_fingerprint_that_is_none_is_named_with_file_and_key() {
    let folder = good(dead_port());
    let sha1 = ["ab"; 20].join(":");
    let text = format!(
        "kind = \"irc\"\ndomain = \"irc.example.org\"\nsecret = \"s3cret\"\n[networks.\"irc.example.net\"]\nfingerprint = \"{sha1}\"\n"
    );
    std::fs::write(folder.path().join("bridges/irc.toml"), text).expect("written");
    let fault = "bridges/irc.toml:5: networks.irc.example.net.fingerprint: expected a SHA-256 in hexadecimal, with or without colons";
    let checked = isthmus(Some(folder.path()), &["check"]);
    assert_eq!(checked.status.code(), Some(1), "{}", err(&checked));
    assert!(out(&checked).contains(fault), "{}", out(&checked));
    let run = isthmus(Some(folder.path()), &["run"]);
    assert_eq!(run.status.code(), Some(3), "{}", err(&run));
    assert!(err(&run).contains(fault), "{}", err(&run));
}

#[test]
fn check_ends_with_1_where_the_configuration_is_wrong() {
    let folder = folder("[server]\nport = 0\n", ECHO);
    let output = isthmus(Some(folder.path()), &["check"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    assert!(out(&output).contains("isthmus.toml:2: server.port: expected a port number"), "{}", out(&output));
}

#[test]
fn check_names_a_server_that_is_not_there_and_what_to_change() {
    let folder = good(dead_port());
    let output = isthmus(Some(folder.path()), &["check", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", err(&output));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(json["good"], false);
    let findings = json["findings"].as_array().expect("a list");
    let fault = findings.iter().find(|f| f["severity"] == "fault").expect("a fault");
    assert_eq!(fault["bridge"], "echo");
    assert!(fault["what"].as_str().is_some_and(|w| w.starts_with("nothing answers at 127.0.0.1:")), "{fault}");
    for words in ["host and port under [server]", "component_ports", "ejabberd_service"] {
        assert!(fault["remedy"].as_str().is_some_and(|r| r.contains(words)), "{words} in {fault}");
    }
    let good: Vec<_> = findings.iter().filter(|f| f["severity"] == "good").collect();
    assert_eq!(good.len(), 3, "configuration, data folder, database: {findings:?}");
}

#[test]
fn a_data_folder_that_cannot_be_written_to_is_a_fault() {
    let core = "data_dir = \"/proc/isthmus\"\n[server]\nport = 1\n";
    let folder = folder(core, ECHO);
    let output = isthmus(Some(folder.path()), &["check"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(out(&output).contains("FAULT    /proc/isthmus cannot be written to:"), "{}", out(&output));
}

#[test]
fn verbs_for_a_running_gateway_say_that_none_runs_and_end_with_5() {
    let folder = good(1);
    let send = ["send", "--bridge", "echo", "--user", "juliet@example.org", "alice", "hello"];
    for verb in [&["status"][..], &["reload"], &["stop"], &["log-level", "debug"], &["queue", "retry", "1"], &send] {
        let output = isthmus(Some(folder.path()), verb);
        assert_eq!(output.status.code(), Some(5), "{verb:?}: {}", err(&output));
        assert!(err(&output).contains("start it with isthmus run"), "{verb:?}: {}", err(&output));
    }
    let wrong = isthmus(Some(folder.path()), &["send", "--bridge", "ecco", "--user", "a@b", "alice", "hello"]);
    assert_eq!(
        (wrong.status.code(), err(&wrong).trim()),
        (Some(2), "isthmus: no bridge is called \"ecco\": expected one of echo")
    );
}

#[test]
fn lists_come_out_of_the_database_where_no_gateway_runs() {
    let folder = good(1);
    for verb in ["users", "queue"] {
        let output = isthmus(Some(folder.path()), &[verb, "list", "--json"]);
        assert_eq!((output.status.code(), out(&output).trim()), (Some(0), "[]"), "{verb}: {}", err(&output));
    }
}

#[test]
fn init_writes_what_check_can_read_and_never_overwrites() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().join("new");
    let dir_text = dir.to_str().expect("Unicode");
    let arguments = [
        "init",
        "--yes",
        "--dir",
        dir_text,
        "--domain",
        "Example.NET",
        "--email-domain",
        "mail.example.net",
        "--echo-domain",
        "echo.example.net",
        "--port",
        "5999",
        "--data-dir",
        "data",
    ];
    let output = isthmus(None, &arguments);
    assert_eq!(output.status.code(), Some(0), "{}", err(&output));
    let said = out(&output);
    let secret = |file: &str| {
        let text = std::fs::read_to_string(dir.join(file)).expect("written");
        let table: toml::Table = text.parse().expect("TOML");
        table["secret"].as_str().expect("text").to_owned()
    };
    let (email, echo) = (secret("bridges/email.toml"), secret("bridges/echo.toml"));
    assert_ne!(email, echo);
    for words in [
        "component_ports = { 5999 }",
        "Component \"mail.example.net\"",
        "port: 5999",
        "\"echo.example.net\":",
        "http_file_share_access",
        &email,
        &echo,
    ] {
        assert!(said.contains(words), "{words} in {said}");
    }
    let core = std::fs::read_to_string(dir.join("isthmus.toml")).expect("written");
    for words in ["domains = [\"example.net\"]", "admins = [\"admin@example.net\"]", "port = 5999"] {
        assert!(core.contains(words), "{words} in {core}");
    }
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &std::fs::metadata(dir.join("bridges/email.toml")).expect("there").permissions(),
    );
    assert_eq!(mode & 0o007, 0, "everybody can read the secret");

    let check = isthmus(Some(&dir), &["check"]);
    assert!(out(&check).contains("is in order"), "{}{}", out(&check), err(&check));

    let again = isthmus(None, &arguments);
    assert_eq!(again.status.code(), Some(1));
    assert!(err(&again).contains("is there already"), "{}", err(&again));
    assert_eq!(secret("bridges/email.toml"), email, "nothing was overwritten");
    let mut forced = arguments.to_vec();
    forced.push("--force");
    assert_eq!(isthmus(None, &forced).status.code(), Some(0));
    assert_ne!(secret("bridges/email.toml"), email);
}

#[test]
fn init_asks_for_what_it_cannot_guess() {
    let folder = tempfile::tempdir().expect("a folder");
    let dir = folder.path().to_str().expect("Unicode");
    let output = isthmus(None, &["init", "--dir", dir]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err(&output).contains("expected --domain"), "{}", err(&output));
    let wrong = isthmus(None, &["init", "--dir", dir, "--domain", "a@b"]);
    assert!(err(&wrong).contains("is no domain"), "{}", err(&wrong));
}
