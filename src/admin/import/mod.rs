//! `isthmus import <program>`: what another program has kept becomes ours. What rows mean is the kind's to say; reading and keeping is done here.
//!
//! | file | what |
//! |---|---|
//! | `source` | the other program's database |
//! | `lines` | what several users heard of a room → one log |

mod lines;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use isthmus_bridge::{Import, Imported, SourceTable, StoreError};
use serde::Serialize;

use self::lines::{Ready, Room};
use self::source::Source;
use super::records;
use crate::archive::{Archive, Line, Retention};
use crate::config::{BridgeConfig, Config};
use crate::storage::people::{self, People, Persons, Subscription};
use crate::storage::{Seal, Store};

/// What was taken over, and what was not.
#[derive(Debug, Default, Serialize)]
pub struct Report {
    /// The bridge that has it now.
    pub bridge: String,
    /// Whether nothing was written.
    pub dry_run: bool,
    /// Settings of users.
    pub settings: Count,
    /// Contacts that users see.
    pub contacts: Count,
    /// Users on networks whose rooms are entered again by themselves.
    pub rooms: Count,
    /// Lines of archives; of one that several users heard there is one.
    pub lines: Count,
    /// What was not taken.
    pub lost: Vec<Lost>,
    /// Users of servers that the access rules call foreign.
    pub foreign: Vec<String>,
}

/// How many of something.
#[derive(Debug, Default, Clone, Copy, Serialize, PartialEq, Eq)]
pub struct Count {
    /// Taken now.
    pub taken: u64,
    /// There already: from an earlier run, or chosen here by the user.
    pub present: u64,
}

impl Count {
    fn add(&mut self, fresh: bool) {
        *(if fresh { &mut self.taken } else { &mut self.present }) += 1;
    }
}

/// Something that was not taken.
#[derive(Debug, Serialize)]
pub struct Lost {
    /// What.
    pub what: String,
    /// Why.
    pub why: String,
    /// How often.
    pub times: u64,
}

/// Why an import ended; one sentence each, for the operator.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// The other database is not what it should be.
    #[error("{0}")]
    Source(String),
    /// Our own one failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own one, or the key of its secrets, cannot be opened.
    #[error("{0}")]
    Open(String),
}

/// Reads the database `from` into this bridge. With `dry_run` nothing is written.
///
/// # Errors
/// Nothing is wrong with what was taken before: a second run takes the rest.
pub async fn import(
    config: &Config,
    bridge: &BridgeConfig,
    what: &dyn Import,
    from: &str,
    dry_run: bool,
) -> Result<Report, ImportError> {
    let mut source = Source::open(from).await.map_err(ImportError::Source)?;
    let mut report = Report { bridge: bridge.name.clone(), dry_run, ..Report::default() };
    let mut unknown = Vec::new();
    for table in what.tables() {
        unknown.extend(columns(&mut source, what.program(), table).await.map_err(ImportError::Source)?);
    }
    let store = Store::open(records::how(config)).await.map_err(|e| ImportError::Open(e.to_string()))?;
    let taken = async {
        let seal = Seal::of(config).map_err(|e| ImportError::Open(e.to_string()))?;
        let served = people::Served {
            name: bridge.name.as_str().into(),
            bridge: bridge.bridge.clone(),
            scheme: bridge.scheme.clone(),
        };
        let people = People::open(store.clone(), Arc::new(seal), vec![served]).await?;
        let persons = people.of(&bridge.name).cloned().ok_or_else(|| ImportError::Open("no such bridge".to_owned()))?;
        let archive = Archive::new(store.clone(), &bridge.name);
        let mut taking = Taking {
            persons,
            archive,
            write: !dry_run,
            report: &mut report,
            lost: BTreeMap::new(),
            users: BTreeSet::new(),
            sizes: BTreeMap::new(),
            keep: config.archive,
            room: None,
        };
        for words in unknown {
            taking.lost.insert(words, 1);
        }
        read(&mut source, what, bridge, &mut taking).await?;
        taking.end();
        Ok::<(), ImportError>(())
    }
    .await;
    store.close().await;
    taken?;
    report.foreign.retain(|domain| !config.domains.contains(domain));
    Ok(report)
}

/// Looks whether a table is as the kind knows it; gives columns of which it knows nothing and in which something stands.
async fn columns(source: &mut Source, program: &str, table: &SourceTable) -> Result<Vec<(String, String)>, String> {
    let there = source.columns(table.name).await?;
    if there.is_empty() {
        return Err(format!("this is no database of {program}: it has no table {}", table.name));
    }
    let missing: Vec<&str> = table.columns.iter().filter(|c| !there.iter().any(|t| t == *c)).copied().collect();
    if !missing.is_empty() {
        return Err(format!(
            "the table {} has no column {}: was it written by another version of {program}? Its newest version brings it up to date when it starts",
            table.name,
            missing.join(", ")
        ));
    }
    let known = |c: &String| table.columns.contains(&c.as_str()) || table.ignored.contains(&c.as_str());
    let mut unknown = Vec::new();
    for column in there.iter().filter(|c| !known(c)) {
        let rows = source.filled(table.name, column).await?;
        if rows > 0 {
            let what = format!("the column {column} of {rows} rows of {}", table.name);
            unknown.push((what, "a column that this program does not know".to_owned()));
        }
    }
    Ok(unknown)
}

async fn read(
    source: &mut Source,
    what: &dyn Import,
    bridge: &BridgeConfig,
    taking: &mut Taking<'_>,
) -> Result<(), ImportError> {
    let mut reader = what.reader(bridge.bridge.addressing());
    // An error of ours must not become a sentence about the source.
    let mut failed = None;
    for table in what.tables() {
        let done = source.rows(table, async |rows| {
            let mut all = Vec::new();
            rows.iter().for_each(|row| reader.row(table.name, row, &mut all));
            taking.take(all).await.map_err(|e| {
                let words = e.to_string();
                failed = Some(e);
                words
            })
        });
        let done = done.await;
        if let Some(error) = failed {
            return Err(error);
        }
        done.map_err(|e| ImportError::Source(format!("{}: {e}", table.name)))?;
    }
    let mut rest = Vec::new();
    reader.end(&mut rest);
    taking.take(rest).await?;
    taking.end_room().await
}

struct Taking<'a> {
    persons: Arc<Persons>,
    archive: Archive,
    write: bool,
    report: &'a mut Report,
    lost: BTreeMap<(String, String), u64>,
    users: BTreeSet<String>,
    /// Lines of each room.
    sizes: BTreeMap<String, u64>,
    keep: Retention,
    room: Option<(Room, Ready)>,
}

/// Lines that are written at once.
const STEP: usize = 500;

impl Taking<'_> {
    async fn take(&mut self, all: Vec<Imported>) -> Result<(), ImportError> {
        for one in all {
            match one {
                Imported::Line { .. } => self.line(one).await?,
                other => self.kept(other).await?,
            }
        }
        Ok(())
    }

    async fn kept(&mut self, one: Imported) -> Result<(), ImportError> {
        match one {
            Imported::Setting { user, at, key, value } => {
                let fresh = !self.persons.chosen(&user, &at).contains_key(key);
                if fresh {
                    if let Some(why) =
                        self.persons.scheme().setting(key).and_then(|s| crate::settings::check(s, &value).err())
                    {
                        self.lose(format!("{user}: the setting {key}"), &format!("its value does not fit: {why}"));
                        return Ok(());
                    }
                    if self.write {
                        self.persons.set(&user, &at, vec![(key.to_owned(), Some(value))]).await?;
                    }
                }
                self.report.settings.add(fresh);
                self.users.insert(user.to_string());
            }
            Imported::Contact { user, at } => {
                let fresh = self.persons.contact(&user, &at).is_none_or(|c| c.sees != Subscription::Yes);
                if fresh && self.write {
                    self.persons.subscribe(&user, &at, Some(Subscription::Yes), None).await?;
                }
                self.report.contacts.add(fresh);
                self.users.insert(user.to_string());
            }
            Imported::State(change) => {
                let fresh = self.persons.load(&change.space, &change.key).await?.is_none();
                if fresh && self.write {
                    self.persons.store(vec![change]).await?;
                }
                self.report.rooms.add(fresh);
            }
            Imported::Lost { what, why } => self.lose(what, why),
            _ => {}
        }
        Ok(())
    }

    async fn line(&mut self, one: Imported) -> Result<(), ImportError> {
        let Imported::Line { user, room, at, nick, body, name } = one else { return Ok(()) };
        self.users.insert(user.to_string());
        if self.archive.now().duration_since(at).is_ok_and(|age| age > self.keep.keep_for) {
            self.lose(
                format!("lines of the archive of {room}"),
                &format!("older than the {} days that archives hold", days(self.keep.keep_for)),
            );
            return Ok(());
        }
        if self.room.as_ref().is_some_and(|(r, _)| r.room != room) {
            self.end_room().await?;
        }
        let (open, ready) = self.room.get_or_insert_with(|| (Room::new(room), Ready::default()));
        open.hears(user, at, nick, body, &name, ready);
        if ready.lines.len() >= STEP {
            let room = open.room.clone();
            let ready = std::mem::take(ready);
            self.keep(&room, ready).await?;
        }
        Ok(())
    }

    async fn end_room(&mut self) -> Result<(), ImportError> {
        let Some((mut room, mut ready)) = self.room.take() else { return Ok(()) };
        room.end(&mut ready);
        self.keep(&room.room, ready).await
    }

    async fn keep(&mut self, room: &isthmus_bridge::RoomId, ready: Ready) -> Result<(), ImportError> {
        let all = u64::try_from(ready.lines.len()).unwrap_or(u64::MAX);
        let size = self.sizes.entry(room.to_string()).or_default();
        *size = size.saturating_add(all);
        let lines = ready.lines.into_iter().map(|said| Line {
            id: said.id,
            at: said.at,
            nick: Some(said.nick),
            occupant: None,
            body: said.body,
            thread: None,
            payload: None,
            gone: None,
        });
        let fresh = self.archive.take_over(room, lines.collect(), ready.stays, self.write).await?;
        self.report.lines.taken += fresh;
        self.report.lines.present += all.saturating_sub(fresh);
        Ok(())
    }

    fn lose(&mut self, what: String, why: &str) {
        *self.lost.entry((what, why.to_owned())).or_default() += 1;
    }

    fn end(mut self) {
        for (room, size) in std::mem::take(&mut self.sizes) {
            let most = u64::from(self.keep.keep_lines);
            if most > 0 && size > most {
                let why = format!("an archive holds {most} lines of a room");
                self.lost.insert((format!("the oldest lines of {room}"), why), size - most);
            }
        }
        self.report.lost = self.lost.into_iter().map(|((what, why), times)| Lost { what, why, times }).collect();
        let domains: BTreeSet<&str> = self.users.iter().filter_map(|u| u.rsplit('@').next()).collect();
        self.report.foreign = domains.into_iter().map(str::to_owned).collect();
    }
}

fn days(time: Duration) -> u64 {
    time.as_secs() / 86_400
}
