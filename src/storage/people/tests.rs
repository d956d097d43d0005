//! The same tests on both engines; each gets a store of its own.

use std::time::{Duration, UNIX_EPOCH};

use isthmus_bridge::{Change, ContactId, Taken};
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
    let export = persons.export(&juliet()).await.unwrap();
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
    persons.rename(&juliet(), &ann, Some("Ann")).await.unwrap();
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
    small_state, audit_log,
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
