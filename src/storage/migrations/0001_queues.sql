-- One line per running process: the number of its last commit, so that a commit whose end is unknown can be looked up.
CREATE TABLE writers (
    instance TEXT PRIMARY KEY,
    batch INTEGER NOT NULL,
    at INTEGER NOT NULL
);

-- A lane: one user's held events for one set of recipients. Leased as a whole: while owner is set, due is the end of the lease.
CREATE TABLE lanes (
    lane TEXT PRIMARY KEY,
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    due INTEGER NOT NULL,
    owner TEXT,
    touched INTEGER NOT NULL
);
CREATE INDEX lanes_due ON lanes (bridge, due);

-- Held outbound events: 0 queued, 1 claimed, 2 started. Ended ones leave the table for messages.
CREATE TABLE outbox (
    seq INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE,
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    lane TEXT NOT NULL,
    stanza_id TEXT,
    state INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    head TEXT,
    fixed INTEGER NOT NULL,
    noticed INTEGER NOT NULL,
    accepted INTEGER NOT NULL,
    due INTEGER NOT NULL,
    reason TEXT,
    sender TEXT,
    event TEXT NOT NULL,
    legs TEXT
);
CREATE INDEX outbox_lane ON outbox (lane, seq);
CREATE INDEX outbox_stanza ON outbox (person, stanza_id) WHERE stanza_id IS NOT NULL;
CREATE INDEX outbox_head ON outbox (head) WHERE head IS NOT NULL;

-- The message map, both directions. head: the event that it was joined into (its own key where it was not joined).
CREATE TABLE messages (
    seq INTEGER PRIMARY KEY,
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    address TEXT NOT NULL,
    thread TEXT,
    key TEXT,
    head TEXT,
    stanza_id TEXT,
    ended TEXT,
    sender TEXT,
    event TEXT,
    accepted INTEGER NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX messages_key ON messages (key);
CREATE INDEX messages_head ON messages (head);
CREATE INDEX messages_latest ON messages (bridge, person, address, at);
CREATE INDEX messages_stanza ON messages (bridge, person, stanza_id);
CREATE INDEX messages_at ON messages (at);

-- The network's ids of a message: of the head's legs outbound, of the row inbound.
CREATE TABLE foreign_ids (
    bridge TEXT NOT NULL,
    network TEXT NOT NULL,
    id TEXT NOT NULL,
    message INTEGER NOT NULL,
    leg TEXT,
    n INTEGER NOT NULL
);
CREATE INDEX foreign_ids_id ON foreign_ids (bridge, network, id);
CREATE INDEX foreign_ids_message ON foreign_ids (message);

-- How far each leg of an outbound event has come: 0 handed over, 1 delayed, 2 failed, 3 delivered, 4 displayed.
CREATE TABLE legs (
    head TEXT NOT NULL,
    leg TEXT NOT NULL,
    rank INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (head, leg)
);
CREATE INDEX legs_at ON legs (at);

-- Outcomes that came before the message they are about was known; kept for 24 hours.
CREATE TABLE early (
    seq INTEGER PRIMARY KEY,
    bridge TEXT NOT NULL,
    network TEXT NOT NULL,
    id TEXT NOT NULL,
    leg TEXT,
    what TEXT NOT NULL,
    at INTEGER NOT NULL
);
CREATE INDEX early_id ON early (bridge, network, id);
CREATE INDEX early_at ON early (at);

-- Held inbound events and the core's own notices: 0 received, 1 prepared, 2 sent, 3 taken, 4 quarantined.
CREATE TABLE inbox (
    seq INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    notice INTEGER NOT NULL,
    state INTEGER NOT NULL,
    due INTEGER NOT NULL,
    tries INTEGER NOT NULL,
    ends INTEGER NOT NULL,
    sends INTEGER NOT NULL,
    reason TEXT,
    event TEXT,
    received INTEGER NOT NULL,
    changed INTEGER NOT NULL
);
CREATE INDEX inbox_order ON inbox (bridge, state, seq);
CREATE INDEX inbox_person ON inbox (bridge, person, state, seq);
CREATE INDEX inbox_changed ON inbox (state, changed);

-- The stanzas that a row became. open: still to be sent.
CREATE TABLE stanzas (
    message TEXT NOT NULL,
    n INTEGER NOT NULL,
    bridge TEXT NOT NULL,
    id TEXT NOT NULL,
    sender TEXT NOT NULL,
    recipient TEXT NOT NULL,
    xml BLOB NOT NULL,
    open INTEGER NOT NULL,
    PRIMARY KEY (message, n)
);
CREATE INDEX stanzas_id ON stanzas (bridge, id);

-- What was accepted from the network, so that a second copy is not delivered.
CREATE TABLE once (
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    once TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (bridge, person, once)
);
CREATE INDEX once_at ON once (at);
