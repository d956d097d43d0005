//! The lines that the XMPP server needs, for Prosody and for ejabberd. config/servers/ holds the same, made by these functions.

use std::fmt::Write;

/// A component as a server has to know it.
#[derive(Debug, Clone)]
pub(super) struct Component {
    /// Its domain.
    pub(super) domain: String,
    /// Its secret.
    pub(super) secret: String,
}

/// For `/etc/prosody/prosody.cfg.lua`.
pub(super) fn prosody(components: &[Component], users: &str, upload: &str, port: u16) -> String {
    let mut text = String::new();
    let names = |open: &str| components.iter().map(|c| format!("{open}{:?}", c.domain)).collect::<Vec<_>>().join(", ");
    let _ = writeln!(text, "-- Prosody 0.12: /etc/prosody/prosody.cfg.lua");
    let _ = writeln!(text, "-- mod_privilege is one of the community modules (Debian: prosody-modules).");
    let _ = writeln!(text, "component_ports = {{ {port} }} -- in the global part, above the first VirtualHost");
    let _ = writeln!(
        text,
        "component_stanza_size_limit = 1024*1024 -- what people write reaches the gateway even if it is long\n"
    );
    let _ = writeln!(
        text,
        "VirtualHost {users:?}\n  -- add to its modules_enabled: \"privilege\"\n  privileged_entities = {{"
    );
    for c in components {
        let _ = writeln!(
            text,
            "    [{:?}] = {{ roster = \"both\", message = \"outgoing\", presence = \"roster\", iq = {{ [\"urn:xmpp:blocking\"] = \"get\" }} }},",
            c.domain
        );
    }
    let _ = writeln!(text, "  }}\n");
    for c in components {
        let _ = writeln!(
            text,
            "Component {:?}\n  component_secret = {:?}\n  modules_enabled = {{ \"privilege\" }}\n",
            c.domain, c.secret
        );
    }
    let _ =
        writeln!(text, "Component {upload:?} \"http_file_share\" -- if you have it already: add the line below to it");
    let _ = writeln!(text, "  http_file_share_access = {{ {}, {users:?} }}", names(""));
    text
}

/// For `/etc/ejabberd/ejabberd.yml`.
pub(super) fn ejabberd(components: &[Component], upload: &str, port: u16) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "# ejabberd 23: /etc/ejabberd/ejabberd.yml; add each part to the section of the same name");
    let _ = writeln!(
        text,
        "listen:\n  - port: {port}\n    ip: \"127.0.0.1\"\n    module: ejabberd_service\n    access: all\n    global_routes: false # else each of the hosts gets what is for any of them\n    hosts:"
    );
    for c in components {
        let _ = writeln!(text, "      {:?}:\n        password: {:?}", c.domain, c.secret);
    }
    let _ = writeln!(text, "\nacl:\n  gateway:\n    server:");
    for c in components {
        let _ = writeln!(text, "      - {:?}", c.domain);
    }
    let _ = writeln!(
        text,
        "\naccess_rules:\n  gateway:\n    - allow: gateway\n  upload:\n    - allow: local\n    - allow: gateway"
    );
    let _ = writeln!(
        text,
        "\nmodules:\n  mod_privilege:\n    roster:\n      both: gateway\n    message:\n      outgoing: gateway\n    presence:\n      roster: gateway"
    );
    let _ = writeln!(text, "  mod_http_upload:\n    host: {upload:?}\n    access: upload");
    text
}

/// What lets a component upload, in one sentence.
pub(super) fn upload_lines(domain: &str) -> String {
    format!(
        "in Prosody, http_file_share_access = {{ \"{domain}\" }} on the http_file_share component; \
         in ejabberd, mod_http_upload: access: a rule that allows an acl with server: \"{domain}\" (the default, local, refuses components)"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Vec<Component> {
        vec![Component { domain: "email.example.org".to_owned(), secret: "CHANGE-ME".to_owned() }]
    }

    #[test]
    fn the_shipped_snippets_are_what_init_prints() {
        let prosody = super::prosody(&example(), "example.org", "upload.example.org", 5347);
        assert_eq!(prosody, include_str!("../../../config/servers/prosody.cfg.lua"), "write this into it:\n{prosody}");
        let ejabberd = super::ejabberd(&example(), "upload.example.org", 5347);
        assert_eq!(ejabberd, include_str!("../../../config/servers/ejabberd.yml"), "write this into it:\n{ejabberd}");
    }
}
