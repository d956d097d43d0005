//! Pure translation: stanza → Intent, Event → stanzas.
