-- What was said in rooms: one log a room, however many users of ours were there. The id is ordered by time.
CREATE TABLE archive (
    bridge TEXT NOT NULL,
    room TEXT NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    nick TEXT,
    occupant TEXT,
    body TEXT NOT NULL,
    thread TEXT,
    foreign_id TEXT,
    PRIMARY KEY (bridge, room, id)
);
CREATE INDEX archive_at ON archive (at);
CREATE INDEX archive_foreign ON archive (bridge, room, foreign_id);

-- Which part of it a user saw, as ids: from their entry to their leaving; while they are inside it has no end.
CREATE TABLE archive_stays (
    bridge TEXT NOT NULL,
    room TEXT NOT NULL,
    person TEXT NOT NULL,
    since TEXT NOT NULL,
    until TEXT
);
CREATE INDEX archive_stays_person ON archive_stays (bridge, person, room);
