//! Prosody's configuration and start.

use std::fmt::Write;
use std::process::Command;

use anyhow::Result;

use crate::process::{Folder, Process, program};
use crate::server::{Conflict, Listeners, Options, password, secret};

pub(crate) fn configure(folder: &Folder, ports: &Listeners, options: &Options) -> Result<()> {
    std::fs::create_dir_all(folder.join("data"))?;
    std::fs::create_dir_all(folder.join("certs"))?;
    let conflict = match options.conflict {
        Conflict::KickNew => "kick_new",
        Conflict::KickOld => "kick_old",
    };
    let path = folder.path().display();
    let (c2s, component, http) = (&ports.c2s, &ports.component, &ports.http);
    let disabled = if options.offline { "" } else { r#", "offline""# };
    let privilege = if options.privileged { r#", "privilege""# } else { "" };
    let mut text = format!(
        r#"run_as_root = true
pidfile = "{path}/prosody.pid"
data_path = "{path}/data"
certificates = "{path}/certs"
log = {{ {{ levels = {{ min = "info" }}, to = "file", filename = "{path}/server.log" }} }}
plugin_paths = {{ "/usr/lib/prosody/modules" }}
modules_enabled = {{ "roster", "saslauth", "disco", "carbons", "pep", "mam", "blocklist", "vcard4", "vcard_legacy",
  "private", "ping", "time", "uptime", "smacks"{privilege} }}
modules_disabled = {{ "s2s", "tls"{disabled} }}
interfaces = {{ "127.0.0.1" }}
c2s_ports = {{ {c2s} }}
c2s_direct_tls_ports = {{ }}
s2s_ports = {{ }}
component_ports = {{ {component} }}
component_interface = "127.0.0.1"
http_ports = {{ {http} }}
http_interfaces = {{ "127.0.0.1" }}
https_ports = {{ }}
http_default_host = "{host}"
http_external_url = "http://127.0.0.1:{http}/"
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
-- Accounts are written by the test as files; plain ones can be.
authentication = "internal_plain"
storage = "internal"
limits = {{ c2s = {{ rate = "10mb/s" }} }}
component_conflict_resolve = "{conflict}"

"#,
        host = options.hosts[0],
    );
    for (index, host) in options.hosts.iter().enumerate() {
        writeln!(text, r#"VirtualHost "{host}""#)?;
        if index == 0 && options.privileged {
            text += "  privileged_entities = {\n";
            for domain in &options.components {
                writeln!(
                    text,
                    r#"    ["{domain}"] = {{ roster = "both", message = "outgoing", presence = "roster",
      iq = {{ ["http://jabber.org/protocol/pubsub"] = "both", ["urn:xmpp:mam:2"] = "get",
        ["urn:xmpp:blocking"] = "get" }} }},"#
                )?;
            }
            text += "  }\n";
        }
    }
    for domain in &options.components {
        writeln!(text, r#"Component "{domain}""#)?;
        writeln!(text, r#"  component_secret = "{}""#, secret(domain))?;
        if options.privileged {
            text += "  modules_enabled = { \"privilege\" }\n";
        }
    }
    if options.upload {
        let components = if options.upload_for_components { &options.components[..] } else { &[] };
        let access: Vec<String> = components.iter().chain(&options.hosts).map(|one| format!("\"{one}\"")).collect();
        writeln!(
            text,
            r#"Component "upload.{host}" "http_file_share"
  http_host = "{host}"
  http_file_share_size_limit = 16*1024*1024
  http_file_share_access = {{ {access} }}"#,
            host = options.hosts[0],
            access = access.join(", ")
        )?;
    }
    if options.rooms {
        writeln!(text, "Component \"conference.{}\" \"muc\"\n  modules_enabled = {{ \"muc_mam\" }}", options.hosts[0])?;
    }
    folder.write("prosody.cfg.lua", text)?;
    Ok(())
}

pub(crate) fn spawn(folder: &Folder) -> Result<Process> {
    let mut command = Command::new(program("prosody", "prosody prosody-modules", &[])?);
    // Not `prosody --version` or the like to probe it: any unknown option starts the server.
    if rustix::process::geteuid().is_root() {
        command.arg("--root");
    }
    command.arg("--config").arg(folder.join("prosody.cfg.lua")).arg("-F");
    Process::spawn("prosody", &mut command, &folder.join("stdout"))
}

/// Prosody reads the account's file at each login.
pub(crate) fn add_user(folder: &Folder, jid: &str) -> Result<()> {
    folder.write(account(jid), format!("return {{ [\"password\"] = \"{}\"; }};\n", password(jid)))?;
    Ok(())
}

/// And whenever it wants to know whether there is such an account.
pub(crate) fn remove_user(folder: &Folder, jid: &str) -> Result<()> {
    Ok(std::fs::remove_file(folder.join(account(jid)))?)
}

fn account(jid: &str) -> String {
    let (name, host) = jid.split_once('@').unwrap_or((jid, "localhost"));
    format!("data/{}/accounts/{}.dat", encode(host), encode(name))
}

/// The file names of Prosody's internal storage: all but letters and digits as `%xx`.
fn encode(name: &str) -> String {
    name.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { char::from(byte).to_string() } else { format!("%{byte:02x}") })
        .collect()
}
