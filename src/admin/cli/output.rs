//! Standard output: lines for people, or one JSON value for programs.

use std::io::{self, Write};

use isthmus_bridge::ConfigError;
use serde::Serialize;
use serde_json::json;

use super::Exit;
use crate::admin::control::{
    Acted, AskError, ContactRow, FindingRow, QueueRow, Rotated, SendAnswer, Severity, Status, UserRow,
};

/// Where a verb's answer goes.
#[derive(Debug)]
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether programs read it.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    /// A line for people.
    pub(super) fn line(&mut self, line: impl AsRef<str>) {
        // A reader that has gone away (`| head`) is no fault of ours.
        let _ = writeln!(io::stdout().lock(), "{}", plain(line.as_ref()));
    }

    /// A value for programs.
    fn value(&mut self, value: impl Serialize) {
        if let Ok(text) = serde_json::to_string_pretty(&value) {
            let _ = writeln!(io::stdout().lock(), "{text}");
        }
    }

    /// An answer that is JSON already.
    pub(super) fn json(&mut self, value: &serde_json::Value) -> Exit {
        self.value(value);
        Exit::Good
    }

    /// What was wrong, for people on standard error, for programs as `{"error": …}`.
    pub(super) fn failed(&mut self, sentence: impl AsRef<str>, exit: Exit) -> Exit {
        if self.json {
            self.value(json!({"error": sentence.as_ref()}));
        } else {
            let _ = writeln!(io::stderr().lock(), "isthmus: {}", plain(sentence.as_ref()));
        }
        exit
    }

    /// A question to the running instance that was not answered as hoped.
    pub(super) fn not_answered(&mut self, error: &AskError) -> Exit {
        let exit = if matches!(error, AskError::Refused(_)) { Exit::Fault } else { Exit::Instance };
        self.failed(error.to_string(), exit)
    }

    /// All faults of the configuration.
    pub(super) fn faults(&mut self, faults: &[ConfigError]) -> Exit {
        if self.json {
            let rows: Vec<_> =
                faults.iter().map(|f| json!({"file": f.file, "line": f.line, "key": f.key, "what": f.what})).collect();
            self.value(json!({"configuration": rows}));
        } else {
            let mut err = io::stderr().lock();
            for fault in faults {
                let _ = writeln!(err, "{}", plain(&fault.to_string()));
            }
            let many = if faults.len() == 1 { "1 fault".to_owned() } else { format!("{} faults", faults.len()) };
            let _ = writeln!(err, "isthmus: the configuration has {many}");
        }
        Exit::Config
    }

    pub(super) fn version(&mut self) -> Exit {
        if self.json {
            self.value(json!({"version": crate::version()}));
        } else {
            self.line(format!("isthmus {}", crate::version()));
        }
        Exit::Good
    }

    /// Done, with nothing more to say than this.
    pub(super) fn done(&mut self, sentence: &str) -> Exit {
        if self.json {
            self.value(json!({"done": sentence}));
        } else {
            self.line(sentence);
        }
        Exit::Good
    }

    pub(super) fn sent(&mut self, answer: &SendAnswer) -> Exit {
        if self.json {
            self.value(answer);
        } else {
            self.line(match &answer.id {
                Some(id) => format!("{} (id {id})", answer.state),
                None => answer.state.clone(),
            });
        }
        Exit::Good
    }

    pub(super) fn acted(&mut self, acted: &Acted) -> Exit {
        if self.json {
            self.value(acted);
            return Exit::Good;
        }
        for note in &acted.notes {
            for line in note.lines() {
                self.line(plain(line));
            }
        }
        if !acted.columns.is_empty() {
            let head: Vec<&str> = acted.columns.iter().map(String::as_str).collect();
            self.table(&head, acted.rows.clone());
        }
        Exit::Good
    }

    pub(super) fn rotated(&mut self, rotated: &Rotated) -> Exit {
        if self.json {
            self.value(rotated);
        } else {
            self.line(format!("the new key is {}; secrets sealed again: {}", rotated.id, rotated.sealed));
            if rotated.damaged > 0 {
                self.line(format!("secrets that could not be opened, and stay as they are: {}", rotated.damaged));
            }
        }
        Exit::Good
    }

    pub(super) fn status(&mut self, status: &Status) -> Exit {
        if self.json {
            self.value(status);
            return Exit::Good;
        }
        let up = status.uptime_seconds;
        let (days, hours, minutes) = (up / 86_400, up / 3600 % 24, up / 60 % 60);
        self.line(format!(
            "isthmus {} runs as process {} since {days}d {hours}h {minutes}m",
            status.version, status.pid
        ));
        let rows = status
            .bridges
            .iter()
            .map(|b| {
                let state = if b.attached { "attached".to_owned() } else { "NOT ATTACHED".to_owned() };
                let state = b.detail.as_ref().map_or(state.clone(), |d| format!("{state}: {d}"));
                vec![
                    b.name.clone(),
                    b.kind.clone(),
                    b.domain.clone(),
                    b.sessions.to_string(),
                    b.waiting.to_string(),
                    state,
                ]
            })
            .collect();
        self.table(&["bridge", "kind", "domain", "sessions", "waiting", "state"], rows);
        Exit::Good
    }

    pub(super) fn users(&mut self, users: &[UserRow]) -> Exit {
        if self.json {
            self.value(users);
            return Exit::Good;
        }
        let rows = users
            .iter()
            .map(|u| {
                vec![
                    u.bridge.clone(),
                    u.user.clone(),
                    u.own.clone().unwrap_or_default(),
                    u.since.map_or(String::new(), when),
                ]
            })
            .collect();
        self.table(&["bridge", "user", "is there", "since"], rows);
        Exit::Good
    }

    pub(super) fn contacts(&mut self, contacts: &[ContactRow]) -> Exit {
        if self.json {
            self.value(contacts);
            return Exit::Good;
        }
        let row = |c: &ContactRow| {
            let sees = match (c.sees, c.seen) {
                (true, true) => "each other",
                (true, false) => "the user sees it",
                (false, true) => "it sees the user",
                (false, false) => "",
            };
            let name = c.name.clone().unwrap_or_default();
            vec![c.bridge.clone(), c.user.clone(), c.address.clone(), name, sees.to_owned()]
        };
        self.table(&["bridge", "user", "contact", "name", "presence"], contacts.iter().map(row).collect());
        Exit::Good
    }

    pub(super) fn queue(&mut self, queue: &[QueueRow]) -> Exit {
        if self.json {
            self.value(queue);
            return Exit::Good;
        }
        let rows = queue
            .iter()
            .map(|q| {
                let next = q.next.map_or(String::new(), when);
                let reason = q.reason.clone().unwrap_or_default();
                vec![
                    q.id.clone(),
                    q.bridge.clone(),
                    q.user.clone(),
                    q.to.join(", "),
                    q.state.clone(),
                    q.attempts.to_string(),
                    when(q.at),
                    next,
                    reason,
                ]
            })
            .collect();
        self.table(&["id", "bridge", "user", "to", "state", "tries", "since", "next", "reason"], rows);
        Exit::Good
    }

    /// What `check` found; the worst of it decides the exit code.
    pub(super) fn findings(&mut self, findings: &[FindingRow], by: &str) -> Exit {
        let worst = findings.iter().map(|f| f.severity).max().unwrap_or(Severity::Good);
        if self.json {
            self.value(json!({"asked": by, "good": worst < Severity::Fault, "findings": findings}));
        } else {
            for finding in findings {
                self.line(finding_line(finding));
            }
            let count = |s| findings.iter().filter(|f| f.severity == s).count();
            let (faults, warnings) = (count(Severity::Fault), count(Severity::Warning));
            self.line(format!("{by}: {} looked at, faults: {faults}, warnings: {warnings}", findings.len()));
        }
        if worst < Severity::Fault { Exit::Good } else { Exit::Fault }
    }

    fn table(&mut self, head: &[&str], rows: Vec<Vec<String>>) {
        let mut all: Vec<Vec<String>> = vec![head.iter().map(|h| (*h).to_owned()).collect()];
        all.extend(rows.into_iter().map(|r| r.iter().map(|c| plain(c)).collect()));
        let width = |i: usize| all.iter().map(|r| r.get(i).map_or(0, |c| c.chars().count())).max().unwrap_or(0);
        let widths: Vec<usize> = (0..head.len()).map(width).collect();
        for row in all {
            let cells: Vec<String> = row.iter().zip(&widths).map(|(c, w)| format!("{c:w$}")).collect();
            self.line(cells.join("  ").trim_end());
        }
    }
}

fn finding_line(finding: &FindingRow) -> String {
    let word = match finding.severity {
        Severity::Good => "good   ",
        Severity::Warning => "warning",
        Severity::Fault => "FAULT  ",
    };
    let bridge = finding.bridge.as_ref().map(|b| format!("{b}: ")).unwrap_or_default();
    let remedy = finding.remedy.as_ref().map(|r| format!("\n         → {}", plain(r))).unwrap_or_default();
    let what = plain(&finding.what);
    format!("{word}  {bridge}{what}{remedy}")
}

/// Nothing that came from outside may move the cursor or colour the terminal. Line ends of our own stay.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{FFFD}' } else { c }).collect()
}

/// `2026-11-22 04:05 UTC`, of milliseconds since the epoch.
fn when(millis: i64) -> String {
    let minutes = millis.div_euclid(60_000);
    let (days, minute) = (minutes.div_euclid(1440), minutes.rem_euclid(1440));
    let (year, month, day) = civil(days);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02} UTC", minute / 60, minute % 60)
}

/// Year, month, day of a number of days since 1970-01-01 (Howard Hinnant's algorithm).
fn civil(days: i64) -> (i64, i64, i64) {
    let z = days + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    (yoe + era * 400 + i64::from(month <= 2), month, doy - (153 * mp + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_for_people() {
        let table = [
            (0, "1970-01-01 00:00 UTC"),
            (951_782_400_000, "2000-02-29 00:00 UTC"),
            (1_795_320_300_000, "2026-11-22 04:05 UTC"),
            (-60_000, "1969-12-31 23:59 UTC"),
        ];
        for (millis, text) in table {
            assert_eq!(when(millis), text);
        }
    }

    #[test]
    fn nothing_moves_the_cursor() {
        assert_eq!(plain("a\u{1b}[2Jb\r\nc"), "a\u{FFFD}[2Jb\u{FFFD}\nc");
    }
}
