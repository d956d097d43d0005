//! A room's configuration as a form (XEP-0045 section 10.2): the bridge names fields and values, this says what kind of field each is.

use isthmus_bridge::{Field, FieldKind, Values};

/// The form of a room's configuration.
pub const ROOMCONFIG: &str = "http://jabber.org/protocol/muc#roomconfig";
/// The room's password; never shown.
const SECRET: &str = "muc#roomconfig_roomsecret";

/// The fields of what a bridge says of a room.
pub fn fields(config: &Values) -> Vec<Field> {
    config.iter().map(|(key, values)| field(key, values)).collect()
}

fn field(key: &str, values: &[String]) -> Field {
    let first = values.first().map(String::as_str).unwrap_or_default();
    let kind = match key {
        SECRET => FieldKind::Secret,
        _ if matches!(first, "true" | "false") => FieldKind::Bool,
        _ => FieldKind::Line,
    };
    let mut field = Field::new(key, kind);
    if field.kind != FieldKind::Secret {
        field.value = values.to_vec();
    }
    field
}

/// What of a filled-in form is for the bridge: all that it named. A password that is left empty stays what it is.
pub fn answers(config: &Values, given: &Values) -> Values {
    let mut answers = Values::new();
    for (key, _) in config.iter() {
        let values = given.all(key);
        if values.is_empty() || (key == SECRET && values.iter().all(String::is_empty)) {
            continue;
        }
        let bool = matches!(config.get(key), Some("true" | "false"));
        match given.bool(key).filter(|_| bool) {
            Some(on) => answers.set(key, on.to_string()),
            None => answers.set_all(key, values.to_vec()),
        }
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_have_their_kinds_and_answers_are_those_of_the_form() {
        let config = Values::new()
            .with("muc#roomconfig_moderatedroom", "false")
            .with("muc#roomconfig_maxusers", "10")
            .with(SECRET, "hush");
        let kinds: Vec<_> = fields(&config).into_iter().map(|f| f.kind).collect();
        assert_eq!(kinds, [FieldKind::Line, FieldKind::Bool, FieldKind::Secret]);
        let given = Values::new().with("muc#roomconfig_moderatedroom", "1").with(SECRET, "").with("other", "x");
        assert_eq!(answers(&config, &given), Values::new().with("muc#roomconfig_moderatedroom", "true"));
    }
}
