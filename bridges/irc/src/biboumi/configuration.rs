//! biboumi.cfg → `bridges/irc.toml`.

use std::fmt::Write as _;
use std::net::IpAddr;

use isthmus_bridge::Converted;

/// Reads `option=value` lines.
pub(super) fn convert(text: &str) -> Result<Converted, String> {
    let mut to = Converted { server: ("127.0.0.1".to_owned(), 5347), ..Converted::default() };
    let mut identd = false;
    for (n, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (option, value) = line.split_once('=').ok_or_else(|| format!("line {}: expected option=value", n + 1))?;
        let (option, value) = (option.trim(), value.trim());
        identd |= option == "identd_port";
        one(&mut to, option, value).map_err(|expected| format!("line {}: {option}: expected {expected}", n + 1))?;
    }
    if to.domain.is_empty() || to.secret.is_empty() {
        return Err("it is no configuration of biboumi: hostname and password are missing".to_owned());
    }
    if !identd {
        to.lines += "#identd = \"0.0.0.0:113\"\n";
        note(&mut to, "the ident protocol is off; biboumi listens on port 113 by default where it may: set identd");
    }
    Ok(to)
}

/// One option. `Err`: what was expected.
fn one(to: &mut Converted, option: &str, value: &str) -> Result<(), &'static str> {
    match option {
        "hostname" => value.clone_into(&mut to.domain),
        "password" => value.clone_into(&mut to.secret),
        "xmpp_server_ip" => value.clone_into(&mut to.server.0),
        "port" => to.server.1 = value.parse().map_err(|_| "a port")?,
        "admin" => to.admins = value.split(':').filter(|a| !a.is_empty()).map(str::to_owned).collect(),
        "fixed_irc_server" if !value.is_empty() => fixed(to, value),
        "persistent_by_default" => key(to, "persistent_by_default", yes(value)?),
        "outgoing_bind" if !value.is_empty() => match value.parse::<IpAddr>() {
            Ok(address) => key(to, "bind", quoted(&address.to_string())),
            Err(_) => return Err("an IP address"),
        },
        "identd_port" => identd(to, value.parse().map_err(|_| "a port, or 0")?),
        "webirc_password" if !value.is_empty() => table(to, "defaults", "webirc_password", &quoted(value)),
        "realname_customization" if yes(value)? == "false" => {
            table(to, "locks", "realname", "\"\"");
            table(to, "locks", "username", "\"\"");
        }
        "realname_from_jid" if yes(value)? == "true" => {
            note(
                to,
                "realname_from_jid: user names are taken from the JID anyway; the real name is the nick, unless the user sets one",
            );
        }
        "db_name" => {}
        "log_file" if !value.is_empty() => note(to, "log_file: logs go to standard output, so to the journal"),
        "log_level" => match value {
            "0" => note(to, "log_level: 0 is debug; log.level in isthmus.toml is info unless you change it"),
            "2" => note(to, "log_level: set log.level = \"warn\" in isthmus.toml"),
            "3" => note(to, "log_level: set log.level = \"error\" in isthmus.toml"),
            _ => {}
        },
        "ca_file" if !value.is_empty() => {
            note(to, "ca_file: the system's certificates count; set fingerprint for a network that has none of them");
        }
        "policy_directory" if !value.is_empty() => {
            note(
                to,
                "policy_directory: there are no TLS policies; set verify_cert in [networks.x] where a policy had switched it off",
            );
        }
        "fixed_irc_server"
        | "outgoing_bind"
        | "webirc_password"
        | "realname_customization"
        | "realname_from_jid"
        | "log_file"
        | "ca_file"
        | "policy_directory" => {}
        // The value may be a secret.
        other => note(to, &format!("{other}: not known, left out")),
    }
    Ok(())
}

fn fixed(to: &mut Converted, network: &str) {
    key(to, "fixed_network", quoted(&network.to_lowercase()));
    let private = network == "localhost" || network.parse().is_ok_and(|address: IpAddr| !is_public(&address));
    if private {
        key(to, "allow_private_networks", "true".to_owned());
    }
}

fn is_public(address: &IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => !(v4.is_loopback() || v4.is_private() || v4.is_link_local()),
        IpAddr::V6(v6) => !(v6.is_loopback() || v6.is_unique_local() || v6.is_unicast_link_local()),
    }
}

fn identd(to: &mut Converted, port: u16) {
    if port == 0 {
        to.lines += "#identd = \"0.0.0.0:113\"\n";
    } else {
        key(to, "identd", quoted(&format!("0.0.0.0:{port}")));
    }
}

/// A key of the file itself stands before its tables.
fn key(to: &mut Converted, name: &str, value: String) {
    to.lines = format!("{name} = {value}\n{}", to.lines);
}

fn table(to: &mut Converted, table: &str, name: &str, value: &str) {
    let head = format!("\n[{table}]\n");
    if to.lines.contains(&head) {
        to.lines = to.lines.replacen(&head, &format!("{head}{name} = {value}\n"), 1);
    } else {
        let _ = writeln!(to.lines, "{head}{name} = {value}");
    }
}

fn note(to: &mut Converted, words: &str) {
    to.notes.push(words.to_owned());
}

fn yes(value: &str) -> Result<String, &'static str> {
    match value {
        "true" | "false" => Ok(value.to_owned()),
        _ => Err("true or false"),
    }
}

/// TOML's strings are written as JSON's, but for one control character that no value can want.
fn quoted(text: &str) -> String {
    serde_json::Value::String(text.replace('\u{7f}', "")).to_string()
}
