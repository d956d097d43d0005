-- Prosody 0.12: /etc/prosody/prosody.cfg.lua
-- mod_privilege is one of the community modules (Debian: prosody-modules).
component_ports = { 5347 } -- in the global part, above the first VirtualHost
component_stanza_size_limit = 1024*1024 -- what people write reaches the gateway even if it is long

VirtualHost "example.org"
  -- add to its modules_enabled: "privilege"
  privileged_entities = {
    ["email.example.org"] = { roster = "both", message = "outgoing", presence = "roster", iq = { ["urn:xmpp:blocking"] = "get" } },
  }

Component "email.example.org"
  component_secret = "CHANGE-ME"
  modules_enabled = { "privilege" }

Component "upload.example.org" "http_file_share" -- if you have it already: add the line below to it
  http_file_share_access = { "email.example.org", "example.org" }
