-- Who is registered with a bridge. fields: what was filled in, as JSON, without secrets.
CREATE TABLE registrations (
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    fields TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (bridge, person)
);

-- What people chose, by address. Secrets stand in sealed only.
CREATE TABLE choices (
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    address TEXT NOT NULL,
    key TEXT NOT NULL,
    value TEXT,
    sealed BLOB,
    PRIMARY KEY (bridge, person, address, key)
);

-- Own identities that are in use.
CREATE TABLE identities (
    seq INTEGER PRIMARY KEY,
    bridge TEXT NOT NULL,
    own TEXT NOT NULL,
    person TEXT NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (bridge, own)
);
CREATE INDEX identities_person ON identities (bridge, person, seq);

-- Own identities that were given up: keyed hashes of the identity and of who had it.
CREATE TABLE tombstones (
    bridge TEXT NOT NULL,
    own TEXT NOT NULL,
    person TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (bridge, own)
);

-- Who wrote last as an own identity to a peer.
CREATE TABLE last_writers (
    bridge TEXT NOT NULL,
    own TEXT NOT NULL,
    peer TEXT NOT NULL,
    person TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (bridge, own, peer)
);
CREATE INDEX last_writers_person ON last_writers (bridge, person);

-- A user's contacts (and the gateway itself) with both directions of subscription (RFC 6121): 0 none, 1 asked, 2 yes.
CREATE TABLE contacts (
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    address TEXT NOT NULL,
    name TEXT,
    sees INTEGER NOT NULL,
    seen INTEGER NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (bridge, person, address)
);

CREATE TABLE blocks (
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    address TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (bridge, person, address)
);

-- A bridge's small durable state.
CREATE TABLE state (
    bridge TEXT NOT NULL,
    space TEXT NOT NULL,
    key TEXT NOT NULL,
    person TEXT,
    value BLOB NOT NULL,
    expires INTEGER,
    PRIMARY KEY (bridge, space, key)
);
CREATE INDEX state_person ON state (bridge, person);
CREATE INDEX state_expires ON state (expires);

-- What administrators did.
CREATE TABLE audit (
    seq INTEGER PRIMARY KEY,
    at INTEGER NOT NULL,
    actor TEXT NOT NULL,
    bridge TEXT NOT NULL,
    act TEXT NOT NULL,
    about TEXT,
    detail TEXT
);
CREATE INDEX audit_at ON audit (at);
