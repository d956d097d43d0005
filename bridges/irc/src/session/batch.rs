//! Lines that the server has put together (IRCv3 `batch`): answers to a label, one message of many lines, what was said before, netsplits.

use isthmus_bridge::{RoomId, Text};

use super::Session;
use crate::proto::line::Line;
use crate::proto::time;

/// Batches that are open at once; of more than these the oldest is forgotten, and its lines count one by one.
const MAX_OPEN: usize = 16;
/// Bytes of one message of many lines; what is beyond them is left out.
const MAX_TEXT: usize = 64 * 1024;

/// An open batch.
#[derive(Debug)]
pub(crate) struct Batch {
    reference: Box<str>,
    /// The label that it answers, its own or its parent's; 0: none.
    label: u32,
    /// It belongs to what was said before.
    backlog: bool,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    /// Each line says enough.
    Lines,
    /// One message (`draft/multiline`): the line that opened it, and the words so far.
    Message { head: String, text: String, lines: u32, notice: bool },
    /// What was said before in a room or by somebody (`chathistory`), and how many messages of it have come.
    History { folded: Box<str>, lines: u32 },
    /// With whom there was talk (`draft/chathistory-targets`).
    Targets,
    /// Servers that part or meet again, and how many people of each room it concerns.
    Net { split: bool, servers: String, rooms: Vec<(RoomId, u32)> },
}

impl Session {
    /// A line of a batch, or about one; `true`: there is nothing left to do with it.
    pub(super) fn in_batch(&mut self, line: &Line<'_>) -> bool {
        if line.command.eq_ignore_ascii_case("BATCH") {
            match line.param(0).split_at_checked(1) {
                Some(("+", reference)) => self.batch_opens(reference, line),
                Some(("-", reference)) => self.batch_ends(reference),
                _ => {}
            }
            return true;
        }
        let Some(reference) = line.tag("batch") else { return false };
        let Some(link) = &mut self.link else { return false };
        let Some(batch) = link.batches.iter_mut().flat_map(|all| all.iter_mut()).find(|b| *b.reference == *reference)
        else {
            return false;
        };
        self.label = batch.label;
        self.backlog = batch.backlog;
        match &mut batch.kind {
            Kind::Lines | Kind::Targets => false,
            Kind::Message { text, lines, notice, .. } => {
                let concat = line.tag("draft/multiline-concat").is_some() || line.tag("multiline-concat").is_some();
                *notice |= line.command.eq_ignore_ascii_case("NOTICE");
                if text.len() + line.param(1).len() < MAX_TEXT {
                    if *lines > 0 && !concat {
                        text.push('\n');
                    }
                    text.push_str(line.param(1));
                }
                *lines += 1;
                true
            }
            Kind::History { .. } => {
                self.count_history(line);
                false
            }
            Kind::Net { .. } => {
                self.folds = true;
                false
            }
        }
    }

    /// A message of what was said before: a line, or a batch of lines.
    fn count_history(&mut self, line: &Line<'_>) {
        let Some(reference) = line.tag("batch") else { return };
        // What is told beside them counts not, and may have happened much later (`draft/message-redaction`, `draft/chathistory`).
        if line.command.eq_ignore_ascii_case("REDACT") || line.tag("draft/chathistory-context").is_some() {
            return;
        }
        let Some(link) = &mut self.link else { return };
        let batch = link.batches.iter_mut().flat_map(|all| all.iter_mut()).find(|b| *b.reference == *reference);
        let Some(Batch { kind: Kind::History { folded, lines }, .. }) = batch else { return };
        *lines += 1;
        if let Some(at) = line.tag("time").and_then(|t| time::server_time(&t)) {
            let folded = folded.clone();
            self.talk_goes_on(&folded, at);
        }
    }

    /// Whether the line belongs to what was said before, as the server was asked for it.
    pub(super) fn is_history(&self, line: &Line<'_>) -> bool {
        let Some(reference) = line.tag("batch") else { return false };
        let open = self.link.iter().filter_map(|link| link.batches.as_deref()).flatten();
        open.into_iter().any(|b| *b.reference == *reference && matches!(b.kind, Kind::History { .. }))
    }

    /// After a line of a batch was handled.
    pub(super) fn count_touched(&mut self, line: &Line<'_>) {
        self.folds = false;
        let touched = std::mem::take(&mut self.rare().touched);
        let Some(reference) = line.tag("batch") else { return };
        let Some(link) = &mut self.link else { return };
        let Some(batch) = link.batches.iter_mut().flat_map(|all| all.iter_mut()).find(|b| *b.reference == *reference)
        else {
            return;
        };
        let Kind::Net { rooms, .. } = &mut batch.kind else { return };
        for room in touched {
            match rooms.iter_mut().find(|(known, _)| *known == room) {
                Some((_, count)) => *count += 1,
                None => rooms.push((room, 1)),
            }
        }
    }

    fn batch_opens(&mut self, reference: &str, line: &Line<'_>) {
        let target = line.param(2);
        let folded = self.people.fold(target);
        // What a server plays of itself is news to whoever enters, and none to who was only cut off.
        let has_gap = self.rooms.get(folded.as_str()).is_some_and(|r| r.gap.is_some_and(|gap| gap.may_close()));
        let has_talk = self.fetches_talk(&folded);
        self.count_history(line);
        let Some(link) = &mut self.link else { return };
        let parent = line.tag("batch");
        let parent = parent.and_then(|p| link.batches.iter().flat_map(|all| all.iter()).find(|b| *b.reference == *p));
        let (label, mut backlog) = parent.map_or((0, false), |p| (p.label, p.backlog));
        let label = label_of(line).unwrap_or(label);
        let kind = match line.param(1) {
            "draft/multiline" | "multiline" => {
                Kind::Message { head: line.whole().to_owned(), text: String::new(), lines: 0, notice: false }
            }
            "chathistory" if has_gap => {
                backlog = true;
                Kind::History { folded: folded.into(), lines: 0 }
            }
            "chathistory" if has_talk => Kind::History { folded: folded.into(), lines: 0 },
            "draft/chathistory-targets" => Kind::Targets,
            kind @ ("netsplit" | "netjoin") => {
                Kind::Net { split: kind == "netsplit", servers: line.words(2), rooms: Vec::new() }
            }
            _ => Kind::Lines,
        };
        let open = link.batches.get_or_insert_default();
        if open.len() >= MAX_OPEN {
            open.remove(0);
        }
        open.push(Batch { reference: reference.into(), label, backlog, kind });
    }

    fn batch_ends(&mut self, reference: &str) {
        let Some(link) = &mut self.link else { return };
        let Some(open) = &mut link.batches else { return };
        let Some(at) = open.iter().position(|b| *b.reference == *reference) else { return };
        let batch = open.remove(at);
        if open.is_empty() {
            link.batches = None;
        }
        match batch.kind {
            Kind::Lines => {}
            Kind::Targets => self.targets_end(),
            Kind::Message { head, text, lines, notice } => {
                (self.label, self.backlog) = (batch.label, batch.backlog);
                if let Some(head) = Line::parse(&head).filter(|_| lines > 0) {
                    self.on_words(&head.saying(if notice { "NOTICE" } else { "PRIVMSG" }, head.param(2), &text));
                }
            }
            Kind::History { folded, lines } => self.history_ends(&folded, lines),
            Kind::Net { split, servers, rooms } => {
                for (room, count) in rooms {
                    let key = if split { "netsplit" } else { "netjoin" };
                    let text = Text::key(key).with("servers", &servers).with("count", count);
                    self.notice_from(isthmus_bridge::Address::Room(room), text);
                }
            }
        }
        // What answers a label with several lines has answered it now.
        if batch.label != 0 {
            self.answered(batch.label);
        }
    }
}

/// The label that a line repeats.
pub(super) fn label_of(line: &Line<'_>) -> Option<u32> {
    line.tag("label")?.parse().ok()
}
