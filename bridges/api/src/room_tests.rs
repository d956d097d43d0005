use super::*;

fn view(people: &People, nicks: &[&str]) -> RoomView {
    let mut view = RoomView::default();
    view.entering(nicks[0]);
    for nick in nicks {
        view.arrive(people.intern(nick), Rank::NONE);
    }
    view.entered();
    view
}

fn nicks(view: &RoomView) -> Vec<&str> {
    view.members().iter().map(Member::nick).collect()
}

#[test]
fn what_somebody_says_of_being_away_goes_with_them() {
    let people = People::default();
    people.learn("Romeo", Some("r@h"), None);
    let away = people.away("romeo", Some("in Mantua"));
    assert_eq!((away.away.as_deref(), away.host.as_deref()), (Some("in Mantua"), Some("r@h")));
    assert!(Arc::ptr_eq(&away, &people.away("romeo", Some("in Mantua"))), "once for all who hear it");
    assert_eq!(people.rename("romeo", "montague").away.as_deref(), Some("in Mantua"));
    assert_eq!(people.learn("montague", None, Some("acc")).away.as_deref(), Some("in Mantua"));
    assert_eq!(people.away("montague", None).away, None);
}

#[test]
fn a_membership_takes_at_most_16_bytes() {
    assert!(size_of::<Member>() <= 16, "{}", size_of::<Member>());
}

#[test]
fn ten_thousand_arrive_in_one_pass_and_are_found() {
    let people = People::default();
    let mut view = RoomView::default();
    view.entering("n0");
    // The worst order for a list that would be kept sorted while it grows.
    for i in (0..10_000).rev() {
        view.arrive(people.intern(&format!("n{i}")), if i % 100 == 0 { Rank::MODERATOR } else { Rank::NONE });
    }
    assert!(view.members().is_empty(), "nothing is shown before the listing is complete");
    view.entered();
    assert_eq!(view.members().len(), 10_000);
    assert!(view.members().windows(2).all(|w| w[0].person.key() < w[1].person.key()));
    for i in 0..10_000 {
        let nick = format!("N{i}");
        let member = view.get(&people, &nick).unwrap_or_else(|| panic!("{nick} is inside"));
        assert_eq!(member.rank.has(Rank::MODERATOR), i % 100 == 0);
    }
    assert_eq!(view.members.capacity(), 10_000, "the list keeps no slack");
}

#[test]
fn a_second_session_shares_the_persons() {
    let people = People::default();
    let (one, two) = (view(&people, &["alice", "bob"]), view(&people, &["bob", "alice"]));
    assert!(Arc::ptr_eq(&one.members()[0].person, &two.members()[0].person));
    assert_eq!(people.len(), 2);
}

#[test]
fn what_happens_in_a_room() {
    type Case = (&'static str, fn(&mut RoomView, &People), &'static [&'static str], &'static str);
    let cases: &[Case] = &[
        ("enters", |v, p| assert!(v.enter(p.intern("carol"), Rank::NONE)), &["alice", "Bob", "carol", "me"], "me"),
        ("enters twice", |v, p| assert!(!v.enter(p.intern("BOB"), Rank::VOICE)), &["alice", "BOB", "me"], "me"),
        ("leaves", |v, p| assert!(v.leave(p, "bob").is_some()), &["alice", "me"], "me"),
        ("leaves unseen", |v, p| assert!(v.leave(p, "zoe").is_none()), &["alice", "Bob", "me"], "me"),
        (
            "renames",
            |v, p| assert!(v.rename(p, "Bob", p.rename("Bob", "zed")).is_some()),
            &["alice", "me", "zed"],
            "me",
        ),
        ("renames unseen", |v, p| assert!(v.rename(p, "x", p.intern("y")).is_none()), &["alice", "Bob", "me"], "me"),
        ("renames over", |v, p| assert!(v.rename(p, "Bob", p.intern("alice")).is_some()), &["alice", "me"], "me"),
        ("own rename", |v, p| assert!(v.rename(p, "ME", p.rename("me", "i")).is_some()), &["alice", "Bob", "i"], "i"),
        ("case of own", |v, p| assert!(v.rename(p, "me", p.intern("Me")).is_some()), &["alice", "Bob", "Me"], "Me"),
        ("lost", |v, _| v.left(Some(Text::plain("kicked"))), &[], ""),
    ];
    for (name, change, expected, own) in cases {
        let people = People::default();
        let mut view = view(&people, &["me", "Bob", "alice"]);
        change(&mut view, &people);
        assert_eq!(nicks(&view), *expected, "{name}");
        assert_eq!(view.nick(), *own, "{name}");
        assert!(
            view.members().windows(2).all(|w| w[0].person.key() < w[1].person.key()),
            "{name}: sorted, nobody twice"
        );
    }
}

#[test]
fn who_comes_or_goes_during_the_listing_is_right_at_its_end() {
    let people = People::default();
    let mut view = RoomView::default();
    view.entering("me");
    view.arrive(people.intern("me"), Rank::NONE);
    view.arrive(people.intern("gone"), Rank::NONE);
    view.enter(people.intern("came"), Rank::NONE);
    view.enter(people.intern("both"), Rank::NONE);
    view.arrive(people.intern("both"), Rank::VOICE);
    view.leave(&people, "gone");
    view.entered();
    assert_eq!(nicks(&view), ["both", "came", "me"]);
    assert_eq!(view.get(&people, "both").map(|m| m.rank), Some(Rank::VOICE));
}

#[test]
fn ranks_are_kept_through_a_rename_and_change_by_flag() {
    let people = People::default();
    let mut view = view(&people, &["me", "bob"]);
    assert_eq!(view.mark(&people, "BOB", Rank::MODERATOR | Rank::VOICE, true), Some(Rank::MODERATOR | Rank::VOICE));
    assert_eq!(view.mark(&people, "bob", Rank::AWAY, true).map(Rank::highest), Some(Rank::MODERATOR));
    assert_eq!(view.mark(&people, "bob", Rank::MODERATOR, false), Some(Rank::VOICE | Rank::AWAY));
    assert_eq!(view.rename(&people, "bob", people.rename("bob", "rob")), Some(Rank::VOICE | Rank::AWAY));
    assert_eq!(view.mark(&people, "bob", Rank::VOICE, true), None);
}

#[test]
fn what_is_known_of_a_person_grows_and_moves_with_the_nick() {
    let people = People::default();
    let mut view = view(&people, &["me", "bob"]);
    let bob = people.learn("bob", Some("b@host"), Some("robert"));
    assert!(view.update(bob.clone()));
    assert!(Arc::ptr_eq(&bob, &people.intern("bob")), "nothing new was told");
    let rob = people.rename("bob", "rob");
    assert_eq!((rob.host.as_deref(), rob.account.as_deref()), (Some("b@host"), Some("robert")));
    assert_eq!(people.get("bob"), None);
    assert!(Arc::ptr_eq(&rob, &people.rename("bob", "rob")), "a second session sees the same change");
    assert_eq!(people.learn("rob", None, Some("")).account, None, "logged out");
    people.forget("rob");
    assert_eq!(people.intern("rob").host, None, "another person under the same nick");
}

#[test]
fn persons_that_nobody_holds_are_forgotten() {
    let people = People::default();
    let held = people.intern("held");
    for i in 0..10_000 {
        people.intern(&format!("n{i}"));
    }
    assert!(people.len() <= SWEEP_FLOOR * 2, "{}", people.len());
    assert!(Arc::ptr_eq(&held, &people.intern("held")));
}

#[test]
fn who_somebody_is_stays_what_it_was_at_first_sight() {
    let people = People::default();
    assert_eq!(people.intern("Bob").identity(), "bob");
    people.learn("bob", Some("~b@host"), Some("robert"));
    assert_eq!(
        people.rename("bob", "Bobby").identity(),
        "bob",
        "neither a rename nor what is learned later changes it"
    );
    assert_eq!(people.learn("alice", Some("a@host"), Some("alice")).identity(), "account alice");
    assert_eq!(people.learn("alice", None, Some("")).identity(), "account alice", "a logout does not either");
    people.forget("alice");
    assert_eq!(people.learn("alice", Some("x@y"), None).identity(), "alice x@y", "who comes later is somebody else");
}

#[test]
fn who_was_inside_is_given_once_and_only_to_who_was_put_outside() {
    let people = People::default();
    let mut view = view(&people, &["me", "bob"]);
    view.left(Some(Text::plain("the link broke")));
    assert!(view.members().is_empty());
    assert_eq!(view.take_before().len(), 2);
    assert!(view.take_before().is_empty());
    let mut view = self::view(&people, &["me", "bob"]);
    view.left(None);
    assert!(view.take_before().is_empty());
}

#[test]
fn a_member_is_found_by_exact_spelling_and_read_in_pieces() {
    let people = People::new(|nick| nick.to_uppercase());
    let view = view(&people, &["me", "Bob", "[x]"]);
    assert!(view.named("Bob").is_some() && view.named("[x]").is_some());
    assert!(view.named("bob").is_none());
    let keys = |after| view.members_after(after).iter().map(|m| m.person.key()).collect::<Vec<_>>();
    assert_eq!(keys(None), ["BOB", "ME", "[X]"]);
    assert_eq!(keys(Some("BOB")), ["ME", "[X]"]);
    assert!(keys(Some("[X]")).is_empty());
}

#[test]
fn a_session_that_has_read_less_takes_nothing_of_who_bears_a_name_now() {
    // REGAIN in one breath: the impostor is renamed, the owner takes the nick. The first session has read both, the second is behind.
    let people = People::default();
    let impostor = people.learn("v", Some("i@evil"), Some(""));
    let owner = people.learn("v_", Some("o@home"), Some("victim"));
    people.rename_seen(&impostor, "guest1");
    let regained = people.rename_seen(&owner, "v");
    let (guest, again) = (people.rename_seen(&impostor, "guest1"), people.rename_seen(&owner, "v"));
    assert_eq!((guest.host.as_deref(), guest.account.as_deref()), (Some("i@evil"), None));
    assert!(Arc::ptr_eq(&again, &regained), "{again:?}");
    assert_eq!(people.get("v").and_then(|p| p.account.as_deref().map(str::to_owned)).as_deref(), Some("victim"));

    // GHOST: the owner's old connection ends, and the new one takes the nick; both have the same account.
    let people = People::default();
    let ghost = people.learn("v", Some("o@home"), Some("victim"));
    let owner = people.learn("v_", Some("o@home"), Some("victim"));
    people.forget_seen(&ghost);
    let regained = people.rename_seen(&owner, "v");
    people.forget_seen(&ghost);
    assert!(Arc::ptr_eq(&people.rename_seen(&owner, "v"), &regained));
    assert!(people.get("v").is_some_and(|p| Arc::ptr_eq(&p, &regained)), "still known");

    // Who is held by nobody is forgotten.
    drop(people.learn("passer", Some("p@by"), Some("passer")));
    people.release("passer");
    people.release("v");
    assert!(people.get("passer").is_none() && people.get("v").is_some());
}
