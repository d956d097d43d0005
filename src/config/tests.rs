//! Tables of good and bad configurations.

use std::path::Path;

use isthmus_bridge::{ConfigError, Kind};

use super::*;
use crate::access::Tier;

const CORE: &str = "[server]\ndomains = [\"example.org\"]\n";
const ECHO: &str = "kind = \"echo\"\ndomain = \"echo.example.org\"\nsecret = \"s3cret\"\n";

struct Folder(tempfile::TempDir);

impl Folder {
    fn with(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("in the folder")).expect("made");
            std::fs::write(path, text).expect("written");
        }
        Self(folder)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn load(&self, environment: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
        load(self.path(), environment)
    }

    fn faults(&self, environment: &[(&str, &str)]) -> Vec<String> {
        let faults = self.load(environment).expect_err("faults");
        let folder = format!("{}/", self.path().display());
        faults.iter().map(|f| f.to_string().replace(&folder, "")).collect()
    }
}

fn load(path: &Path, environment: &[(&str, &str)]) -> Result<Config, Vec<ConfigError>> {
    let kinds: Vec<Box<dyn Kind>> = vec![Box::new(isthmus_echo::EchoKind)];
    Config::load(path, environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())), &kinds)
}

fn exposed(bridge: &BridgeConfig) -> &str {
    bridge.secret.expose_secret()
}

#[test]
fn a_small_configuration_has_defaults_for_all_else() {
    let folder = Folder::with(&[("isthmus.toml", CORE), ("bridges/echo.toml", ECHO)]);
    for path in [folder.path().to_owned(), folder.path().join("isthmus.toml")] {
        let config = load(&path, &[]).expect("in order");
        assert_eq!(config.server.endpoint.to_string(), "127.0.0.1:5347");
        assert_eq!(config.data_dir, Path::new("/var/lib/isthmus"));
        assert!(matches!(&config.database, Database::Sqlite(p) if p == Path::new("/var/lib/isthmus/isthmus.db")));
        assert_eq!(config.http.listen.map(|l| l.to_string()).as_deref(), Some("127.0.0.1:5480"));
        assert_eq!((config.limits.max_stanza, config.log.level.as_str()), (262_144, "info"));
        let [bridge] = config.bridges.as_slice() else { panic!("one bridge: {:?}", config.bridges) };
        assert_eq!((bridge.name.as_str(), bridge.kind.as_str()), ("echo", "echo"));
        assert_eq!((bridge.domain.as_str(), exposed(bridge)), ("echo.example.org", "s3cret"));
        assert_eq!(bridge.server, config.server);
        assert_eq!(bridge.access.tier(&BareJid::new("a@example.org")), Tier::User);
        assert_eq!(bridge.access.tier(&BareJid::new("a@elsewhere.example")), Tier::Blocked);
    }
}

#[test]
fn every_fixed_key_is_read() {
    let core = r#"
        admins = ["Admin@Example.org"]
        data_dir = "data"
        [server]
        host = "xmpp.example.org"
        port = 5348
        domains = ["Example.org", "example.net"]
        tls = true
        [database]
        url = "postgres://user:hunter2@db/isthmus"
        [http]
        listen = "[::1]:8080"
        public_url = "https://gateway.example.org"
        [access]
        default = "receive"
        foreign = "user"
        rules = [{ match = "*@spam.example", tier = "blocked" }]
        messages_per_minute = 5
        storage = "1 MiB"
        total_storage = "1 GiB"
        [files]
        upload = "upload.example.org"
        fetch_from = ["media.example.org"]
        max_size = "2 MiB"
        keep_for = "7d"
        [archive]
        keep_for = "90d"
        keep_lines = 0
        [limits]
        max_stanza = "512 KiB"
        [log]
        format = "json"
        level = "debug"
        [contact]
        abuse = ["mailto:abuse@example.org"]
        [bridges.one]
        kind = "echo"
        domain = "one.example.org"
        secret_file = "one.secret"
        prefix = "1"
        [bridges.one.server]
        socket = "/run/prosody/component"
        [bridges.one.access]
        default = "admin"
        rules = [{ match = "good@spam.example", tier = "user" }]
        messages_per_day = 7
        storage = 0
    "#;
    let folder = Folder::with(&[("isthmus.toml", core), ("one.secret", "from the file\n")]);
    let config = folder.load(&[]).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(config.admins.first().map(BareJid::as_str), Some("admin@example.org"));
    assert_eq!(config.data_dir, folder.path().join("data"));
    assert_eq!(config.control_socket(), folder.path().join("data/control.sock"));
    assert_eq!(config.domains.as_ref(), ["example.org", "example.net"]);
    assert_eq!(config.server.tls, Some(Tls { ca_file: None, name: None }));
    assert_eq!(config.files.upload.as_deref(), Some("upload.example.org"));
    assert_eq!((config.archive.keep_for.as_secs(), config.archive.keep_lines), (7_776_000, 0));
    assert_eq!(config.archive.remember_for, super::Retention::default().remember_for);
    assert_eq!((config.files.max_size, config.files.keep_for.as_secs()), (2 << 20, 604_800));
    assert_eq!(config.contact, [("abuse-addresses", vec!["mailto:abuse@example.org".to_owned()])]);
    let one = config.bridge("one").expect("there");
    assert_eq!(exposed(one), "from the file");
    assert_eq!(one.server.endpoint, Endpoint::Unix("/run/prosody/component".into()));
    assert_eq!((one.quotas.user.per_minute, one.quotas.user.per_day), (5, 7));
    assert_eq!((one.quotas.storage.user, one.quotas.storage.total), (0, 1 << 30));
    for (user, tier, there) in [
        ("a@example.org", Tier::Receive, Tier::Admin),
        ("a@elsewhere.example", Tier::User, Tier::User),
        ("bad@spam.example", Tier::Blocked, Tier::Blocked),
        ("good@spam.example", Tier::Blocked, Tier::User),
        ("admin@example.org", Tier::Admin, Tier::Admin),
    ] {
        let user = BareJid::new(user);
        assert_eq!((config.access.tier(&user), one.access.tier(&user)), (tier, there), "{user}");
    }
    let shown = format!("{config:?}");
    for secret in ["hunter2", "from the file"] {
        assert!(!shown.contains(secret), "{secret} stands in Debug: {shown}");
    }
}

#[test]
fn the_environment_stands_over_the_files() {
    let bridge = "kind = \"echo\"\ndomain = \"echo.example.org\"\n";
    let folder = Folder::with(&[("isthmus.toml", CORE), ("bridges/my-echo.1.toml", bridge)]);
    let environment = [
        ("ISTHMUS_SERVER__PORT", "6000"),
        ("ISTHMUS_SERVER__DOMAINS", r#"["example.net"]"#),
        ("ISTHMUS_ADMINS", "[\"a@example.net\"]"),
        ("ISTHMUS_BRIDGES__MY_ECHO_1__SECRET", "007"),
        ("ISTHMUS_BRIDGES__MY_ECHO_1__PREFIX", "12"),
        ("ISTHMUS_CONFIG", "/elsewhere"),
        ("ISTHMUS_LOG", "debug"),
        ("ISTHMUS_PORT_5480_TCP", "tcp://10.0.0.1:5480"),
        ("HOME", "/root"),
    ];
    let config = folder.load(&environment).unwrap_or_else(|e| panic!("{e:?}"));
    assert_eq!(config.server.endpoint.to_string(), "127.0.0.1:6000");
    assert_eq!(config.domains.as_ref(), ["example.net"]);
    assert_eq!(config.admins.len(), 1);
    let bridge = config.bridge("my-echo.1").expect("there");
    assert_eq!(exposed(bridge), "007", "a secret of digits keeps its zeros");
    assert_eq!(bridge.section.get("prefix").and_then(Value::as_str), Some("12"));
    for secret in ["true", "[x]", "{a=1}", " padded "] {
        let config = folder.load(&[("ISTHMUS_BRIDGES__MY_ECHO_1__SECRET", secret)]).expect("in order");
        assert_eq!(exposed(config.bridge("my-echo.1").expect("there")), secret);
    }
}

#[test]
fn faults_of_the_environment_name_the_variable() {
    let folder = Folder::with(&[
        ("isthmus.toml", CORE),
        ("bridges/a-b.toml", ECHO),
        ("bridges/a.b.toml", "kind = \"echo\"\ndomain = \"b.example.org\"\nsecret = \"x\"\n"),
    ]);
    let table: &[(&str, &str, &str)] = &[
        (
            "ISTHMUS_SERVER__PORT",
            "five",
            "ISTHMUS_SERVER__PORT: server.port: expected a port number (1 to 65535), found \"five\"",
        ),
        (
            "ISTHMUS_BRIDGES__IRC__SECRET",
            "x",
            "ISTHMUS_BRIDGES__IRC__SECRET: names a bridge that is not configured: expected one of A_B, A_B",
        ),
        (
            "ISTHMUS_BRIDGES__A_B__SECRET",
            "x",
            "ISTHMUS_BRIDGES__A_B__SECRET: could mean each of a-b, a.b: rename one of them",
        ),
        ("ISTHMUS_SERVER__", "x", "ISTHMUS_SERVER__: expected ISTHMUS_<TABLE>__<KEY>, as in ISTHMUS_SERVER__PORT"),
        (
            "ISTHMUS_DATADIR",
            "/x",
            "ISTHMUS_DATADIR: datadir: unknown key: expected one of access, admins, archive, bridges, contact, data_dir, database, files, http, limits, log, secrets, server; did you mean data_dir?",
        ),
    ];
    for (name, value, fault) in table {
        assert_eq!(folder.faults(&[(name, value)]), [*fault]);
    }
}

#[test]
fn a_fault_names_file_line_key_and_what_is_expected() {
    type Case<'c> = (&'c [(&'c str, &'c str)], &'c [&'c str]);
    let table: &[Case<'_>] = &[
        (
            &[("isthmus.toml", "[server]\nprot = 1\n"), ("bridges/e.toml", ECHO)],
            &[
                "isthmus.toml:2: server.prot: unknown key: expected one of ca_file, domains, host, port, roster, socket, tls, tls_name; did you mean port?",
            ],
        ),
        (
            &[("isthmus.toml", "[server]\n\nport = \"xmpp\"\n"), ("bridges/e.toml", ECHO)],
            &["isthmus.toml:3: server.port: expected a port number (1 to 65535), found \"xmpp\""],
        ),
        (
            &[("isthmus.toml", "[server\nport = 1\n"), ("bridges/e.toml", ECHO)],
            &["isthmus.toml:1: is not TOML: unclosed table, expected `]`"],
        ),
        (
            &[("bridges/e.toml", ECHO)],
            &["isthmus.toml: expected a readable file, but: No such file or directory (os error 2)"],
        ),
        (
            &[("isthmus.toml", CORE)],
            &["isthmus.toml: bridges: no bridge is configured: expected at least one file bridges/<name>.toml"],
        ),
        (
            &[("isthmus.toml", CORE), ("bridges/e.toml", "kind = \"ecko\"\ndomain = \"not a domain\"\n")],
            &[
                "bridges/e.toml: secret: is missing: expected the component secret that the XMPP server has for this domain, here or in secret_file",
                "bridges/e.toml:1: kind: \"ecko\" is no kind of bridge that this program has: expected one of \"echo\"",
                "bridges/e.toml:2: domain: \"not a domain\" is no domain of a JID: expected a domain such as \"email.example.org\"",
            ],
        ),
        (
            &[("isthmus.toml", CORE), ("bridges/a.toml", ECHO), ("bridges/b.toml", ECHO)],
            &[
                "bridges/b.toml:2: domain: echo.example.org is the domain of bridge a too: expected one domain for each bridge",
            ],
        ),
        (
            &[("isthmus.toml", "[bridges.e]\nkind = \"echo\"\n"), ("bridges/e.toml", ECHO)],
            &["bridges/e.toml: stands beside the table [bridges.e] of isthmus.toml: expected only one of them"],
        ),
        (
            &[("isthmus.toml", "[bridges.e]\nkind = \"echo\"\nsecret = \"x\"\ndomain = 5\nmode = \"fast\"\n")],
            &[
                "isthmus.toml:4: bridges.e.domain: expected a domain such as \"email.example.org\", found the number 5",
                "isthmus.toml:5: bridges.e.mode: expected one of live, held, found \"fast\"",
            ],
        ),
        (
            &[
                ("isthmus.toml", CORE),
                ("bridges/e.toml", "kind = \"echo\"\ndomain = \"example.org\"\nsecret_file = \"nowhere\"\nprefiks = 1"),
            ],
            &[
                "bridges/e.toml:2: domain: example.org stands in server.domains: expected a domain of the bridge's own, such as \"bridge.example.org\"",
                "bridges/e.toml:3: secret_file: expected a readable file, but nowhere: No such file or directory (os error 2)",
                "bridges/e.toml:4: prefiks: unknown key: expected one of mode, prefix; did you mean prefix?",
            ],
        ),
        (
            &[
                (
                    "isthmus.toml",
                    "[access]\nforeign = \"all\"\nrules = [\n  { match = \"[a\", tier = \"user\" },\n  { match = \"a\", teir = \"user\" },\n]\n",
                ),
                ("bridges/e.toml", ECHO),
            ],
            &[
                "isthmus.toml:2: access.foreign: expected one of blocked, receive, user, admin, found \"all\"",
                "isthmus.toml:4: access.rules[0].match: \"[a\" is no pattern (unclosed character class; missing ']'): expected one such as \"*@spam.example\"",
                "isthmus.toml:5: access.rules[1].teir: unknown key: expected one of match, tier; did you mean tier?",
                "isthmus.toml:5: access.rules[1].tier: is missing: expected one of blocked, receive, user, admin",
            ],
        ),
        (
            &[
                (
                    "isthmus.toml",
                    "admins = [\"a@b\", \"nobody\"]\n[database]\nurl = \"mysql://u:hunter2@h/d\"\n[log]\nlevel = \"loud\"\n[server]\nsocket = \"/s\"\nport = 1\nca_file = \"/nowhere\"\n",
                ),
                ("bridges/e.toml", ECHO),
            ],
            &[
                "isthmus.toml:1: admins[1]: \"nobody\" is no JID: expected one such as \"admin@example.org\"",
                "isthmus.toml:3: database.url: is not understood: expected \"sqlite://isthmus.db\" or \"postgres://user:password@host/database\"",
                "isthmus.toml:5: log.level: \"loud\" is no level: expected error, warn, info, debug or trace, or levels by module such as \"info,isthmus::xmpp=debug\"",
                "isthmus.toml:8: server.port: stands beside socket: expected only one of them",
                "isthmus.toml:9: server.ca_file: expected a readable file, but /nowhere: No such file or directory (os error 2)",
                "isthmus.toml:9: server.ca_file: has no meaning here: expected tls = true beside it",
            ],
        ),
        (
            &[
                (
                    "isthmus.toml",
                    "[files]\nkeep_for = 9223372036854775807\n[archive]\nkeep_for = \"1000000w\"\nremember_for = \"a while\"\n",
                ),
                ("bridges/e.toml", ECHO),
            ],
            &[
                "isthmus.toml:2: files.keep_for: expected a time such as \"30d\", of 1000 years at most, found the number 9223372036854775807",
                "isthmus.toml:4: archive.keep_for: expected a time such as \"30d\", of 1000 years at most, found \"1000000w\"",
                "isthmus.toml:5: archive.remember_for: expected a time such as \"30d\", of 1000 years at most, found \"a while\"",
            ],
        ),
    ];
    let mut wrong = Vec::new();
    for (files, faults) in table {
        let found = Folder::with(files).faults(&[]);
        if found != *faults {
            wrong.push(format!("{files:#?}\nexpected {faults:#?}\nfound {found:#?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

#[test]
fn a_path_that_is_no_configuration_is_named() {
    let folder = Folder::with(&[("other.toml", "")]);
    let fault = |path: &Path| load(path, &[]).expect_err("a fault")[0].what.clone();
    assert!(fault(&folder.path().join("none")).starts_with("expected the configuration folder, but: No such file"));
    assert_eq!(
        fault(&folder.path().join("other.toml")),
        "expected a folder with isthmus.toml in it, or a file of that name"
    );
}

#[test]
fn back_ups_of_editors_are_no_bridges() {
    let files = [("isthmus.toml", CORE), ("bridges/e.toml", ECHO), ("bridges/.#e.toml", "x"), ("bridges/e.toml~", "x")];
    assert_eq!(Folder::with(&files).load(&[]).expect("in order").bridges.len(), 1);
}

#[test]
fn a_changed_part_is_seen() {
    let load =
        |bridge: &str| Folder::with(&[("isthmus.toml", CORE), ("bridges/e.toml", bridge)]).load(&[]).expect("in order");
    let before = load(ECHO);
    assert!(before.bridges[0].same(&load(ECHO).bridges[0]));
    for changed in [ECHO.replace("s3cret", "other"), ECHO.replace("echo.ex", "e.ex"), format!("{ECHO}prefix = \"x\"")] {
        assert!(!before.bridges[0].same(&load(&changed).bridges[0]), "{changed}");
    }
}

/// `config/` as it is shipped: bridges of every kind of this build.
#[test]
fn the_shipped_files_are_in_order() {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let kinds = crate::registry::kinds();
    let config = Config::load(&shipped, [], &kinds).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let names: Vec<&str> = config.bridges.iter().map(|b| b.name.as_str()).collect();
    let mut expected: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
    expected.sort_unstable();
    assert_eq!(names, expected);
}

/// The shipped files: the core's, and one for each kind of this build.
fn shipped_files(kinds: &[Box<dyn isthmus_bridge::Kind>]) -> Vec<String> {
    let bridges = kinds.iter().map(|kind| format!("bridges/{}.toml", kind.name()));
    std::iter::once("isthmus.toml".to_owned()).chain(bridges).collect()
}

/// What a shipped file shows as the default, or as an example, must be read too: every commented key, one by one.
#[test]
fn every_commented_key_of_the_shipped_files_is_read() {
    let kinds = crate::registry::kinds();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    for file in shipped_files(&kinds) {
        let text = std::fs::read_to_string(shipped.join(&file)).expect("shipped");
        // A commented table is one step with the keys below it.
        let mut step = 0;
        let mut in_table = false;
        let steps: Vec<usize> = text
            .lines()
            .map(|line| {
                let commented = line.starts_with('#') && !line.starts_with("# ");
                let goes_on = commented && in_table;
                in_table = commented && (in_table || line.starts_with("#["));
                step += usize::from(commented && !goes_on);
                if commented { step } else { 0 }
            })
            .collect();
        for i in 1..=step {
            let lines = text.lines().zip(&steps).map(|(line, s)| if *s == i { &line[1..] } else { line });
            let changed: String = lines.flat_map(|l| [l, "\n"]).collect();
            let (core, bridge) =
                if file == "isthmus.toml" { (changed.as_str(), ECHO) } else { (CORE, changed.as_str()) };
            let folder = Folder::with(&[("isthmus.toml", core), ("bridges/b.toml", bridge)]);
            let Err(faults) = Config::load(folder.path(), [], &kinds) else { continue };
            for fault in faults {
                assert!(!fault.what.contains("unknown key"), "commented key {i} of {file}: {fault}");
                assert!(!fault.what.contains(", found"), "commented key {i} of {file}: {fault}");
            }
        }
    }
}

/// An unknown key in each table is answered with the keys that are known: all of them stand in the shipped file.
#[test]
fn the_shipped_files_show_every_key() {
    let kinds = crate::registry::kinds();
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut looked = 0;
    for file in shipped_files(&kinds) {
        let text = std::fs::read_to_string(shipped.join(&file)).expect("shipped");
        let mut changed = format!("bogus-0 = 1\n{text}");
        for (i, header) in text.lines().filter(|l| l.starts_with('[')).enumerate() {
            changed = changed.replace(header, &format!("{header}\nbogus-{} = 1", i + 1));
        }
        let (core, bridge) = if file == "isthmus.toml" { (changed.as_str(), ECHO) } else { (CORE, changed.as_str()) };
        let folder = Folder::with(&[("isthmus.toml", core), ("bridges/b.toml", bridge)]);
        for fault in Config::load(folder.path(), [], &kinds).expect_err("unknown keys") {
            let known = fault.what.strip_prefix("unknown key: expected one of ").unwrap_or_else(|| panic!("{fault}"));
            for key in known.split("; did you").next().unwrap_or_default().split(", ") {
                // A secret's inline form is not shown everywhere, its file is.
                let shown = text.contains(&format!("{key} =")) || text.contains(&format!("[{key}]"));
                assert!(shown || key == "bridges" || key == "key", "{file} does not show {key}: {fault}");
                looked += 1;
            }
        }
    }
    assert!(looked > 70, "only {looked} keys were looked at");
}
