-- What a user and a contact said to each other, for the command `history`. own: said by the user.
CREATE TABLE talks (
    seq INTEGER PRIMARY KEY,
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    address TEXT NOT NULL,
    at INTEGER NOT NULL,
    own INTEGER NOT NULL,
    body TEXT NOT NULL
);
CREATE INDEX talks_person ON talks (bridge, person, address, seq);
CREATE INDEX talks_at ON talks (at);
