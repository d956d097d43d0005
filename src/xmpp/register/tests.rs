//! XEP-0077's examples on the sample bridge.

use isthmus_bridge::{BareJid, ContactId};

use super::*;
use crate::xmpp::commands::tests::{JULIET, Set};

async fn ask(set: &Set, kind: &str, body: &str, lang: &str) -> Result<(String, Vec<Effect>), String> {
    let query: Element = format!("<query xmlns='jabber:iq:register'>{body}</query>").parse().expect("well-formed");
    let from = Party::parse(JULIET).expect("a JID");
    let register = Register::new(set.desk.clone());
    let answer = register.handle(&set.bridge, &from, kind == "set", &query, &Lang::new(lang)).await;
    let words = |text: &Text| set.desk.say(&set.bridge, text, &Lang::new(lang));
    answer
        .map(|(e, effects)| (e.map(|e| String::from(&e).replace('"', "'")).unwrap_or_default(), effects))
        .map_err(|e| format!("{}/{} {}", e.kind.as_str(), e.condition, e.text.as_ref().map(words).unwrap_or_default()))
}

fn juliet() -> BareJid {
    "juliet@example.org".into()
}

#[tokio::test]
async fn the_form_is_shown_with_predefined_fields_beside_it() {
    let set = Set::new().await;
    let (xml, effects) = ask(&set, "get", "", "en").await.expect("shown");
    for part in [
        "<instructions>Choose a name.</instructions>",
        "<username>juliet</username>",
        "<password/>",
        "<value>jabber:iq:register</value>",
        "label='Name'",
        "text-private",
    ] {
        assert!(xml.contains(part), "{part} in {xml}");
    }
    assert!(!xml.contains("<registered/>") && effects.is_empty());
    assert!(!set.persons.registered(&juliet()), "asking registers nobody");
    let (xml, _) = ask(&set, "get", "", "fr-CA").await.expect("shown");
    assert!(xml.contains("label='Nom'"), "{xml}");
}

#[tokio::test]
async fn registering_with_predefined_fields_and_with_a_form() {
    let set = Set::new().await;
    let (xml, effects) =
        ask(&set, "set", "<username>bill</username><password>Calliope</password>", "en").await.expect("registered");
    assert_eq!((xml.as_str(), effects), ("", vec![Effect::Registered(juliet())]));
    let known = set.persons.registration(&juliet()).expect("registered");
    assert_eq!((known.get("username"), known.get("password")), (Some("bill"), None), "no secret is kept");
    let (xml, _) = ask(&set, "get", "", "en").await.expect("shown");
    assert!(xml.contains("<registered/>") && !xml.contains("Calliope"), "{xml}");
    let form = "<x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE'><value>jabber:iq:register</value></field>\
                <field var='username'><value>will</value></field></x>";
    let (_, effects) = ask(&set, "set", form, "en").await.expect("changed");
    assert!(effects.is_empty(), "registered before");
    assert_eq!(set.persons.registration(&juliet()).expect("registered").get("username"), Some("will"));
}

#[tokio::test]
async fn asking_registers_nobody_where_nothing_is_asked() {
    let set = Set::new().await;
    let named = BareJid::from("named@example.org");
    let ask = async |kind: &str| {
        let query = Element::bare("query", ns::REGISTER);
        let from = Party::parse("named@example.org/desk").expect("a JID");
        let register = Register::new(set.desk.clone());
        register.handle(&set.bridge, &from, kind == "set", &query, &Lang::new("en")).await.expect("an answer")
    };
    let (_, effects) = ask("get").await;
    assert!(effects.is_empty() && !set.persons.registered(&named), "asking registers nobody");
    let (_, effects) = ask("set").await;
    assert_eq!(effects, [Effect::Registered(named.clone())], "and the gateway introduces itself");
    assert!(set.persons.registered(&named));
}

#[tokio::test]
async fn wrong_and_missing_fields_are_named() {
    let set = Set::new().await;
    let table = [
        ("<username>taken</username>", "modify/not-acceptable Name: That name is taken."),
        ("<username/>", "modify/not-acceptable Name: This has to be filled in."),
        ("<x xmlns='jabber:x:data' type='form'/>", "modify/bad-request "),
    ];
    for (body, expected) in table {
        assert_eq!(ask(&set, "set", body, "en").await.expect_err(body), expected);
    }
    assert!(!set.persons.registered(&juliet()));
}

#[tokio::test]
async fn remove_takes_everything_and_names_whom_to_leave() {
    let set = Set::new().await;
    assert_eq!(
        ask(&set, "set", "<remove/>", "en").await.expect_err("not registered"),
        "auth/registration-required You are not registered."
    );
    ask(&set, "set", "<username>bill</username>", "en").await.expect("registered");
    assert_eq!(
        ask(&set, "set", "<remove/><username>bill</username>", "en").await.expect_err("not alone"),
        "modify/bad-request "
    );
    let at = Address::Contact("romeo@example.net".into());
    set.persons.met(&juliet(), &at).await.expect("met");
    set.persons.claim(&juliet(), &ContactId::from("bill@example.org")).await.expect("hers");
    let (xml, effects) = ask(&set, "set", "<remove/>", "en").await.expect("removed");
    assert_eq!((xml.as_str(), effects), ("", vec![Effect::Unregistered(juliet(), vec![at])]));
    assert!(!set.persons.registered(&juliet()));
    let taken = set.persons.claim(&"romeo@example.org".into(), &ContactId::from("bill@example.org")).await;
    assert_eq!(taken, Err(isthmus_bridge::Taken::ByOther));
    assert_eq!(*set.office.told.lock().expect("no panic"), ["forget juliet@example.org"]);
}

#[test]
fn names_of_predefined_fields_stand_in_for_other_keys() {
    let field = |key: &str, kind| Field::new(key, kind);
    let form = Form::new(
        "t".into(),
        vec![
            field("alias", FieldKind::Line),
            field("nick", FieldKind::Line),
            field("pin", FieldKind::Secret),
            field("days", FieldKind::Line),
        ],
    );
    assert_eq!(
        predefined(&form),
        [("username", "alias".to_owned()), ("nick", "nick".to_owned()), ("password", "pin".to_owned())]
    );
}
