use super::*;

include!(concat!(env!("OUT_DIR"), "/shipped.rs"));

fn faults(text: &str) -> Vec<String> {
    read("p.toml", text).expect_err("faults").iter().map(ToString::to_string).collect()
}

const GOOD: &str = "name = \"X\"\n[credentials]\nuser = \"\"\nbase = \"http://localhost\"\n[send]\nurl = \"{base}/send\"\nformat = \"query\"\n[send.fields]\nto = \"{to}\"\ntext = \"{text}\"\n";

#[test]
fn every_shipped_file_reads() {
    assert!(SHIPPED.len() >= 12, "{} files", SHIPPED.len());
    for (name, text) in SHIPPED {
        if let Err(faults) = read(&format!("config/providers/{name}.toml"), text) {
            panic!("{}", faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"));
        }
    }
}

#[test]
fn faults_name_line_and_key() {
    assert!(read("p.toml", GOOD).is_ok());
    for (from, to, fault) in [
        ("format = \"query\"", "format = \"xml\"", "p.toml:7: send.format: expected one of form, json, query"),
        ("{text}", "{words}", "p.toml:10: send.fields.text: names an unknown field {words}"),
        ("to = \"{to}\"", "to = \"{to\"", "p.toml:9: send.fields.to: has a lone {"),
        ("[send.fields]", "[send.feilds]", "p.toml:8: send.feilds: unknown key"),
        ("url = ", "urn = ", "p.toml:6: send.urn: unknown key"),
        ("name = \"X\"", "nam = \"X\"", "p.toml:1: nam: unknown key"),
        ("text = \"{text}\"", "text = [1]", "p.toml:10: send.fields.text: expected a word"),
        ("text = \"{text}\"", "text = ", "p.toml:10: "),
    ] {
        let all = faults(&GOOD.replace(from, to));
        assert!(all.iter().any(|f| f.starts_with(fault)), "{fault}: {all:?}");
    }
}

#[test]
fn a_webhook_without_proof_is_refused() {
    let hook = "[[webhook]]\npath = \"in\"\n[webhook.message]\nfrom = \"field:from\"\nto = \"field:to\"\n";
    let all = faults(&format!("{GOOD}{hook}"));
    assert_eq!(all.len(), 1, "{all:?}");
    assert!(all[0].starts_with("p.toml:11: webhook[0].auth: is missing"), "{all:?}");
    let with = format!("{GOOD}[auth]\nscheme = \"path-secret\"\nsecret = \"{{user}}\"\n{hook}");
    assert!(read("p.toml", &with).is_ok());
    let all = faults(&with.replace("field:from", "feld"));
    assert!(all[0].starts_with("p.toml:17: webhook[0].message.from: expected a place"), "{all:?}");
}

#[test]
fn networks_by_table() {
    assert_eq!(proof::network("10.0.0.0/8"), Some(("10.0.0.0".parse().expect("an address"), 8)));
    assert_eq!(proof::network("::1").map(|n| n.1), Some(128));
    assert_eq!(proof::network("10.0.0.0/33"), None);
    assert_eq!(proof::network("example.org"), None);
}
