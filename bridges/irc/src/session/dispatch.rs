//! A line from the server → who handles it.

use isthmus_bridge::Text;

use super::Session;
use super::batch::label_of;
use crate::proto::line::Line;
use crate::proto::write;
use crate::settings;
use crate::translate::encoding;

impl Session {
    /// A line of bytes: what is not UTF-8 is read as the user says for the room or the network.
    pub(super) fn on_text(&mut self, bytes: &[u8]) {
        let text = encoding::decode(bytes, || {
            // Who is spoken to stands in ASCII before the words (in numerics behind our nick); it decides how they are read.
            let rough = String::from_utf8_lossy(bytes);
            let named = |name: &str| self.room(self.link.as_ref().map_or(name, |l| l.server.without_status(name)));
            let target = Line::parse(&rough).and_then(|line| (0..3).find_map(|at| named(line.param(at))));
            let settings = target.map_or(&self.settings, |room| &room.settings);
            encoding::named(settings.str(settings::ENCODING_IN))
        });
        if let Some(line) = Line::parse(&text) {
            self.on_line(&line);
        }
    }

    fn on_line(&mut self, line: &Line<'_>) {
        if !line.is_tagged() {
            return self.on_command(line);
        }
        self.label = label_of(line).unwrap_or_default();
        if !self.in_batch(line) {
            self.on_command(line);
            if self.folds {
                self.count_touched(line);
            }
        }
        (self.label, self.backlog) = (0, false);
    }

    fn on_command(&mut self, line: &Line<'_>) {
        if let Ok(number) = line.command.parse::<u16>() {
            return self.on_number(line, number);
        }
        // Servers write commands in capitals.
        let small = line.command.bytes().any(|b| b.is_ascii_lowercase());
        let capitals = small.then(|| line.command.to_ascii_uppercase());
        match capitals.as_deref().unwrap_or(line.command) {
            "PRIVMSG" | "NOTICE" => self.on_words(line),
            "PING" => self.on_ping(line),
            "JOIN" => self.on_join(line),
            "PART" => self.on_part(line),
            "QUIT" => self.on_quit(line),
            "NICK" => self.on_nick(line),
            "MODE" => self.on_mode(line),
            "KICK" => self.on_kick(line),
            "TOPIC" => self.on_topic(line),
            "AWAY" => self.on_away(line),
            "ACCOUNT" | "CHGHOST" => self.on_person(line),
            "INVITE" => self.on_invite(line),
            "ERROR" => self.on_error(line),
            "KILL" => self.on_kill(line),
            "CAP" => {
                self.show_typed(line, "CAP");
                self.on_cap(line);
            }
            "AUTHENTICATE" => self.on_authenticate(line),
            "TAGMSG" => self.on_tags(line),
            "WALLOPS" => self.on_wallops(line),
            "FAIL" | "WARN" | "NOTE" => self.on_standard_reply(line),
            "REDACT" => self.on_redact(line),
            "MARKREAD" => self.on_read_marker(line),
            "RENAME" => self.on_rename(line),
            "CHATHISTORY" => self.on_target(line),
            "BATCH" => {
                self.in_batch(line);
                (self.label, self.backlog) = (0, false);
            }
            "ACK" => self.answered(self.label),
            "PONG" if self.on_come(line) => {}
            "PONG" => {
                self.show_typed(line, "PING");
                self.on_pong(line);
            }
            // A name that is not shown.
            "SETNAME" => {}
            _ => self.server_says(line.source.0, &format!("{} {}", line.command, line.words(0))),
        }
    }

    fn on_number(&mut self, line: &Line<'_>, number: u16) {
        match number {
            1 => self.on_welcome(line),
            5 => self.on_isupport(line),
            301 => self.on_away_words(line),
            324 => self.on_modes_are(line),
            331 | 332 => self.on_topic_is(line),
            333 => self.on_topic_by(line),
            353 => self.on_names(line),
            366 => self.on_names_end(line),
            376 => self.on_ready_to_go(),
            900 => {
                self.server_says(line.source.0, line.last());
                self.on_logged_in(false);
            }
            903 | 907 => {
                self.show_typed(line, "AUTHENTICATE");
                self.on_logged_in(true);
            }
            902 | 904..=906 | 908 => self.on_login_refused(line),
            number => self.on_numeric(line, number),
        }
    }

    fn on_ping(&mut self, line: &Line<'_>) {
        if let Some(link) = &mut self.link {
            link.now(&write::text("PONG", &[], line.last().as_bytes()));
        }
        self.ask_again();
        self.ask_who_again();
        self.ask_history_again();
    }

    /// The server says why it is about to close.
    fn on_error(&mut self, line: &Line<'_>) {
        if let Some(link) = &mut self.link {
            link.error = Some(line.last().into());
        }
    }

    fn on_kill(&mut self, line: &Line<'_>) {
        let text = Text::key("killed").with("by", line.source.nick()).with("why", encoding::clean(line.last()));
        self.notice(text);
    }

    fn on_wallops(&mut self, line: &Line<'_>) {
        self.server_says(line.source.nick(), &format!("WALLOPS {}", line.last()));
    }

    fn on_login_refused(&mut self, line: &Line<'_>) {
        if self.link.as_ref().is_some_and(|l| l.phase != super::Phase::Registering) {
            return self.show(line); // tried by hand
        }
        // 908 only names the mechanisms; 904 follows it.
        if line.command != "908" {
            self.login_failed(Text::key("login-refused").with("why", encoding::clean(line.last())));
        }
    }
}
