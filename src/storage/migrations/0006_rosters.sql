-- Messages that users sent by other means and that we made known in their names: the server gives them back as if they had been sent to us.
CREATE TABLE own_messages (
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (bridge, person, id)
);
CREATE INDEX own_messages_at ON own_messages (at);

-- grouped: groups as JSON. listed: the network's own contact list has it. rostered: the user's roster has it as it stands here. photo: SHA-1.
ALTER TABLE contacts ADD COLUMN grouped TEXT;
ALTER TABLE contacts ADD COLUMN listed INTEGER NOT NULL DEFAULT 0;
ALTER TABLE contacts ADD COLUMN rostered INTEGER NOT NULL DEFAULT 0;
ALTER TABLE contacts ADD COLUMN photo TEXT;

-- Pictures of contacts, by the SHA-1 of their bytes (XEP-0153, XEP-0084).
CREATE TABLE pictures (
    hash TEXT PRIMARY KEY,
    media_type TEXT NOT NULL,
    body BLOB NOT NULL,
    at INTEGER NOT NULL
);
