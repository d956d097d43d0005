//! Changes of a channel's modes: `+ov-k ann bob key` → one change at a time.

use super::isupport::{Isupport, ModeKind};

/// One change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Change<'a> {
    pub(crate) on: bool,
    pub(crate) mode: char,
    pub(crate) kind: ModeKind,
    pub(crate) param: Option<&'a str>,
}

/// The changes of a MODE line: `words` begins with the letters.
pub(crate) fn changes<'a>(server: &Isupport, words: &[&'a str]) -> Vec<Change<'a>> {
    let Some((letters, params)) = words.split_first() else { return Vec::new() };
    // What stands behind a colon may hold spaces; a mode's parameter cannot.
    let mut params = params.iter().map(|p| p.split(' ').next().unwrap_or_default());
    let mut on = true;
    let mut all = Vec::new();
    for mode in letters.chars() {
        match mode {
            '+' => on = true,
            '-' => on = false,
            mode if !mode.is_ascii_alphanumeric() => {}
            mode => {
                let kind = server.kind(mode);
                let takes = match kind {
                    ModeKind::List | ModeKind::Always | ModeKind::Rank => true,
                    ModeKind::WhenSet => on,
                    ModeKind::Never => false,
                };
                let param = if takes { params.next().filter(|p| !p.is_empty()) } else { None };
                all.push(Change { on, mode, kind, param });
            }
        }
    }
    all
}

/// A channel's modes after a change, as the network writes them: `+klnt key 10`.
pub(crate) fn apply(modes: &str, change: &Change<'_>, server: &Isupport) -> String {
    if matches!(change.kind, ModeKind::List | ModeKind::Rank) {
        return modes.to_owned();
    }
    let words: Vec<&str> = modes.split(' ').filter(|w| !w.is_empty()).collect();
    let mut set: Vec<(char, Option<String>)> =
        changes(server, &words).iter().map(|c| (c.mode, c.param.map(str::to_owned))).collect();
    set.retain(|(mode, _)| *mode != change.mode);
    if change.on {
        // A key that the server does not tell: its place is kept, else the next mode's parameter would become its.
        let hidden = || matches!(change.kind, ModeKind::Always | ModeKind::WhenSet).then(|| "*".to_owned());
        set.push((change.mode, change.param.map(str::to_owned).or_else(hidden)));
        set.sort_by_key(|(mode, _)| *mode);
    }
    let letters: String = set.iter().map(|(mode, _)| *mode).collect();
    if letters.is_empty() {
        return String::new();
    }
    set.into_iter().filter_map(|(_, param)| param).fold(format!("+{letters}"), |all, param| format!("{all} {param}"))
}

/// Whether a mode is set; its parameter is `Some("")` where it has none.
pub(crate) fn get<'a>(modes: &'a str, mode: char, server: &Isupport) -> Option<&'a str> {
    let words: Vec<&str> = modes.split(' ').filter(|w| !w.is_empty()).collect();
    changes(server, &words).iter().find(|c| c.mode == mode && c.on).map(|c| c.param.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_as_many_changes_as_letters() {
        let server = Isupport::default();
        let seen: Vec<(bool, char, Option<&str>)> =
            changes(&server, &["+ov-lk+m", "ann", "bob", "key"]).iter().map(|c| (c.on, c.mode, c.param)).collect();
        let expected = [
            (true, 'o', Some("ann")),
            (true, 'v', Some("bob")),
            (false, 'l', None),
            (false, 'k', Some("key")),
            (true, 'm', None),
        ];
        assert_eq!(seen, expected);
        assert!(changes(&server, &[]).is_empty());
        assert_eq!(changes(&server, &["+o"])[0].param, None, "a parameter may be missing");
        let odd: Vec<(char, Option<&str>)> =
            changes(&server, &["+ !k@", "a b"]).iter().map(|c| (c.mode, c.param)).collect();
        assert_eq!(odd, [('k', Some("a"))], "letters are letters, and a parameter is a word");
    }

    #[test]
    fn modes_are_kept_as_the_network_writes_them() {
        let server = Isupport::default();
        let mut modes = "+nt".to_owned();
        for words in [["+k", "key"], ["+l", "10"], ["-n", ""], ["+o", "ann"], ["+b", "*!*@x"]] {
            for change in changes(&server, &words) {
                modes = apply(&modes, &change, &server);
            }
        }
        assert_eq!(modes, "+klt key 10");
        assert_eq!(
            (get(&modes, 'k', &server), get(&modes, 't', &server), get(&modes, 'n', &server)),
            (Some("key"), Some(""), None)
        );
        for change in changes(&server, &["-klt", "key"]) {
            modes = apply(&modes, &change, &server);
        }
        assert_eq!(modes, "");
    }
}
