-- Access rules that administrators have given by command; they come before those of the configuration, the newest first.
CREATE TABLE rules (
    seq INTEGER PRIMARY KEY,
    bridge TEXT NOT NULL,
    pattern TEXT NOT NULL,
    tier TEXT NOT NULL,
    at INTEGER NOT NULL,
    UNIQUE (bridge, pattern)
);
