-- The id of the stanza that a line was said with: an answer names what it answers by it (XEP-0461).
ALTER TABLE talks ADD COLUMN stanza TEXT;
