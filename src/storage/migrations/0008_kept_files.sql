-- Files on disk that are kept for a user: as part of a message either way, or as an export, which does not count.
CREATE TABLE kept_files (
    bridge TEXT NOT NULL,
    person TEXT NOT NULL,
    id TEXT NOT NULL,
    size INTEGER NOT NULL,
    at INTEGER NOT NULL,
    export INTEGER NOT NULL,
    PRIMARY KEY (bridge, person, id)
);
CREATE INDEX kept_files_at ON kept_files (at);
CREATE INDEX kept_files_id ON kept_files (id);
