//! What `isthmus check` says of privileges (XEP-0356): what is granted, and for what is not, the line of the server's configuration that is missing.

use super::control::FindingRow;
use crate::xmpp::ns;
use crate::xmpp::privilege::{Grants, Version};

/// Findings for one bridge's domain; `granted`: by server.
pub(crate) fn findings(bridge: &str, domain: &str, granted: &[(String, Grants)]) -> Vec<FindingRow> {
    if granted.is_empty() {
        return vec![FindingRow::warning(
            Some(bridge),
            "the server grants no privileges (XEP-0356): contacts do not appear in rosters by themselves, nor what users send by other means on their devices",
            format!("{}; {}", prosody(domain), ejabberd(domain)),
        )];
    }
    granted.iter().flat_map(|(server, grants)| of_server(bridge, domain, server, grants)).collect()
}

fn of_server(bridge: &str, domain: &str, server: &str, grants: &Grants) -> Vec<FindingRow> {
    let words = grants.words();
    let mut rows = vec![FindingRow::good(Some(bridge), format!("{server} grants {}", words.join(", ")))];
    let prosody = grants.version == Version::Two;
    let lacks = |rows: &mut Vec<FindingRow>, what: &str, prosody_line: String, ejabberd_line: &str| {
        let line = if prosody {
            format!(
                "in Prosody, below VirtualHost {server:?}, privileged_entities = {{ [{domain:?}] = {{ {prosody_line} }} }}"
            )
        } else {
            format!("in ejabberd, modules: mod_privilege: {ejabberd_line}, for an acl with server: {domain:?}")
        };
        rows.push(FindingRow::warning(Some(bridge), format!("{server} does not grant {what}"), line));
    };
    if grants.roster_fails {
        rows.push(FindingRow::warning(
            Some(bridge),
            format!("{server} grants rosters and fails at writing them: contacts reach them by exchange (XEP-0144) or subscription requests"),
            "a fault of ejabberd 23.01, whose mod_roster looks for its own options at the component's domain; a later ejabberd may not have it",
        ));
    } else if !(grants.roster_get && grants.roster_set) {
        lacks(
            &mut rows,
            "rosters: contacts do not appear in them by themselves",
            "roster = \"both\"".to_owned(),
            "roster: both: gateway",
        );
    }
    if !grants.message {
        lacks(
            &mut rows,
            "messages: what users send by other means is not on their devices",
            "message = \"outgoing\"".to_owned(),
            "message: outgoing: gateway",
        );
    }
    if grants.presence.is_none() {
        lacks(
            &mut rows,
            "presence: it is known only of users who have shown it",
            "presence = \"roster\"".to_owned(),
            "presence: roster: gateway",
        );
    }
    if prosody && !grants.iq(ns::BLOCKING, false) {
        lacks(
            &mut rows,
            "block lists: whom users block at the server is not known to the gateway",
            format!("iq = {{ [{:?}] = \"get\" }}", ns::BLOCKING),
            "",
        );
    }
    if !prosody {
        rows.push(FindingRow::good(
            Some(bridge),
            format!("{server} knows no privileged iqs (urn:xmpp:privilege:1): block lists of users are not available; users block by the command contacts"),
        ));
    }
    rows
}

fn prosody(domain: &str) -> String {
    format!(
        "in Prosody, modules_enabled = {{ \"privilege\" }} on the VirtualHost and on Component {domain:?}, and below the VirtualHost privileged_entities = \
         {{ [{domain:?}] = {{ roster = \"both\", message = \"outgoing\", presence = \"roster\", iq = {{ [{:?}] = \"get\" }} }} }}",
        ns::BLOCKING
    )
}

fn ejabberd(domain: &str) -> String {
    format!(
        "in ejabberd, mod_privilege with roster: both, message: outgoing, presence: roster for an acl with server: {domain:?}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn grants(version: Version) -> Grants {
        Grants {
            version,
            roster_get: true,
            roster_set: false,
            roster_fails: false,
            message: true,
            presence: None,
            iq: BTreeMap::new(),
        }
    }

    fn remedies(version: Version) -> Vec<String> {
        let rows = findings("mail", "mail.x", &[("x".to_owned(), grants(version))]);
        rows.into_iter().filter_map(|row| row.remedy).collect()
    }

    #[test]
    fn what_is_not_granted_has_its_line_in_the_servers_own_words() {
        let lines = remedies(Version::Two);
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].contains("privileged_entities = { [\"mail.x\"] = { roster = \"both\" } }"), "{lines:?}");
        assert!(lines[2].contains("iq = { [\"urn:xmpp:blocking\"] = \"get\" }"), "{lines:?}");
        let lines = remedies(Version::One);
        assert!(lines[0].contains("mod_privilege: roster: both: gateway"), "{lines:?}");
    }

    #[test]
    fn without_any_grant_both_servers_lines_are_named() {
        let rows = findings("mail", "mail.x", &[]);
        let remedy = rows[0].remedy.as_deref().unwrap_or_default();
        assert!(remedy.contains("Prosody") && remedy.contains("ejabberd"), "{remedy}");
    }
}
