//! ejabberd's configuration and start.

use std::fmt::Write;
use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::process::{Folder, Process, program};
use crate::server::{Listeners, Options, password, secret};

pub(crate) fn configure(folder: &Folder, ports: &Listeners, options: &Options) -> Result<()> {
    for name in ["spool", "log", "upload"] {
        std::fs::create_dir_all(folder.join(name))?;
    }
    let path = folder.path().display();
    let (c2s, component, http) = (&ports.c2s, &ports.component, &ports.http);
    let hosts = options.hosts.join(", ");
    let mut text = format!(
        "hosts: [{hosts}]
loglevel: info
certfiles: []
auth_password_format: plain
listen:
  - port: {c2s}
    ip: 127.0.0.1
    module: ejabberd_c2s
    starttls: false
    access: c2s
  - port: {http}
    ip: 127.0.0.1
    module: ejabberd_http
    request_handlers:
      /upload: mod_http_upload
      /api: mod_http_api
  - port: {component}
    ip: 127.0.0.1
    module: ejabberd_service
    access: all
    check_from: true
    # Else whoever attaches as one of the hosts gets the stanzas for all of them.
    global_routes: false
    hosts:
"
    );
    for domain in &options.components {
        writeln!(text, "      {domain}:\n        password: {}", secret(domain))?;
    }
    if options.components.is_empty() {
        text += "      unused.invalid:\n        password: unused\n";
    }
    let servers = options.components.join(", ");
    writeln!(
        text,
        "acl:
  gateways: {{ server: [{servers}] }}
  hosts: {{ server: [{hosts}] }}
access_rules:
  c2s: {{ allow: all }}
  local: {{ allow: all }}
  gateways: {{ allow: gateways }}
  hosts: {{ allow: hosts }}
api_permissions:
  open: {{ who: {{ access: {{ allow: {{ ip: 127.0.0.1/8 }} }} }}, what: \"*\" }}
shaper_rules:
  max_user_sessions: 10
modules:
  mod_roster: {{}}
  mod_disco: {{}}
  mod_caps: {{}}
  mod_carboncopy: {{}}
  mod_offline: {{}}
  mod_ping: {{}}
  mod_stream_mgmt: {{}}
  mod_pubsub: {{ plugins: [flat, pep] }}
  mod_vcard: {{ search: false }}"
    )?;
    if options.archive {
        text += "  mod_mam: { default: always }\n";
    }
    if options.rooms {
        text += "  mod_muc: { default_room_options: { mam: true } }\n";
    }
    if options.privileged {
        text += "  mod_privilege:
    roster: { both: gateways }
    message: { outgoing: gateways }
    presence: { roster: gateways }
";
    }
    if options.upload {
        writeln!(
            text,
            "append_host_config:
  {host}:
    modules:
      mod_http_upload:
        host: upload.{host}
        put_url: \"http://127.0.0.1:{http}/upload\"
        docroot: \"{path}/upload\"
        access: {access}
        max_size: 16777216",
            host = options.hosts[0],
            access = if options.upload_for_components { "all" } else { "hosts" }
        )?;
    }
    folder.write("ejabberd.yml", text)?;
    Ok(())
}

pub(crate) fn spawn(folder: &Folder) -> Result<Process> {
    program("ejabberdctl", "ejabberd", &[])?;
    let mut command = Command::new(program("erl", "ejabberd", &[])?);
    // Without -sname there is no epmd and no distribution port; Mnesia's node is nonode@nohost.
    command.args(["+K", "true", "-noinput", "-mnesia", "dir"]).arg(format!("\"{}\"", folder.join("spool").display()));
    command.args(["-kernel", "inet_dist_use_interface", "{127,0,0,1}", "-s", "ejabberd"]);
    command.env("HOME", folder.path()).env("ERL_LIBS", "/usr/lib/x86_64-linux-gnu:/usr/lib/aarch64-linux-gnu");
    command.env("EJABBERD_CONFIG_PATH", folder.join("ejabberd.yml"));
    command.env("EJABBERD_LOG_PATH", folder.join("server.log")).current_dir(folder.path());
    Process::spawn("ejabberd", &mut command, &folder.join("stdout"))
}

/// Registers an account by the HTTP API.
pub(crate) async fn add_user(http: SocketAddr, jid: &str) -> Result<()> {
    let (user, host) = jid.split_once('@').context("a bare JID")?;
    api(http, "register", &serde_json::json!({ "user": user, "host": host, "password": password(jid) })).await
}

/// Removes one.
pub(crate) async fn remove_user(http: SocketAddr, jid: &str) -> Result<()> {
    let (user, host) = jid.split_once('@').context("a bare JID")?;
    api(http, "unregister", &serde_json::json!({ "user": user, "host": host })).await
}

async fn api(http: SocketAddr, what: &str, body: &serde_json::Value) -> Result<()> {
    let body = body.to_string();
    let request = format!(
        "POST /api/{what} HTTP/1.0\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(http).await?;
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    tokio::time::timeout(Duration::from_secs(30), stream.read_to_end(&mut answer)).await??;
    let answer = String::from_utf8_lossy(&answer);
    // 409: it is there already, which is what a restart on the same data meets.
    if !answer.starts_with("HTTP/1.1 200") && !answer.starts_with("HTTP/1.0 200") && !answer.contains(" 409 ") {
        bail!("ejabberd's API does not {what}: {answer}");
    }
    Ok(())
}
