-- What was said in rooms, written as cheaply as it can be: a room is a number, a line lies where its id stands (SQLite: no row numbers beside it),
-- and only lines that have an id by the network are found by it. Retention goes by the id, which begins with the time.
CREATE TABLE archive_rooms (
    no INTEGER PRIMARY KEY,
    bridge TEXT NOT NULL,
    room TEXT NOT NULL,
    UNIQUE (bridge, room)
);
INSERT INTO archive_rooms (bridge, room) SELECT DISTINCT bridge, room FROM archive;

DROP INDEX archive_at;
DROP INDEX archive_foreign;
ALTER TABLE archive RENAME TO archive_before;
CREATE TABLE archive (
    room INTEGER NOT NULL,
    id TEXT NOT NULL,
    at INTEGER NOT NULL,
    nick TEXT,
    occupant TEXT,
    body TEXT NOT NULL,
    thread TEXT,
    foreign_id TEXT,
    payload TEXT,
    gone INTEGER,
    PRIMARY KEY (room, id)
) WITHOUT ROWID;
INSERT INTO archive (room, id, at, nick, occupant, body, thread, foreign_id, payload, gone)
    SELECT r.no, b.id, b.at, b.nick, b.occupant, b.body, b.thread, b.foreign_id, b.payload, b.gone
    FROM archive_before b JOIN archive_rooms r ON r.bridge = b.bridge AND r.room = b.room;
DROP TABLE archive_before;
CREATE INDEX archive_foreign ON archive (room, foreign_id) WHERE foreign_id IS NOT NULL;
