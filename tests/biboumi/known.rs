//! The differences that are known. Each has its reason in `docs/from-biboumi.md`, under its key.

/// A difference.
pub(crate) struct Known {
    /// Its name in the documentation.
    pub(crate) key: &'static str,
    /// What biboumi has; nothing: it has nothing there.
    pub(crate) biboumi: &'static str,
    /// What we have; nothing: we have nothing there.
    pub(crate) ours: &'static str,
    /// Only in stanzas that hold this.
    pub(crate) when: &'static str,
    /// Where it occurs, and must occur. With [`ANYWHERE`] it may occur elsewhere, too.
    pub(crate) scenarios: &'static [&'static str],
}

/// In every scenario.
pub(crate) const ANYWHERE: &str = "*";

/// A pattern that is nowhere: what the other one has is replaced all the same.
const NEVER: &str = "\u{0}";

/// Something that biboumi alone has.
const fn theirs(key: &'static str, biboumi: &'static str, scenarios: &'static [&'static str]) -> Known {
    Known { key, biboumi, ours: "", when: "", scenarios }
}

/// Something that we alone have.
const fn ours(key: &'static str, ours: &'static str, scenarios: &'static [&'static str]) -> Known {
    Known { key, biboumi: "", ours, when: "", scenarios }
}

/// Something that both have, in different words.
const fn other(
    key: &'static str,
    biboumi: &'static str,
    ours: &'static str,
    scenarios: &'static [&'static str],
) -> Known {
    Known { key, biboumi, ours, when: "", scenarios }
}

impl Known {
    /// Only in stanzas that hold this.
    const fn when(self, when: &'static str) -> Self {
        Self { when, ..self }
    }
}

/// All of them; tried in this order. In a pattern `*` is any text up to what follows, `^` and `$` are the ends of the stanza.
pub(crate) const KNOWN: &[Known] = &[
    // Everywhere.
    ours("occupant-id", "<occupant-id xmlns='urn:xmpp:occupant-id:0' id='*'/>", &["*", "join"]),
    theirs("xhtml", "<html xmlns='http://jabber.org/protocol/xhtml-im'>*</html>", &["*", "join"]),
    other("message-ids", " to='*' type='chat'>", " id='~' to='*' type='chat'>", &["*", "join"]),
    other(
        "topic-time",
        " to='*' type='groupchat'><subject>",
        " to='*' type='groupchat'><delay xmlns='urn:xmpp:delay' from='*' stamp='~'/><subject>",
        &["*", "topic"],
    ),
    other("topic-time", NEVER, " id='~' to='*' type='groupchat'><subject>", &["*"]),
    theirs("status-210", "<status code='210'/>", &["*", "join"]),
    ours("status-210", "<status code='210'/>", &["*", "join"]),
    ours("actor", "<actor nick='*'/>", &["*", "kick", "modes"]),
    theirs("actor", "<actor jid='*' nick='*'/>", &["*", "kick"]),
    other("item-jid", " jid='*' role='", " jid='*' role='", &["*", "join"]),
    other("item-jid", " role='", " role='", &["*"]),
    other(
        "left-role",
        "<item last-affiliation='*' last-role='*'/>",
        "<item last-affiliation='*' last-role='*'/>",
        &["*", "leave"],
    ),
    ours("welcome", "^<message*<body>Welcome to *</message>$", &["*", "join"]),
    other("motd", "<body>- hello</body>", "<body>- ng.irc.test message of the day\n- hello</body>", &["*", "join"]),
    theirs("motd", "^<message*: Message of the day file is missing.*</message>$", &["*", "inspircd_join"]),
    other("user-counts", "ng.irc.test: * * Current ", "ng.irc.test: Current ", &["*", "join"]),
    ours("caps", "<c xmlns='http://jabber.org/protocol/caps'*/>", &["*", "roster"]),
    ours("caps", "<x xmlns='vcard-temp:x:update'>*</x>", &["*", "roster"]),
    // Errors.
    other("error-by", "<error by='*' ", "<error ", &["*", "refusals"]),
    other("error-by", "<error ", NEVER, &["*"]),
    theirs("error-words", "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>*</text>", &["*", "devices"]),
    ours("error-words", "<text xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'>*</text>", &["*", "devices"]),
    // Rooms.
    theirs("leaving-note", "<status>Biboumi note: 1 resources are still in this channel.</status>", &["devices"]),
    theirs("own-codes", "<status code='100'/>", &["nicks"]).when("Montague"),
    ours("own-codes", "<status code='110'/>", &["modes"]).when("participant'></item><status code='110'/>"),
    ours("room-changed", "^<message*<status code='104'/></x></message>$", &["modes", "topic"]),
    other("user-mode", "User mode for romeo is [+w]", "Mode romeo [+w] by romeo", &["modes"]),
    other("formatting", "<body>wherefore art", "<body>*wherefore* art", &["messages"]),
    other("visitor", "participant'/><status code='100'/>", "visitor'/><status code='100'/>", &["refusals"])
        .when("#silent"),
    // Whether the modes of the room are known when the own presence leaves is a matter of moments.
    other("visitor", NEVER, "participant'/><status code='100'/>", &["*"]).when("#silent"),
    // If they were known too late, who may not speak is shown anew.
    ours("visitor", "^<presence*role='visitor'/><status code='110'/>*</presence>$", &["*"]).when("#silent"),
    other("ban", "<status code='307'/>", "<status code='301'/>", &["ban"]).when("<reason>night</reason>"),
    other("ban", "<item affiliation='none'", "<item affiliation='outcast'", &["ban"]).when("<reason>night</reason>"),
    theirs("kick-reason", "<reason>romeo</reason>", &["kick"]),
    other("kick-reason", "^*KICK #verona juliet :romeo$", "^*KICK #verona juliet :$", &["kick"]),
    other("mode-order", "[-vo juliet juliet]", "[-ov juliet juliet]", &["roles"]),
    other("mode-order", "MODE #verona -vo juliet juliet", "MODE #verona -ov juliet juliet", &["roles"]),
    ours("role-sets", "^:romeo*MODE #verona -h juliet$", &["roles"]),
    ours("role-sets", "^<message*<body>Mode #verona [-h juliet] by romeo</body>*</message>$", &["roles"]),
    ours("role-sets", "^<iq*type='result'/>$", &["roles"]).when("id='q30'"),
    ours("role-sets", "^<presence*affiliation='none'*participant'*</presence>$", &["roles"]).when("/juliet'"),
    theirs("role-sets", "^<presence*affiliation='none'*participant'*</presence>$", &["roles"]).when("/juliet'"),
    ours("role-sets", "^<iq*<bad-request *</iq>$", &["roles"]),
    ours("who-is-what", "^<iq*<query xmlns='http://jabber.org/protocol/muc#admin'*</iq>$", &["roles", "ban"]),
    theirs("who-is-what", "^<iq*<feature-not-implemented *</iq>$", &["roles", "ban"]),
    other("not-allowed", "type='cancel'><not-allowed ", "type='auth'><forbidden ", &["kick", "roles"]).when("<iq "),
    // Messages.
    other("private-notice", "<body>listen</body>", "<body>[notice] listen</body>", &["private"]),
    theirs("ctcp", "^<iq*type='get'*</iq>$", &["private", "occupants"]),
    theirs("ctcp", "^<iq*type='result'*</iq>$", &["occupants"]).when("jabber:iq:version'><name>client"),
    ours("ctcp", "^<iq*<remote-server-timeout *</iq>$", &["occupants"]),
    ours("message-errors", "^<message*<item-not-found*</message>$", &["private"]).when("from='nobody%net"),
    ours("message-errors", "^<message*<forbidden *</message>$", &["topic", "refusals"]),
    ours("message-errors", "^<message*<body>You are not channel operator</body>*</message>$", &["modes", "messages"]),
    theirs("message-errors", "^<message*: Cannot *</message>$", &["refusals", "ban"]),
    theirs("message-errors", "^<message*: No such nick or channel name</body>*</message>$", &["private", "kick"]),
    theirs(
        "message-errors",
        "^<message*: You are not channel operator</body>*</message>$",
        &["modes", "roles", "topic", "messages"],
    ),
    theirs("message-errors", "^<message*: No such nick</body>*</message>$", &["inspircd_private", "inspircd_kick"]),
    theirs(
        "message-errors",
        "^<message*: You must be *</message>$",
        &["inspircd_kick", "inspircd_topic", "inspircd_messages"],
    ),
    ours("message-errors", "^<message*<body>You must be *</message>$", &["inspircd_messages"]),
    theirs("message-errors", "^<message*: Nickname is already in use.</body>*</message>$", &["inspircd_nicks"]),
    theirs("message-errors", "^<message*insp.irc.test: 2: 1</body>*</message>$", &["inspircd_nicks"]),
    theirs("message-errors", "^<message*: Your privileges are too low</body>*</message>$", &["kick"]),
    theirs("message-errors", "^<message*: Nickname already in use</body>*</message>$", &["nicks", "nick_in_use"]),
    theirs("message-errors", "^<message*ng.irc.test: 2: 1</body>*</message>$", &["nicks"]),
    theirs("end-of-list", "^<message*End of WHOIS list*</message>$", &["raw", "fixed_network"]),
    other("raw-offline", "<remote-server-not-found ", "<recipient-unavailable ", &["raw"]),
    // Invitations.
    theirs("invited", "^<message*has been invited to #verona</body>*</message>$", &["invitations"]),
    other(
        "inviter",
        "<invite from='romeo@localhost/desk'/>",
        "<invite from='romeo@localhost'><reason>come</reason></invite>",
        &["invitations"],
    ),
    ours("direct-invitations", "^*INVITE bob #verona$", &["invitations"]),
    theirs("invited-to", "^<message*<invite *</message>$", &["invitations", "raw"]).when("from='#second"),
    ours("invited-to", "^<message*<invite *</message>$", &["invitations", "raw"]).when("from='#second"),
    // Joins that are refused.
    ours("refused-joins", "^<presence*type='error'*</presence>$", &["refusals", "ban", "nicks", "nick_in_use"]),
    theirs("refused-joins", "^<presence*type='error'*</presence>$", &["refusals", "nicks", "nick_in_use"]),
    theirs("no-nick", "^<message*<body>Connect*</message>$", &["refusals"]),
    ours("no-nick", "^<message*<body>Connect*</message>$", &["refusals"]),
    theirs("no-nick", "^<message*: Syntax error</body>*</message>$", &["refusals"]),
    // The roster.
    theirs("roster-ids", " id='s9'", &["roster"]).when("type='subscribed'"),
    theirs("roster-ids", " id='s10'", &["roster"]).when("type='subscribed'"),
    ours("network-state", "^<presence*type='unavailable'*$", &["roster"]),
    theirs("network-state", "^<presence*type='unavailable'*$", &["roster"]),
    theirs("subscribes-back", "^<presence*type='subscribe'/>$", &["roster"]),
    theirs("subscribes-back", "^<presence*type='unsubscribe'/>$", &["roster"]),
    // Questions.
    other("self-ping", "<remote-server-not-found ", "<not-acceptable ", &["self_ping"]).when("id='q9'"),
    other(
        "own-version",
        "<name>biboumi</name>*<version>9.0</version>",
        "<name>Isthmus</name><version>*</version>",
        &["occupants"],
    ),
    theirs("vcard", "^<iq*<feature-not-implemented *</iq>$", &["occupants"]),
    ours("vcard", "^<iq*<vCard *</iq>$", &["occupants"]),
    ours("occupant-about", "^<iq*<value>urn:isthmus:about:0</value>*</iq>$", &["occupants"]),
    ours("unknown-question", "^<iq*<service-unavailable *</iq>$", &["occupants"]),
    // Discovery.
    theirs("features", "<feature var='http://jabber.org/protocol/muc#stable_id'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='http://jabber.org/protocol/muc#stable_id'/>", &["discovery"]),
    theirs("features", "<feature var='urn:xmpp:mam:2'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='urn:xmpp:mam:2'/>", &["discovery"]),
    ours("features", "<feature var='http://jabber.org/protocol/address'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='http://jabber.org/protocol/caps'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='http://jabber.org/protocol/disco#items'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='http://jabber.org/protocol/rsm'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='jabber:iq:*'/>", &["discovery", "fixed_network"]),
    theirs("features", "<feature var='jabber:iq:*'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='urn:xmpp:time'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='vcard-temp'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='urn:xmpp:message-*'/>", &["discovery"]),
    ours("features", "<feature var='http://jabber.org/protocol/pubsub*'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='urn:ietf:params:xml:ns:vcard-4.0'/>", &["discovery", "fixed_network"]),
    ours("features", "<identity category='pubsub' name='*' type='pep'/>", &["discovery", "fixed_network"]),
    ours("features", "<feature var='muc_open'/>", &["discovery"]),
    ours("features", "<feature var='muc_persistent'/>", &["discovery"]),
    ours("features", "<feature var='muc_public'/>", &["discovery"]),
    ours("features", "<feature var='muc_unmoderated'/>", &["discovery"]),
    ours("features", "<feature var='muc_unsecured'/>", &["discovery"]),
    ours("features", "<feature var='urn:xmpp:hats:0'/>", &["discovery"]),
    ours("features", "<feature var='urn:xmpp:mam:2#extended'/>", &["discovery"]),
    ours("features", "<feature var='urn:xmpp:occupant-id:0'/>", &["discovery"]),
    ours("features", "<identity category='gateway' name='*' type='irc'/>", &["discovery", "fixed_network"]),
    other(
        "names",
        "<identity category='conference' name='*' type='irc'/>",
        "<identity category='conference' name='*' type='irc'/>",
        &["discovery", "fixed_network"],
    ),
    theirs("more-discovery", "^<iq*<feature-not-implemented *</iq>$", &["discovery", "fixed_network"]),
    ours("more-discovery", "^<iq*<query xmlns='http://jabber.org/protocol/disco#*</iq>$", &["discovery"])
        .when("<identity category='account'"),
    ours("more-discovery", "^<iq*<query xmlns='http://jabber.org/protocol/disco#*</iq>$", &["discovery"])
        .when("x-roomuser-item"),
    ours("more-discovery", "^<iq*<query xmlns='http://jabber.org/protocol/disco#items'*</iq>$", &["discovery"]),
    ours("more-discovery", "^<iq*<query xmlns='http://jabber.org/protocol/disco#items'*</iq>$", &["fixed_network"])
        .when("<item jid='#verona"),
    theirs("muc-traffic", "^<iq*node='http://jabber.org/protocol/muc#traffic'/></iq>$", &["discovery"]),
    ours("muc-traffic", "^<iq*<item-not-found *</iq>$", &["discovery"]),
    // The list of rooms.
    ours("list-names", " name='*'", &["list"]),
    other("list-names", "\\26SERVER%net", "\\26server%net", &["list"]),
    theirs(
        "list-count",
        "<set xmlns='http://jabber.org/protocol/rsm'><count>5</count><first index='0'>~</first><last>~</last></set>",
        &["list"],
    )
    .when("id='q12'"),
    ours("list-count", "<count>5</count>", &["list"]),
    theirs("list-count", "<count>5</count>", &["list"]),
    theirs("list-behind", "^<iq*<query *</iq>$", &["list"]).when("id='q24'"),
    ours("list-behind", "^<iq*<item-not-found *</iq>$", &["list"]).when("id='q24'"),
    // Archives.
    theirs("archive-ids", " id='~'", &["history"]).when("urn:xmpp:forward:0"),
    ours("archive-ids", "<stanza-id xmlns='urn:xmpp:sid:0' by='*' id='~'/>", &["history"]).when("urn:xmpp:forward:0"),
    ours("archive-ids", " id='~'", &["history"]).when("urn:xmpp:forward:0"),
    ours("history-ids", "<stanza-id xmlns='urn:xmpp:sid:0' by='*'/>", &["history", "persistent"])
        .when("<delay xmlns='urn:xmpp:delay' from='"),
    ours("history-ids", " id='~'", &["history", "persistent"]).when("<delay xmlns='urn:xmpp:delay' from='"),
    ours("archive-count", "<count>*</count>", &["history"]).when("urn:xmpp:mam:2"),
    theirs("archive-count", " index='0'", &["history"]).when("urn:xmpp:mam:2"),
    theirs("archive-form", "^<iq*<feature-not-implemented *</iq>$", &["history"]),
    ours("archive-form", "^<iq*<query xmlns='urn:xmpp:mam:2'>*</iq>$", &["history"]),
    // Commands.
    ours("command-actions", " execute='complete'", &["*", "commands"]),
    ours("command-actions", " execute='next'", &["disconnect_somebody"]),
    ours("command-actions", "<prev/>", &["disconnect_somebody"]),
    other("command-words", "<note type='info'>*</note>", "<note type='info'>*</note>", &["*", "commands"]),
    theirs("command-error", "<command xmlns='http://jabber.org/protocol/commands' node='*'>", &["commands"])
        .when("type='error'"),
    theirs("command-error", "</command>", &["commands"]).when("type='error'"),
    ours("connection-info", "<x xmlns='jabber:x:data' type='result'>*</x>", &["connection_info"]),
    theirs("more-commands", "<item jid='*' node='*'/>", &["fixed_network"]).when("protocol/commands"),
    ours("more-commands", "<item jid='*' node='*'/>", &["fixed_network"]).when("protocol/commands"),
    ours("more-commands", "<item jid='net@irc.localhost' node='client-certificate'/>", &["commands"]),
    ours("more-commands", "<item jid='net@irc.localhost' node='disconnect-from-irc-server'/>", &["commands"]),
    ours("more-commands", "<item jid='net@irc.localhost' node='list'/>", &["commands"]),
    ours("more-commands", "<item jid='net@irc.localhost' node='reconnect'/>", &["commands"]),
    ours("more-commands", "<item jid='net@irc.localhost' node='whois'/>", &["commands"]),
    ours("more-commands", "<item jid='irc.localhost' node='contacts'/>", &["commands"]),
    ours("more-commands", "<item jid='irc.localhost' node='delete'/>", &["commands"]),
    ours("more-commands", "<item jid='irc.localhost' node='export'/>", &["commands"]),
    ours("more-commands", "<item jid='irc.localhost' node='history'/>", &["commands"]),
    ours("more-commands", "<item jid='irc.localhost' node='usage'/>", &["commands"]),
    other(
        "more-settings",
        "^<iq*<x xmlns='jabber:x:data' type='form'>*</iq>$",
        "^<iq*<x xmlns='jabber:x:data' type='form'>*</iq>$",
        &["commands", "owner_form"],
    )
    .when("<field.persistent"),
    other(
        "more-settings",
        "^<iq*<x xmlns='jabber:x:data' type='form'>*</iq>$",
        "^<iq*<x xmlns='jabber:x:data' type='form'>*</iq>$",
        &["commands"],
    )
    .when("<field.address"),
    theirs("own-choice", "<option><value>alice@localhost</value></option>", &["disconnect_somebody"]),
    other(
        "quit-words",
        "<value>Killed by admin</value>",
        "<value>Disconnected by request</value>",
        &["disconnect", "disconnect_somebody"],
    ),
    other(
        "quit-words",
        "QUIT :Client closed connection",
        "QUIT :\"good night\"",
        &["disconnect", "disconnect_somebody"],
    ),
    other(
        "quit-words",
        "<status>good night</status>",
        "<status>Disconnected, as you wished.</status>",
        &["disconnect", "disconnect_somebody"],
    ),
    other("quit-words", "<status code='332'/>", "<status code='333'/>", &["disconnect", "disconnect_somebody"]),
    ours(
        "quit-words",
        "^<message*<body>Disconnected, as you wished.</body>*</message>$",
        &["disconnect", "disconnect_somebody"],
    ),
];
