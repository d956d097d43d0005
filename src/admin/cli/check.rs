//! `isthmus check`: looks at everything, says what is wrong and how to mend it, exits 0 or 1.
//!
//! It never attaches beside a running instance: on ejabberd a second connection would draw stanzas away, on Prosody it would get `conflict` or
//! throw the gateway out. A running instance is asked instead.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::attach::Attached;
use super::output::Output;
use super::{Exit, Place, upload};
use crate::admin::control::{Client, FindingRow, Request};
use crate::admin::records;
use crate::config::{BridgeConfig, Config};
use crate::storage::Look;
use crate::xmpp::link::LinkError;

pub(super) async fn check(place: &Place, out: &mut Output) -> Exit {
    let config = match place.load() {
        Ok(config) => config,
        Err(faults) => {
            let findings: Vec<FindingRow> = faults
                .iter()
                .map(|f| FindingRow::fault(None, f.to_string(), "mend that line, or see docs/configuration.md"))
                .collect();
            return out.findings(&findings, "configuration");
        }
    };
    let mut findings =
        vec![FindingRow::good(None, format!("the configuration in {} is in order", config.folder.display()))];
    match Client::connect(&config.control_socket()).await {
        Ok(Some(mut client)) => {
            match client.ask::<Vec<FindingRow>>(&Request::Check).await {
                Ok(more) => findings.extend(more),
                Err(error) => findings.push(FindingRow::fault(None, error.to_string(), "look into its log")),
            }
            out.findings(&findings, "running instance")
        }
        Ok(None) => {
            findings.extend(look_around(&config).await);
            out.findings(&findings, "check")
        }
        // Something answers that we may not ask: attaching beside it would disturb it.
        Err(error) => {
            findings.push(FindingRow::fault(None, error.to_string(), "run isthmus check as that user"));
            out.findings(&findings, "check")
        }
    }
}

/// Everything that can be looked at from outside, while nothing runs.
async fn look_around(config: &Config) -> Vec<FindingRow> {
    let mut findings = vec![data_dir(&config.data_dir), database(config).await];
    findings.extend(secret_files(config));
    if config.domains.is_empty() {
        findings.push(FindingRow::warning(
            None,
            "server.domains is empty: nobody counts as a local user",
            "name the domains of your users, as in domains = [\"example.org\"] under [server] in isthmus.toml",
        ));
    }
    for bridge in &config.bridges {
        findings.extend(link(config, bridge).await);
        findings.extend(bridge.bridge.probe().await.into_iter().map(|f| FindingRow::of(&bridge.name, f)));
    }
    findings
}

fn data_dir(path: &Path) -> FindingRow {
    let made = std::fs::create_dir_all(path).and_then(|()| {
        let probe = path.join(format!(".check-{}", std::process::id()));
        std::fs::write(&probe, b"x").and_then(|()| std::fs::remove_file(&probe))
    });
    match made {
        Ok(()) => FindingRow::good(None, format!("{} can be written to", path.display())),
        Err(e) => FindingRow::fault(
            None,
            format!("{} cannot be written to: {e}", path.display()),
            "give the folder to the user that isthmus runs as, or name another in data_dir in isthmus.toml",
        ),
    }
}

async fn database(config: &Config) -> FindingRow {
    match Look::open(&records::how(config)).await {
        Ok(Some(look)) => {
            look.close().await;
            FindingRow::good(None, "the database can be read and fits this version")
        }
        Ok(None) => FindingRow::good(None, "the database is empty; its tables are made at the first start"),
        Err(error) => FindingRow::fault(None, error.to_string(), "see database.url in isthmus.toml"),
    }
}

/// Files with secrets that everybody on this machine can read.
fn secret_files(config: &Config) -> Vec<FindingRow> {
    let mut files = vec![config.folder.join("isthmus.toml")];
    files.extend(config.bridges.iter().map(|b| config.folder.join("bridges").join(format!("{}.toml", b.name))));
    files.extend(config.seal.key_file.clone());
    let holds = |path: &Path| {
        let words = ["secret =", "password =", "key =", "postgres://", "postgresql://"];
        let text = std::fs::read_to_string(path).unwrap_or_default();
        Some(path) == config.seal.key_file.as_deref()
            || text.lines().any(|l| !l.trim_start().starts_with('#') && words.iter().any(|w| l.contains(w)))
    };
    let open = |path: &std::path::PathBuf| {
        std::fs::metadata(path).is_ok_and(|m| m.permissions().mode() & 0o007 != 0) && holds(path)
    };
    let warn = |path: &std::path::PathBuf| {
        let what = format!("{} holds secrets and is open to every user of this machine", path.display());
        FindingRow::warning(None, what, format!("chmod o-rwx {}", path.display()))
    };
    files.iter().filter(|f| open(f)).map(warn).collect()
}

async fn link(config: &Config, bridge: &BridgeConfig) -> Vec<FindingRow> {
    let name = Some(bridge.name.as_str());
    let link = match bridge.link(&config.limits) {
        Ok(link) => link,
        Err(sentence) => {
            return vec![FindingRow::fault(name, sentence, "see tls, ca_file and tls_name under [server]")];
        }
    };
    match Attached::attach(link).await {
        Ok(mut attached) => {
            let what = format!("{} attaches at {}", bridge.domain, bridge.server.endpoint);
            let mut findings = vec![FindingRow::good(name, what)];
            findings.extend(upload::upload(config, bridge, &mut attached).await);
            findings.extend(crate::admin::grants::findings(&bridge.name, &bridge.domain, attached.grants()));
            attached.leave().await;
            findings
        }
        Err(error) => vec![refused(bridge, &error)],
    }
}

/// Why we are not attached, with the setting to change.
fn refused(bridge: &BridgeConfig, error: &LinkError) -> FindingRow {
    let (domain, at) = (&bridge.domain, &bridge.server.endpoint);
    let name = Some(bridge.name.as_str());
    match error {
        LinkError::NotAuthorized { .. } => FindingRow::fault(
            name,
            format!("the server at {at} refuses the secret of {domain}"),
            format!(
                "make both the same: secret in bridges/{}.toml and, in Prosody, component_secret = \"…\" below Component \"{domain}\"; \
                 in ejabberd, listen: ejabberd_service: hosts: {domain}: password: \"…\" \
                 (ejabberd gives the same answer where it has no host {domain} at all)",
                bridge.name
            ),
        ),
        LinkError::HostUnknown { .. } => FindingRow::fault(
            name,
            format!("the server at {at} has no component {domain}"),
            format!(
                "correct domain in bridges/{}.toml, or add the component to the server: in Prosody, Component \"{domain}\" with component_secret = \"…\"; \
                 in ejabberd, listen: ejabberd_service: hosts: {domain}: password: \"…\"",
                bridge.name
            ),
        ),
        LinkError::Conflict { .. } => FindingRow::fault(
            name,
            format!("another component is attached to the server as {domain}"),
            "stop the other one, or wait a minute until the server has noticed that it is gone",
        ),
        LinkError::Unreachable { reason, .. } => FindingRow::fault(
            name,
            format!("nothing answers at {at}: {reason}"),
            "start the XMPP server, or correct host and port under [server]; Prosody listens for components at component_ports and \
             component_interfaces, ejabberd at the port of its ejabberd_service listener",
        ),
        LinkError::Tls { reason, .. } => FindingRow::fault(
            name,
            format!("no TLS with {at}: {reason}"),
            "correct tls, ca_file and tls_name under [server]; ejabberd's ejabberd_service speaks TLS with tls: true, Prosody's component port never does",
        ),
        LinkError::TimedOut { .. } => FindingRow::fault(
            name,
            format!("{at} takes the connection but does not answer as an XMPP server would: {error}"),
            "correct host and port under [server]: is it the component port, and not the one for clients? Does it speak TLS (tls = true)?",
        ),
        other => FindingRow::fault(
            name,
            format!("{at}: {other}"),
            "is it the component port (XEP-0114), and not the one for clients or servers? Its log says more",
        ),
    }
}
