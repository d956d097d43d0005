//! The same tests on both engines; each gets a store of its own.

use std::time::{Duration, UNIX_EPOCH};

use isthmus_bridge::{Change, ContactId, Scope, Setting, Taken};
use tempfile::TempDir;

use super::*;
use crate::settings::Chosen;
use crate::storage::{Clock, Open};
use crate::xmpp::commands::sample::sample;

struct Set {
    store: Store,
    clock: Clock,
    people: People,
    _folder: TempDir,
}

impl Set {
    async fn new(url: &str) -> Self {
        let folder = TempDir::new().expect("a folder");
        let clock = Clock::manual(1_000_000);
        let open = Open::new(url, folder.path()).with_clock(clock.clone());
        let store = Store::open(open).await.expect("the store opens");
        let people = people(&store).await;
        Self { store, clock, people, _folder: folder }
    }

    fn persons(&self) -> Arc<Persons> {
        self.people.of("sample").expect("served").clone()
    }

    /// As after a restart of the program: what is in memory comes from the disk.
    async fn again(&mut self) -> Arc<Persons> {
        self.people = people(&self.store).await;
        self.persons()
    }
}

fn seal() -> Arc<Seal> {
    Arc::new(Seal::parse(&"ab".repeat(32)).expect("a key"))
}

async fn people(store: &Store) -> People {
    let bridge = sample();
    let scheme = Scheme::new(bridge.settings());
    let served = |name: &str| Served { name: name.into(), bridge: bridge.clone(), scheme: scheme.clone() };
    People::open(store.clone(), seal(), vec![served("sample"), served("other")]).await.expect("it loads")
}

fn juliet() -> BareJid {
    "juliet@capulet.lit".into()
}

fn romeo() -> BareJid {
    "romeo@montague.lit".into()
}

fn contact(id: &str) -> Address {
    Address::Contact(id.into())
}

async fn registration(url: &str) {
    let mut set = Set::new(url).await;
    let persons = set.persons();
    assert!(persons.register(&juliet(), &Values::new().with("alias", "j")).await.unwrap(), "for the first time");
    assert!(!persons.register(&juliet(), &Values::new().with("alias", "jj")).await.unwrap(), "changed");
    assert!(persons.registered(&juliet()) && !persons.registered(&romeo()));
    assert!(!set.people.of("other").unwrap().registered(&juliet()), "another bridge");
    let persons = set.again().await;
    assert_eq!(persons.registration(&juliet()).unwrap().get("alias"), Some("jj"));
    assert_eq!(persons.users(), [juliet()]);
}

async fn settings_in_force(url: &str) {
    let mut set = Set::new(url).await;
    let persons = set.persons();
    let at = contact("romeo@example.net");
    let set_one = |at: Address, key: &str, value: Option<&str>| {
        let changes = vec![(key.to_owned(), value.map(str::to_owned))];
        let persons = persons.clone();
        async move { persons.set(&juliet(), &at, changes).await }
    };
    assert_eq!(persons.resolved(&juliet(), &at).str("join"), "30", "built in");
    set_one(Address::Gateway, "signature", Some("wide")).await.unwrap();
    assert_eq!(persons.resolved(&juliet(), &at).str("signature"), "wide", "the wider one holds");
    set_one(at.clone(), "signature", Some("narrow")).await.unwrap();
    assert_eq!(persons.resolved(&juliet(), &at).str("signature"), "narrow");
    assert_eq!(persons.resolved(&juliet(), &contact("ann@example.net")).str("signature"), "wide");
    assert_eq!(persons.resolved(&romeo(), &at).str("signature"), "", "somebody else's");
    assert!(Arc::ptr_eq(&persons.resolved(&juliet(), &at), &persons.resolved(&juliet(), &at)), "from the cache");
    assert!(set_one(Address::Gateway, "join", Some("soon")).await.is_err(), "not a number");
    assert!(set_one(Address::Gateway, "joint", Some("1")).await.is_err(), "not declared");
    set_one(Address::Gateway, "token", Some("s3cret")).await.unwrap();
    let of = SessionOf::new(juliet(), "sample".into());
    assert!(!persons.persistent(&of));
    set_one(Address::Network("sample".into()), "persistent", Some("yes")).await.unwrap();
    assert!(persons.persistent(&of));
    let rows = set.store.read("SELECT value, sealed FROM choices WHERE key = 'token'", args![]).await.unwrap();
    assert_eq!(rows[0].opt_text(0).unwrap(), None, "a secret does not stand in plain");
    let sealed = rows[0].bytes(1).unwrap();
    assert!(!sealed.windows(6).any(|w| w == b"s3cret"));
    let persons = set.again().await;
    assert_eq!(persons.resolved(&juliet(), &Address::Gateway).str("token"), "s3cret");
    assert_eq!(
        persons.chosen(&juliet(), &Address::Gateway),
        Chosen::from([("signature".into(), "wide".into()), ("token".into(), String::new())])
    );
    let (mut export, mut pages) = (Vec::new(), Pages::default());
    while let Some(page) = persons.export(&juliet(), &mut pages).await.unwrap() {
        export.extend(page);
    }
    assert!(export.iter().any(|e| e.key == "romeo@example.net signature" && e.value == "narrow"), "{export:?}");
    assert!(!format!("{export:?}").contains("s3cret"));
    persons.set(&juliet(), &at, vec![("signature".into(), None)]).await.unwrap();
    assert_eq!(persons.resolved(&juliet(), &at).str("signature"), "wide", "back to the wider one");
}

async fn identities(url: &str) {
    let mut set = Set::new(url).await;
    let persons = set.persons();
    let own = ContactId::from("juliet@email.example.org");
    persons.claim(&juliet(), &own).await.unwrap();
    persons.claim(&juliet(), &own).await.expect("she has it already");
    persons.claim(&juliet(), &"second".into()).await.unwrap();
    assert_eq!(persons.claim(&romeo(), &own).await, Err(Taken::ByOther));
    assert_eq!(persons.owner(&own).await.unwrap(), Some(juliet()));
    assert_eq!(persons.identities(&juliet()).await.unwrap(), [own.clone(), "second".into()]);
    persons.release(&romeo(), &own).await.expect("not his: nothing happens");
    persons.release(&juliet(), &own).await.unwrap();
    assert_eq!(persons.owner(&own).await.unwrap(), None);
    assert_eq!(persons.claim(&romeo(), &own).await, Err(Taken::ByOther), "given up, and still not his");
    persons.claim(&juliet(), &own).await.expect("she may take it back");
    assert_eq!(persons.identities(&juliet()).await.unwrap(), [ContactId::from("second"), own.clone()]);

    // Unregistering leaves nothing but keyed hashes.
    persons.register(&juliet(), &Values::new()).await.unwrap();
    persons.forget(&juliet()).await.unwrap();
    let persons = set.again().await;
    assert!(persons.identities(&juliet()).await.unwrap().is_empty());
    let rows = set.store.read("SELECT own, person FROM tombstones", args![]).await.unwrap();
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert_eq!((row.text(0).unwrap().len(), row.text(1).unwrap().len()), (64, 64), "hashes");
    }
    assert_eq!(persons.claim(&romeo(), &own).await, Err(Taken::ByOther));
    persons.claim(&juliet(), &own).await.expect("the same JID may");
    set.people.of("other").unwrap().claim(&romeo(), &own).await.expect("another bridge has names of its own");
}

async fn routes(url: &str) {
    let set = Set::new(url).await;
    let persons = set.persons();
    let (own, peer) = (ContactId::from("+15550001111"), ContactId::from("+15550002222"));
    assert!(persons.route(&own, &peer, None).await.unwrap().is_empty());
    assert_eq!(persons.route(&own, &peer, Some(&romeo())).await.unwrap(), [romeo()], "configured");
    persons.wrote(&juliet(), &own, &peer).await.unwrap();
    assert_eq!(persons.route(&own, &peer, Some(&romeo())).await.unwrap(), [juliet()], "who wrote last");
    assert_eq!(persons.route(&own, &"else".into(), Some(&romeo())).await.unwrap(), [romeo()], "to somebody else");
    persons.claim(&romeo(), &own).await.unwrap();
    assert_eq!(persons.route(&own, &peer, None).await.unwrap(), [romeo()], "sole owner");
}

async fn contacts_and_blocks(url: &str) {
    let mut set = Set::new(url).await;
    let persons = set.persons();
    let (ann, bob) = (contact("ann@example.net"), contact("bob@example.net"));
    persons.met(&juliet(), &bob).await.unwrap();
    persons.name(&juliet(), &ann, Some("Ann"), None).await.unwrap();
    persons.subscribe(&romeo(), &ann, Some(Subscription::None), Some(Subscription::None)).await.unwrap();
    assert_eq!(persons.contact(&romeo(), &ann), None, "no subscription with somebody unknown is nothing");
    persons.subscribe(&juliet(), &ann, Some(Subscription::Yes), None).await.unwrap();
    persons.subscribe(&juliet(), &ann, None, Some(Subscription::Asked)).await.unwrap();
    persons.subscribe(&juliet(), &Address::Gateway, Some(Subscription::Yes), None).await.unwrap();
    persons.met(&juliet(), &ann).await.unwrap();
    persons.block(&juliet(), &bob, true).await.unwrap();
    persons.block(&juliet(), &Address::Room("#r".into()), true).await.unwrap();
    let persons = set.again().await;
    let names = [("ann@example.net".into(), Some("Ann".to_owned())), ("bob@example.net".into(), None)];
    assert_eq!(persons.contacts(&juliet()), names);
    let expected =
        Contact { name: Some("Ann".into()), sees: Subscription::Yes, seen: Subscription::Asked, ..Contact::default() };
    assert_eq!(persons.contact(&juliet(), &ann), Some(expected));
    assert_eq!(persons.watchers(&Address::Gateway), [juliet()]);
    assert!(persons.blocked(&juliet(), &bob) && !persons.blocked(&juliet(), &ann) && !persons.blocked(&romeo(), &bob));
    assert!(persons.blocked(&juliet(), &Address::Occupant { room: "#r".into(), nick: "x".into() }));
    persons.block(&juliet(), &bob, false).await.unwrap();
    persons.remove_contact(&juliet(), &bob).await.unwrap();
    assert!(!persons.blocked(&juliet(), &bob));
    assert_eq!(persons.contacts(&juliet()).len(), 1);
    assert_eq!(persons.forget(&juliet()).await.unwrap(), [ann, Address::Gateway]);
    assert!(persons.contacts(&juliet()).is_empty() && persons.blocks(&juliet()).is_empty());
}

async fn contact_lists(url: &str) {
    let set = Set::new(url).await;
    let persons = set.persons();
    let listed = |who: &str, name: Option<&str>, groups: &[&str]| {
        let mut listed = isthmus_bridge::Listed::new(ContactId::from(who));
        listed.name = name.map(str::to_owned);
        listed.groups = groups.iter().map(|g| (*g).to_owned()).collect();
        listed
    };
    let (ann, ben) = (contact("ann@example.net"), contact("ben@example.net"));
    let list = vec![listed("ann@example.net", Some("Ann"), &["Friends"]), listed("ben@example.net", None, &[])];
    assert!(persons.take_list(&juliet(), list.clone()).await.unwrap().is_empty());
    persons.rostered(&juliet(), &ann, true).await.unwrap();
    let kept = persons.contact(&juliet(), &ann).unwrap();
    assert_eq!((kept.groups, kept.sees, kept.rostered), (vec!["Friends".to_owned()], Subscription::Yes, true));
    persons.take_list(&juliet(), list).await.unwrap();
    assert!(persons.contact(&juliet(), &ann).unwrap().rostered, "an unchanged list changes nothing");
    let renamed = vec![listed("ann@example.net", Some("Anne"), &["Friends"])];
    assert_eq!(persons.take_list(&juliet(), renamed).await.unwrap(), vec![ben.clone()]);
    assert!(!persons.contact(&juliet(), &ann).unwrap().rostered && persons.contact(&juliet(), &ben).is_none());
}

async fn own_messages(url: &str) {
    let mut set = Set::new(url).await;
    set.persons().will_return(&juliet(), &["m1".to_owned()]).await.unwrap();
    assert!(set.persons().returns(&juliet(), "m1"));
    let again = set.again().await;
    assert!(again.returns(&juliet(), "m1"), "it outlives the process");
    assert!(!again.returns(&romeo(), "m1") && !again.returns(&juliet(), "m2"));
    set.clock.advance(Duration::from_secs(8 * 24 * 3600));
    again.sweep().await.unwrap();
    assert!(!again.returns(&juliet(), "m1"), "it does not grow for ever");
}

async fn pictures(url: &str) {
    let set = Set::new(url).await;
    let (persons, ann) = (set.persons(), contact("ann@example.net"));
    let picture = super::Picture { hash: "abc".into(), media_type: "image/png".into(), body: vec![0, 255] };
    assert!(persons.set_photo(&juliet(), &ann, Some(picture.clone())).await.unwrap());
    assert!(!persons.set_photo(&juliet(), &ann, Some(picture.clone())).await.unwrap());
    assert_eq!(persons.picture("abc").await.unwrap(), Some(picture));
    assert!(persons.set_photo(&juliet(), &ann, None).await.unwrap());
    set.clock.advance(Duration::from_secs(2 * 3600));
    persons.sweep().await.unwrap();
    assert_eq!(persons.picture("abc").await.unwrap(), None, "nobody has it");
}

async fn small_state(url: &str) {
    let set = Set::new(url).await;
    let persons = set.persons();
    let soon = UNIX_EPOCH + Duration::from_millis(1_000_000 + 5_000);
    let changes = vec![
        Change::put("thread", "b", *b"2").of(juliet()),
        Change::put("thread", "a", *b"1"),
        Change::put("thread", "c", *b"3").of(juliet()).until(soon),
        Change::put("held", "a", vec![0u8, 255]),
    ];
    persons.store(changes).await.unwrap();
    assert_eq!(persons.load("held", "a").await.unwrap(), Some(vec![0, 255]));
    let keys = |list: Vec<(String, Vec<u8>)>| list.into_iter().map(|(k, _)| k).collect::<Vec<_>>();
    assert_eq!(keys(persons.list("thread", None).await.unwrap()), ["a", "b", "c"]);
    assert_eq!(keys(persons.list("thread", Some(&juliet())).await.unwrap()), ["b", "c"]);
    assert_eq!(set.people.of("other").unwrap().load("held", "a").await.unwrap(), None, "another bridge");
    set.clock.advance(Duration::from_secs(5));
    assert_eq!(persons.load("thread", "c").await.unwrap(), None, "expired");
    assert_eq!(persons.sweep().await.unwrap(), 1);
    persons.store(vec![Change::remove("thread", "a"), Change::put("thread", "b", *b"new").of(romeo())]).await.unwrap();
    assert_eq!(persons.list("thread", None).await.unwrap(), [("b".to_owned(), b"new".to_vec())]);
    persons.forget(&romeo()).await.unwrap();
    assert!(persons.list("thread", None).await.unwrap().is_empty(), "goes with its user");
}

async fn secrets_under_a_new_key(url: &str) {
    let folder = TempDir::new().expect("a folder");
    let set = Set::new(url).await;
    let seal = Arc::new(Seal::open(&folder.path().join("secret.key")).expect("a key"));
    let bridge = sample();
    let scheme = Scheme::new(bridge.settings());
    let served = vec![Served { name: "sample".into(), bridge, scheme }];
    let people = People::open(set.store.clone(), seal.clone(), served).await.expect("it loads");
    let persons = people.of("sample").expect("served");
    persons.set(&juliet(), &Address::Gateway, vec![("token".into(), Some("xyzzy".into()))]).await.unwrap();
    let purpose = crate::storage::seal::state_purpose("sample");
    // More than one page of them.
    let changes = (0..450).map(|n| Change::put("held", format!("{n:03}"), seal.seal(&purpose, b"secret").unwrap()));
    persons.store(changes.collect()).await.unwrap();
    let damaged = seal.seal("elsewhere", b"secret").unwrap();
    persons.store(vec![Change::put("held", "damaged", damaged.clone())]).await.unwrap();
    assert_eq!(reseal(&set.store, &seal).await.unwrap(), Resealed::default(), "nothing is old");
    seal.renew().unwrap();
    let all = reseal(&set.store, &seal).await.unwrap();
    people.resealed(&all).await.unwrap();
    assert_eq!((all.done, all.damaged), (451, 1));
    let again = reseal(&set.store, &seal).await.unwrap();
    assert_eq!((again.done, again.damaged), (0, 1));
    assert_eq!(persons.load("held", "damaged").await.unwrap(), Some(damaged));
    // The old key may go.
    let text = std::fs::read_to_string(folder.path().join("secret.key")).unwrap();
    let newest: String = text.lines().take(2).map(|line| format!("{line}\n")).collect();
    let alone = Arc::new(Seal::parse(&newest).expect("two lines are a key file"));
    assert!(alone.unseal(&purpose, &persons.load("held", "123").await.unwrap().unwrap()).is_ok());
    let bridge = sample();
    let scheme = Scheme::new(bridge.settings());
    let served = vec![Served { name: "sample".into(), bridge, scheme }];
    let people = People::open(set.store.clone(), alone, served).await.expect("it loads");
    let resolved = people.of("sample").expect("served").resolved(&juliet(), &Address::Gateway);
    assert_eq!(resolved.str("token"), "xyzzy");
}

async fn what_is_kept_of_whom(url: &str) {
    let set = Set::new(url).await;
    let (persons, ann) = (set.persons(), contact("ann@example.net"));
    let day = Duration::from_secs(86_400);
    let held = || async { set.persons().held(2 * day, 30 * day).await.unwrap() };
    assert!(held().await.is_empty());
    persons.owns_file(&juliet(), &"export".into(), 5_000, true).await.unwrap();
    assert!(held().await.is_empty(), "an export does not count");
    assert_eq!(persons.disown_files(&juliet(), true).await.unwrap(), ["export".into()]);
    set.store
        .write((), |tx, ()| {
            Box::pin(async move {
                let sql = "INSERT INTO outbox (key, bridge, person, lane, state, attempt, tries, ends, fixed, noticed, accepted, due, event) \
                           VALUES ('k', 'sample', 'juliet@capulet.lit', 'l', 0, 0, 0, 0, 0, 0, 5000, 0, 'é23456789')";
                tx.execute(sql, vec![]).await.map(drop)
            })
        })
        .await
        .unwrap();
    let files = ["a", "b"].map(isthmus_bridge::BlobId::from);
    persons.owns_file(&juliet(), &files[0], 100, false).await.unwrap();
    persons.owns_file(&juliet(), &files[0], 100, false).await.unwrap();
    persons.owns_file(&juliet(), &files[1], 1000, false).await.unwrap();
    persons.owns_file(&romeo(), &files[1], 1000, false).await.unwrap();
    let all = held().await;
    let of = |user: &BareJid| all.iter().find(|h| h.user == *user).cloned().unwrap();
    assert_eq!((of(&juliet()).bytes, of(&romeo()).bytes), (10 + 1100, 1000), "bytes, not letters");
    assert_eq!(of(&juliet()).ends, Some(5000 + 2 * 86_400_000), "the message goes first");
    assert_eq!(of(&romeo()).ends, Some(1_000_000 + 30 * 86_400_000));
    // Recorded lines make room, the oldest first.
    for n in 0..10 {
        persons.talked(&juliet(), &ann, true, &format!("line {n} with thirty-two bytes...."), None);
    }
    // An answer names what it answers by the id of its stanza; in another conversation nothing has that id.
    persons.talked(&romeo(), &ann, true, "words", Some("s1"));
    for written in [false, true] {
        assert_eq!(persons.said_by(&romeo(), &ann, "s1").await.unwrap().as_deref(), Some("words"), "{written}");
        assert_eq!(persons.said_by(&juliet(), &ann, "s1").await.unwrap(), None, "{written}");
        persons.flush_talks().await.unwrap();
    }
    assert_eq!(persons.recorded(&juliet()).await.unwrap(), 320);
    persons.make_room(10_000, &all).await.unwrap();
    assert_eq!(persons.recorded(&juliet()).await.unwrap(), 320, "there is room");
    persons.make_room(1110 + 100, &all).await.unwrap();
    let left: Vec<_> = persons.talk(&juliet(), &ann, 50).await.unwrap().into_iter().map(|t| t.body).collect();
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left[0].starts_with("line 7"), "{left:?}");
    // Who goes leaves files that others have.
    assert_eq!(persons.disown_files(&juliet(), false).await.unwrap(), [files[0].clone()]);
    assert_eq!(persons.disown_files(&romeo(), false).await.unwrap(), [files[1].clone()]);
    persons.owns_file(&romeo(), &files[1], 1000, false).await.unwrap();
    set.clock.advance(31 * day);
    persons.sweep_files(30 * day).await.unwrap();
    assert_eq!(persons.disown_files(&romeo(), false).await.unwrap(), []);
}

async fn an_export_is_whole_and_comes_in_pages(url: &str) {
    let set = Set::new(url).await;
    let (persons, ann) = (set.persons(), contact("ann@example.net"));
    for n in 0..1203 {
        persons.talked(&juliet(), &ann, n % 2 == 0, &format!("line {n}"), None);
        persons.talked(&romeo(), &ann, true, "not hers", None);
    }
    persons.owns_file(&juliet(), &"picture".into(), 7, false).await.unwrap();
    let rows = [
        "INSERT INTO names (bridge, place, id, head, foreign_id, person, own, at) VALUES ('sample', 'p', 'x1', 'x1', 'far-1', 'juliet@capulet.lit', 1, 5)",
        "INSERT INTO reactions (bridge, place, id, who, person, said, at) VALUES ('sample', 'p', 'x1', 'w', 'juliet@capulet.lit', '[\"+\"]', 5)",
        "INSERT INTO messages (bridge, person, address, stanza_id, accepted, at) VALUES ('sample', 'juliet@capulet.lit', 'a', 'stanza-9', 5, 5)",
        "INSERT INTO foreign_ids (bridge, network, id, message, n) SELECT 'sample', 'n', 'far-9', seq, 0 FROM messages",
        "INSERT INTO archive_rooms (no, bridge, room) VALUES (7, 'sample', '#a')",
        "INSERT INTO archive (room, id, at, nick, body) VALUES (7, '1', 5, 'ann', 'before'), (7, '2', 5, 'ann', 'within'), \
         (7, '3', 5, 'ann', 'after')",
        "INSERT INTO archive_stays (bridge, room, person, since, until) VALUES ('sample', '#a', 'juliet@capulet.lit', '2', '2')",
    ];
    for sql in rows {
        set.store.write(sql, |tx, sql| Box::pin(async move { tx.execute(sql, vec![]).await })).await.unwrap();
    }
    let (mut all, mut pages) = (Vec::new(), Pages::default());
    while let Some(page) = persons.export(&juliet(), &mut pages).await.unwrap() {
        assert!(page.len() <= 500, "{}", page.len());
        all.extend(page);
    }
    let of = |kind: &str| all.iter().filter(|e| e.kind == kind).map(|e| e.value.as_str()).collect::<Vec<_>>();
    assert_eq!(of("message").len(), 1203);
    assert!(of("message").iter().enumerate().all(|(n, line)| *line == format!("line {n}")));
    assert_eq!(of("name"), ["x1 = far-1"]);
    assert_eq!(of("reaction"), ["[\"+\"]"]);
    assert_eq!(of("sent"), ["stanza-9 = far-9"]);
    assert_eq!(of("file"), ["7 bytes"]);
    assert_eq!(of("room"), ["within"]);
}

async fn rooms_of_ones_own_go_with_their_user(url: &str) {
    let set = Set::new(url).await;
    let rows = [
        "INSERT INTO archive_rooms (no, bridge, room) VALUES (7, 'sample', '#a'), (8, 'sample', '\njuliet@capulet.lit\n#a'), \
         (9, 'sample', '\nromeo@montague.lit\n#a')",
        "INSERT INTO archive (room, id, at, nick, body) VALUES (7, '1', 5, 'ann', 'to all'), (8, '2', 5, 'ann', 'to her'), (9, '3', 5, 'ann', 'to him')",
        "INSERT INTO archive_stays (bridge, room, person, since) VALUES ('sample', '\njuliet@capulet.lit\n#a', 'juliet@capulet.lit', '1')",
        "INSERT INTO names (bridge, place, id, head, foreign_id, person, own, at) VALUES \
         ('sample', 'room \njuliet@capulet.lit\n#a', 'x1', 'x1', 'far-1', 'juliet@capulet.lit', 0, 5)",
        "INSERT INTO reactions (bridge, place, id, who, person, said, at) VALUES \
         ('sample', 'room \njuliet@capulet.lit\n#a', 'x1', 'w', 'juliet@capulet.lit', '[\"+\"]', 5)",
    ];
    for sql in rows {
        set.store.write(sql, |tx, sql| Box::pin(async move { tx.execute(sql, vec![]).await })).await.unwrap();
    }
    let (mut all, mut pages) = (Vec::new(), Pages::default());
    while let Some(page) = set.persons().export(&juliet(), &mut pages).await.unwrap() {
        all.extend(page.into_iter().map(|line| format!("{} {} {}", line.kind, line.key, line.value)));
    }
    for (kind, place, value) in
        [("room", " #a ann ", "to her"), ("name", " room #a ", "x1 = far-1"), ("reaction", " room #a x1 ", "[\"+\"]")]
    {
        let found = all.iter().find(|line| line.starts_with(kind)).unwrap();
        assert!(
            found.contains(&format!("{place}{value}")) && !found.contains('\n'),
            "the room as she knows it: {found:?}"
        );
    }
    assert_eq!(all.len(), 3, "{all:?}");
    set.persons().forget(&juliet()).await.unwrap();
    let texts = async |sql| -> Vec<String> {
        set.store.read(sql, vec![]).await.unwrap().iter().map(|row| row.text(0).unwrap()).collect()
    };
    assert_eq!(texts("SELECT body FROM archive ORDER BY id").await, ["to all", "to him"]);
    for sql in [
        "SELECT room FROM archive_rooms",
        "SELECT room FROM archive_stays",
        "SELECT place FROM names",
        "SELECT place FROM reactions",
    ] {
        let all = texts(sql).await;
        assert!(!all.iter().any(|text| text.contains("juliet")), "{sql}: {all:?}");
    }
    // The number is not given to another room.
    assert_eq!(texts("SELECT room FROM archive_rooms ORDER BY no").await.len(), 3);
}

async fn audit_log(url: &str) {
    let set = Set::new(url).await;
    let line = |act: &str| Audit {
        at: 0,
        actor: "admin@example.org".into(),
        bridge: "sample".into(),
        act: act.into(),
        about: Some("juliet@capulet.lit".into()),
        detail: None,
    };
    set.people.audit(line("users.add")).await.unwrap();
    set.people.audit(line("users.remove")).await.unwrap();
    let acts: Vec<String> = set.people.audited(10).await.unwrap().into_iter().map(|a| a.act).collect();
    assert_eq!(acts, ["users.remove", "users.add"]);
    set.persons().forget(&juliet()).await.unwrap();
    assert_eq!(set.people.audited(10).await.unwrap().len(), 2, "it outlives its users");
}

async fn choices_follow_a_setting_to_its_new_name(url: &str) {
    let set = Set::new(url).await;
    let net = Address::Network("sample".into());
    for (at, words) in [(Address::Gateway, "wide"), (net.clone(), "narrow")] {
        set.persons().set(&juliet(), &at, vec![("signature".into(), Some(words.into()))]).await.unwrap();
    }
    let words = Setting::new("words", SettingKind::Line, &[Scope::Gateway, Scope::Network], "").formerly("signature");
    let scheme = Scheme::new(&[words]);
    let served = Served { name: "sample".into(), bridge: sample(), scheme };
    let people = People::open(set.store.clone(), seal(), vec![served]).await.expect("it loads");
    let persons = people.of("sample").unwrap();
    assert_eq!(persons.resolved(&juliet(), &Address::Gateway).str("words"), "wide");
    assert_eq!(persons.resolved(&juliet(), &net).str("words"), "narrow");
    let theirs = set.people.of("other").unwrap();
    theirs.set(&juliet(), &Address::Gateway, vec![("signature".into(), Some("theirs".into()))]).await.unwrap();
    let served = Served { name: "sample".into(), bridge: sample(), scheme: Scheme::new(sample().settings()) };
    People::open(set.store.clone(), seal(), vec![served]).await.expect("it loads");
    let rows = set.store.read("SELECT bridge, key FROM choices ORDER BY bridge, key", args![]).await.unwrap();
    let rows: Vec<String> = rows.iter().map(|r| format!("{} {}", r.text(0).unwrap(), r.text(1).unwrap())).collect();
    assert_eq!(rows, ["other signature", "sample words", "sample words"]);
    // An older program has written under the old name again: what stands under the new one is the later choice, also when it goes.
    set.persons().set(&juliet(), &Address::Gateway, vec![("signature".into(), Some("older".into()))]).await.unwrap();
    let open = async || {
        let words =
            Setting::new("words", SettingKind::Line, &[Scope::Gateway, Scope::Network], "").formerly("signature");
        let served = Served { name: "sample".into(), bridge: sample(), scheme: Scheme::new(&[words]) };
        let people = People::open(set.store.clone(), seal(), vec![served]).await.expect("it loads");
        people.of("sample").unwrap().clone()
    };
    let persons = open().await;
    assert_eq!(persons.resolved(&juliet(), &Address::Gateway).str("words"), "wide");
    persons.set(&juliet(), &Address::Gateway, vec![("signature".into(), None)]).await.unwrap();
    assert_eq!(persons.resolved(&juliet(), &Address::Gateway).str("words"), "");
    assert_eq!(open().await.resolved(&juliet(), &Address::Gateway).str("words"), "");
}

macro_rules! on_both_engines {
    ($($test:ident),* $(,)?) => {
        mod on_sqlite { $( #[tokio::test] async fn $test() { super::$test("sqlite://isthmus.db").await } )* }

        #[tokio::test]
        async fn everything_holds_on_postgresql_too() {
            let server = isthmus_testkit::postgres::Postgres::start().await.expect("PostgreSQL starts");
            $( $test(&server.database(stringify!($test)).await.expect("a database")).await; )*
        }
    };
}
on_both_engines! {
    registration, settings_in_force, identities, routes, contacts_and_blocks, contact_lists, own_messages, pictures,
    small_state, audit_log, what_is_kept_of_whom, secrets_under_a_new_key,
    an_export_is_whole_and_comes_in_pages, choices_follow_a_setting_to_its_new_name, rooms_of_ones_own_go_with_their_user,
}

#[tokio::test]
async fn many_changes_at_once_leave_memory_as_the_disk_has_it() {
    let mut set = Set::new("sqlite://isthmus.db").await;
    let persons = set.persons();
    let set_join = |n: u32| {
        let persons = persons.clone();
        tokio::spawn(async move {
            persons.set(&juliet(), &Address::Gateway, vec![("join".into(), Some(n.to_string()))]).await
        })
    };
    for task in (0..50).map(set_join).collect::<Vec<_>>() {
        task.await.expect("no panic").expect("written");
    }
    let before = persons.resolved(&juliet(), &Address::Gateway).number("join");
    let after = set.again().await.resolved(&juliet(), &Address::Gateway).number("join");
    assert_eq!(before, after);
}

#[test]
fn every_address_has_a_key_that_reads_back() {
    let all = [
        Address::Gateway,
        Address::Network("libera.chat".into()),
        contact("ann@example.net"),
        Address::Room("#rust".into()),
        Address::Occupant { room: "#rust".into(), nick: "ann".into() },
    ];
    for one in all {
        assert_eq!(address(&key(&one)), Some(one));
    }
}
