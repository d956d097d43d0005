//! Everything that is kept of a user on a bridge, a page at a time, so that nobody's history has to fit into memory.

use isthmus_bridge::{BareJid, StoreError};

use super::mirror::Value;
use super::{Persons, shown, time};
use crate::archive::apart;
use crate::args;
use crate::storage::Row;

/// Rows of a page.
const PAGE: i64 = 500;

/// One line of an export: what kind of thing, its key, its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Export {
    /// `registration`, `setting`, `identity`, `contact`, `block`, `state`, `waiting`, `message`, `sent`, `name`, `reaction`, `file`, `room`.
    pub kind: &'static str,
    /// Which one.
    pub key: String,
    /// Its value; of secrets only that there is one.
    pub value: String,
}

/// Where an export stands.
#[derive(Debug, Default)]
pub struct Pages {
    stage: usize,
    /// What was read last: `(number, text, text)` as the stage orders its rows.
    last: (i64, String, String),
}

/// Rows of one kind.
struct Stage {
    kind: &'static str,
    key: Key,
    /// Those after `$3` (a number) or after `($3, $4)` (texts), in order, with a limit as last argument.
    sql: &'static str,
    line: fn(&Row) -> Result<Line, StoreError>,
}

const STAGES: [Stage; 9] = [
    Stage {
        kind: "state",
        key: Key::Texts,
        sql: "SELECT space, key, value FROM state WHERE bridge = $1 AND person = $2 AND (space, key) > ($3, $4) ORDER BY space, key LIMIT $5",
        line: state,
    },
    Stage {
        kind: "waiting",
        key: Key::Number,
        sql: "SELECT seq, accepted, event FROM outbox WHERE bridge = $1 AND person = $2 AND seq > $3 ORDER BY seq LIMIT $4",
        line: waiting,
    },
    Stage {
        kind: "waiting",
        key: Key::Number,
        sql: "SELECT seq, received, COALESCE(event, '') FROM inbox WHERE bridge = $1 AND person = $2 AND state <> 3 AND seq > $3 ORDER BY seq LIMIT $4",
        line: waiting,
    },
    Stage {
        kind: "message",
        key: Key::Number,
        sql: "SELECT seq, at, address, own, body FROM talks WHERE bridge = $1 AND person = $2 AND seq > $3 ORDER BY seq LIMIT $4",
        line: talk,
    },
    Stage {
        kind: "sent",
        key: Key::Number,
        sql: "SELECT m.seq, m.at, m.address, m.stanza_id, m.ended, f.id FROM (SELECT seq, at, address, stanza_id, ended FROM messages \
        WHERE bridge = $1 AND person = $2 AND seq > $3 ORDER BY seq LIMIT $4) AS m LEFT JOIN foreign_ids f ON f.message = m.seq ORDER BY m.seq, f.n",
        line: mapped,
    },
    Stage {
        kind: "name",
        key: Key::Number,
        sql: "SELECT seq, at, place, id, foreign_id FROM names WHERE bridge = $1 AND person = $2 AND seq > $3 ORDER BY seq LIMIT $4",
        line: name,
    },
    Stage {
        kind: "reaction",
        key: Key::Texts,
        sql: "SELECT place, id, at, said FROM reactions WHERE bridge = $1 AND person = $2 AND (place, id) > ($3, $4) ORDER BY place, id LIMIT $5",
        line: reaction,
    },
    Stage {
        kind: "file",
        key: Key::Texts,
        sql: "SELECT id, '', at, size FROM kept_files WHERE bridge = $1 AND person = $2 AND (id, '') > ($3, $4) ORDER BY id LIMIT $5",
        line: file,
    },
    // What the user may see of the archive of rooms: what lies within their stays.
    Stage {
        kind: "room",
        key: Key::Texts,
        sql: "SELECT r.room, a.id, a.at, a.nick, a.body FROM archive_rooms r JOIN archive a ON a.room = r.no WHERE r.bridge = $1 AND EXISTS \
        (SELECT 1 FROM archive_stays s WHERE s.bridge = $1 AND s.person = $2 AND s.room = r.room AND s.since <= a.id \
        AND (s.until IS NULL OR s.until >= a.id)) AND (r.room, a.id) > ($3, $4) ORDER BY r.room, a.id LIMIT $5",
        line: room,
    },
];

/// How a stage goes on where it stopped.
#[derive(Clone, Copy)]
enum Key {
    /// The first column is a number that rises.
    Number,
    /// The first two columns are texts that rise.
    Texts,
}

/// Key and value of a line.
type Line = (String, String);

impl Persons {
    /// The next lines of an export, without secrets; `None` at its end.
    ///
    /// # Errors
    /// The store failed; the next call goes on.
    pub async fn export(&self, user: &BareJid, pages: &mut Pages) -> Result<Option<Vec<Export>>, StoreError> {
        if pages.stage == 0 {
            self.flush_talks().await?;
            let first = self.known(user).await?;
            pages.stage = 1;
            return Ok(Some(first));
        }
        let Some(Stage { kind, key, sql, line }) = STAGES.get(pages.stage - 1) else { return Ok(None) };
        let (number, one, two) = &pages.last;
        let values = match key {
            Key::Number => args![&*self.name, user.as_str(), *number, PAGE],
            Key::Texts => args![&*self.name, user.as_str(), one, two, PAGE],
        };
        let rows = self.store.read(sql, values).await?;
        let Some(last) = rows.last() else {
            *pages = Pages { stage: pages.stage + 1, ..Pages::default() };
            return Ok(Some(Vec::new()));
        };
        pages.last = match key {
            Key::Number => (last.int(0)?, String::new(), String::new()),
            Key::Texts => (0, last.text(0)?, last.text(1)?),
        };
        let read = |row: &Row| line(row).map(|(key, value)| Export { kind, key, value });
        rows.iter().map(read).collect::<Result<Vec<_>, _>>().map(Some)
    }

    /// What stands in memory: what the user has chosen, and whom they know.
    async fn known(&self, user: &BareJid) -> Result<Vec<Export>, StoreError> {
        let mut all = Vec::new();
        let mut put = |kind, key: String, value: String| all.push(Export { kind, key, value });
        for (field, values) in self.registration(user).iter().flat_map(|v| v.iter()) {
            put("registration", field.to_owned(), values.join(", "));
        }
        let chosen = self.mirror.with(user, |p| p.chosen.clone()).unwrap_or_default();
        for (at, values) in &chosen {
            for (setting, value) in values {
                let words = if let Value::Plain(words) = value { words.clone() } else { "(secret)".to_owned() };
                put("setting", format!("{} {setting}", shown(at)), words);
            }
        }
        for own in self.identities(user).await? {
            put("identity", own.to_string(), String::new());
        }
        let contacts = self.mirror.with(user, |p| p.contacts.clone()).unwrap_or_default();
        for (at, contact) in contacts {
            put("contact", shown(&at), contact.name.unwrap_or_default());
        }
        for at in self.mirror.with(user, |p| p.blocks.clone()).unwrap_or_default() {
            put("block", shown(&at), String::new());
        }
        Ok(all)
    }
}

fn state(row: &Row) -> Result<Line, StoreError> {
    let value = row.bytes(2)?;
    let size = format!("{} bytes", value.len());
    Ok((format!("{} {}", row.text(0)?, row.text(1)?), String::from_utf8(value).unwrap_or(size)))
}

fn waiting(row: &Row) -> Result<Line, StoreError> {
    Ok((time(row.int(1)?), row.text(2)?))
}

fn talk(row: &Row) -> Result<Line, StoreError> {
    let arrow = if row.int(3)? == 0 { "←" } else { "→" };
    Ok((format!("{} {arrow} {}", time(row.int(1)?), shown(&row.text(2)?)), row.text(4)?))
}

/// A message of a held network: what either side calls it, and what became of it.
fn mapped(row: &Row) -> Result<Line, StoreError> {
    let names: Vec<String> = [row.opt_text(3)?, row.opt_text(5)?].into_iter().flatten().collect();
    let ended = row.opt_text(4)?.map(|ended| format!(" {ended}")).unwrap_or_default();
    Ok((format!("{} {}", time(row.int(1)?), row.text(2)?), names.join(" = ") + &ended))
}

fn name(row: &Row) -> Result<Line, StoreError> {
    Ok((
        format!("{} {}", time(row.int(1)?), apart::shown(&row.text(2)?)),
        format!("{} = {}", row.text(3)?, row.text(4)?),
    ))
}

fn reaction(row: &Row) -> Result<Line, StoreError> {
    Ok((format!("{} {} {}", time(row.int(2)?), apart::shown(&row.text(0)?), row.text(1)?), row.text(3)?))
}

fn file(row: &Row) -> Result<Line, StoreError> {
    Ok((format!("{} {}", time(row.int(2)?), row.text(0)?), format!("{} bytes", row.int(3)?)))
}

fn room(row: &Row) -> Result<Line, StoreError> {
    let nick = row.opt_text(3)?.unwrap_or_default();
    Ok((format!("{} {} {nick}", time(row.int(2)?), apart::shown(&row.text(0)?)), row.text(4)?))
}
