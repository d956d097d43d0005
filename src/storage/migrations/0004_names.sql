-- What live messages are called: by users' clients (id: the room's stanza id, or the message's own id between two), and by the network. head: the
-- first part of the message that this is a part of. person: whose data it is, where it is one user's; own: they wrote it, under client's id.
CREATE TABLE names (
    seq INTEGER PRIMARY KEY,
    bridge TEXT NOT NULL,
    place TEXT NOT NULL,
    id TEXT NOT NULL,
    head TEXT NOT NULL,
    foreign_id TEXT NOT NULL,
    person TEXT,
    own INTEGER NOT NULL,
    client TEXT,
    nick TEXT,
    at INTEGER NOT NULL
);
CREATE INDEX names_id ON names (bridge, place, id);
CREATE INDEX names_head ON names (bridge, place, head);
CREATE INDEX names_foreign ON names (bridge, place, foreign_id);
CREATE INDEX names_at ON names (at);
CREATE INDEX names_person ON names (person) WHERE person IS NOT NULL;

-- Who has set which reactions to what: the whole set, as JSON. who: an occupant's id, or an address.
CREATE TABLE reactions (
    bridge TEXT NOT NULL,
    place TEXT NOT NULL,
    id TEXT NOT NULL,
    who TEXT NOT NULL,
    person TEXT,
    said TEXT NOT NULL,
    at INTEGER NOT NULL,
    PRIMARY KEY (bridge, place, id, who)
);
CREATE INDEX reactions_at ON reactions (at);
CREATE INDEX reactions_person ON reactions (person) WHERE person IS NOT NULL;

-- What a line is beside its words (an answer, a reaction, a withdrawal), as XML; and when its words were withdrawn.
ALTER TABLE archive ADD COLUMN payload TEXT;
ALTER TABLE archive ADD COLUMN gone INTEGER;
