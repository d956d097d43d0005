use super::*;
use isthmus_bridge::suite::section;
use serde_json::json;

fn base() -> Value {
    json!({"country": "US", "provider": "providers/kannel.toml", "credentials": {"username": "u", "password": "p", "webhook_secret": "w"}})
}

fn with(more: Value) -> Value {
    let mut keys = base();
    if let (Value::Object(keys), Value::Object(more)) = (&mut keys, more) {
        keys.extend(more);
    }
    keys
}

fn faults(keys: Value) -> Vec<String> {
    read(section("sms", "sms.example", keys)).expect_err("faults").iter().map(ToString::to_string).collect()
}

#[test]
fn the_fixed_keys_read() {
    let numbers =
        json!([{"number": "+15550001111", "user": "Juliet@example.org"}, {"number": "5550002222", "shared": true}]);
    let config = read(section("sms", "sms.example", with(json!({"numbers": numbers})))).expect("sound");
    assert_eq!(config.providers[0].name, "kannel");
    assert_eq!(config.numbers[0].user.as_ref().map(BareJid::as_str), Some("juliet@example.org"));
    assert_eq!(config.numbers[1].number.as_str(), "+15550002222");
    assert!(config.numbers[1].shared);
    assert_eq!(config.max_age, Duration::from_secs(6 * 3600));
}

#[test]
fn the_shipped_file_reads() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../config/bridges/sms.toml");
    let text = std::fs::read_to_string(path).expect("config/bridges/sms.toml");
    let mut table = toml::from_str::<serde_json::Map<String, Value>>(&text).unwrap_or_else(|e| panic!("{e}"));
    for key in ["kind", "domain", "secret"] {
        table.remove(key);
    }
    if let Err(faults) = read(section("sms", "sms.example", Value::Object(table))) {
        panic!("{faults:?}");
    }
}

#[test]
fn faults_name_their_keys() {
    for (keys, fault) in [
        (json!({"provider": "nowhere/none.toml"}), "provider: expected a readable file"),
        (json!({"country": "XX"}), "country: expected a country in two letters"),
        (json!({"credentials": {"username": "u", "password": "p"}}), "credentials.webhook_secret: is missing"),
        (
            json!({"credentials": {"username": "u", "password": "p", "webhook_secret": "w", "token": "x"}}),
            "credentials.token: unknown key: expected one of password, url, username, webhook_secret",
        ),
        (json!({"numbers": [{"user": "juliet@example.org"}]}), "numbers[0].number: is missing"),
        (json!({"numbers": [{"number": "+15550001111", "user": "juliet"}]}), "numbers[0].user: expected a JID"),
        (
            json!({"numbers": [{"number": "+15550001111", "user": "a@b", "shared": true}]}),
            "numbers[0].shared: stands beside user",
        ),
        (
            json!({"numbers": [{"number": "+15550001111", "user": "a@b", "room": "c@d"}]}),
            "numbers[0].room: expected beside shared",
        ),
        (
            json!({"numbers": [{"number": "+15550001111", "shared": true, "owner": "a@b", "room": "c@d"}]}),
            "numbers[0].room: stands beside owner",
        ),
        (
            json!({"numbers": [{"number": "+15550001111", "provider": "other"}]}),
            "numbers[0].provider: expected one of kannel",
        ),
        (json!({"limits": {"forbid": ["premium"]}}), "limits.forbid: expected a list of beginnings"),
        (json!({"prices": {"+1": "dear"}}), "prices.+1: expected a price"),
        (json!({"limits": {"segment": 1}}), "limits.segment: unknown key"),
        (json!({"providers": ["providers/kannel.toml"]}), "providers[0]: there are two providers called \"kannel\""),
    ] {
        let all = faults(with(keys));
        assert!(all.iter().any(|f| f.starts_with(fault)), "{fault}: {all:?}");
    }
}

#[test]
fn a_provider_file_that_cannot_be_read_names_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("mine.toml");
    std::fs::write(
        &path,
        "name = \"Mine\"\n[send]\nurl = \"http://localhost/\"\n[send.fields]\nto = \"{recipient}\"\n",
    )
    .expect("written");
    let all = faults(json!({"provider": path.display().to_string()}));
    assert!(
        all[0].starts_with(&format!("{}:5: send.fields.to: names an unknown field {{recipient}}", path.display())),
        "{all:?}"
    );
}

#[test]
fn several_providers_by_prefix_and_price() {
    let keys = json!({"country": "US", "providers": [
        {"file": "providers/kannel.toml", "name": "near", "prefixes": ["+1"], "prices": {"+1": 0.01, "+1787": "0.02"}},
        {"file": "providers/kannel.toml", "name": "far", "credentials": {"password": "other"}}],
        "credentials": {"username": "u", "password": "p", "webhook_secret": "w"}});
    let config = read(section("sms", "sms.example", keys)).expect("sound");
    let near = &config.providers[0];
    assert_eq!((near.carries("+15551234567"), near.carries("+44123456789")), (Some(2), None));
    assert_eq!((near.price("+15551234567"), near.price("+17875551234"), near.price("+44")), (10_000, 20_000, 0));
    assert_eq!(config.providers[1].carries("+44123456789"), Some(0));
}

#[test]
fn premium_numbers_are_closed_by_default() {
    let config =
        |limits: Value| read(section("sms", "sms.example", with(json!({"limits": limits})))).expect("sound").limits;
    let open = |limits: &Limits, number: &str| {
        limits.is_open(&Plan { country: None, short_codes: Vec::new() }.typed(number).expect("a number"))
    };
    let default = config(json!({}));
    for (number, is) in [
        ("+15551234567", true),
        ("+19005551234", false),
        ("+449098790000", false),
        ("+447700900000", true),
        ("112", false),
        ("11233", true),
    ] {
        assert_eq!(open(&default, number), is, "{number}");
    }
    let narrow = config(json!({"allow": ["+1", "+1900555"], "forbid": ["+1900"]}));
    for (number, is) in
        [("+15551234567", true), ("+447700900000", false), ("+19005551234", true), ("+19004441234", false)]
    {
        assert_eq!(open(&narrow, number), is, "{number}");
    }
}
