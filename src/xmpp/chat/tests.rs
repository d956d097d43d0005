//! Dialogues as transcripts: `>` the person, `<` the gateway.

use std::time::Duration;

use super::*;
use crate::xmpp::commands::tests::{JULIET, Set};

struct Script<'s> {
    set: &'s Set,
    chat: Chat,
    lang: &'static str,
    strict: bool,
}

impl<'s> Script<'s> {
    fn new(set: &'s Set) -> Self {
        Self { set, chat: Chat::new(set.desk.clone()), lang: "en", strict: false }
    }

    async fn say(&self, from: &str, text: &str) -> Option<(String, Vec<Effect>)> {
        let from = Party::parse(from).expect("a JID");
        let answers = self.chat.on_message(&self.set.bridge, &from, text, &Lang::new(self.lang), self.strict).await;
        answers.map(|(texts, effects)| (texts.join("\n"), effects))
    }

    /// Plays a transcript; `\n` in it is a line break, and an answer may be given by its beginning with `…`.
    async fn play(&self, transcript: &str) {
        let mut lines = transcript.lines().map(str::trim).filter(|l| !l.is_empty());
        while let Some(line) = lines.next() {
            let said = line.strip_prefix("> ").expect("a line of the person's");
            let expected = lines.next().and_then(|l| l.strip_prefix("< ")).expect("an answer").replace("\\n", "\n");
            let (answer, _) =
                self.say(JULIET, &said.replace("\\n", "\n")).await.unwrap_or_else(|| panic!("no answer to {said}"));
            match expected.strip_suffix('…') {
                Some(begin) => assert!(answer.starts_with(begin), "to {said}: {answer}"),
                None => assert_eq!(answer, expected, "to {said}"),
            }
        }
    }
}

#[tokio::test]
async fn registering_by_chat() {
    let set = Set::new().await;
    let script = Script::new(&set);
    script
        .play(
            r"
            > Register
            < Sample\nChoose a name.\nName\nNow: juliet (“ok” keeps it)
            > taken
            < Password\n(“-” leaves it as it is)
            > s3cret
            < That name is taken.\nName\nNow: taken (“ok” keeps it)
            > bill
            < You are bill.
            > cancel
            < There is nothing to cancel.
            ",
        )
        .await;
    assert_eq!(
        set.persons.registration(&"juliet@example.org".into()).expect("registered").get("username"),
        Some("bill")
    );
}

#[tokio::test]
async fn questions_are_asked_again_with_the_reason_and_one_can_go_back() {
    let set = Set::new().await;
    Script::new(&set)
        .play(
            r"
            > wizard
            < size\nsize\n1. Small\n2. Large
            > back
            < This is the first question.\nsize\n1. Small\n2. Large
            > huge
            < Please choose one of the list.\nsize\n1. Small\n2. Large
            > 2
            < number\nnumber (1 to 9)
            > 12
            < Please give a whole number from 1 to 9.\nnumber (1 to 9)
            > back
            < size\n1. Small\n2. Large\nNow: Large (“ok” keeps it)
            > small
            < number\nnumber (1 to 9)
            > 3
            < sure\nsure (yes or no)
            > perhaps
            < Please answer yes or no.\nsure (yes or no)
            > Yes
            < 3 × s, sure: true
            > wizard
            < size\nsize\n1. Small\n2. Large
            > cancel
            < Cancelled.
            > 2
            < There is no command “2”. Write “help” for a list.
            ",
        )
        .await;
}

#[tokio::test]
async fn help_lists_what_one_may_run_in_ones_language() {
    let set = Set::new().await;
    let mut script = Script::new(&set);
    script
        .play(
            "> help\n< Commands here (write one of these words):\nregister – Register…"
                .replace("words):\n", "words):\\n")
                .as_str(),
        )
        .await;
    script
        .play("> table\n< Please register with this gateway first.\n> users\n< This command is for administrators.")
        .await;
    script.lang = "fr";
    let (answer, _) = script.say(JULIET, "aide").await.expect("an answer");
    assert!(answer.contains("register – S'inscrire"), "{answer}");
    script.play("> register\n< Sample…\n> annuler\n< Annulé.").await;
}

#[tokio::test]
async fn rights_that_end_between_two_questions_end_the_talk() {
    let set = Set::new().await;
    let juliet = "juliet@example.org".into();
    set.persons.register(&juliet, &Values::new()).await.expect("registered");
    let script = Script::new(&set);
    script.play("> configure romeo@example.net\n< Settings…").await;
    set.persons.forget(&juliet).await.expect("forgotten");
    let (answer, _) = script.say(JULIET, "Yours").await.expect("an answer");
    assert_eq!(answer, set.desk.texts.core("command.register-first", &Lang::new("en")));
    script.play("> cancel\n< There is nothing to cancel.").await;
}

#[tokio::test]
async fn what_is_done_at_an_address_is_told_which() {
    let set = Set::new().await;
    let script = Script::new(&set);
    script
        .play(
            r"
            > wave romeo@example.net 3
            < romeo@example.net × 3
            > Wave romeo@example.net
            < wave\nfield.number (1 to 9)
            > 2
            < romeo@example.net × 2
            > wave nobody 3
            < “nobody” is not an address of this gateway.
            > wave #room 3
            < There is no command “wave”. Write “help” for a list.
            > wave
            < Please say for which address: “wave”, the address (without that of the gateway), and what else there is to say.
            ",
        )
        .await;
    let (answer, _) = script.say(JULIET, "help").await.expect("an answer");
    assert!(answer.contains("\nwave <address> – Wave\n"), "{answer}");
}

#[tokio::test]
async fn settings_of_an_address_are_asked_for_by_its_name() {
    let set = Set::new().await;
    set.persons.register(&"juliet@example.org".into(), &Values::new()).await.expect("registered");
    let script = Script::new(&set);
    script
        .play(
            r"
            > configure nobody
            < “nobody” is not an address of this gateway.
            > configure romeo@example.net
            < Settings\nThese settings hold for this address only. An empty secret stays as it is; “-” removes it.\nSignature\n(“-” leaves it empty)
            > Yours
            < Order\n1. Newest\n2. Oldest\nNow: Newest (“ok” keeps it)
            > ok
            < Saved.
            ",
        )
        .await;
    let at = Address::Contact("romeo@example.net".into());
    assert_eq!(set.persons.resolved(&"juliet@example.org".into(), &at).str("signature"), "Yours");
    // What the address leaves open is as the user has set it.
    let home = vec![("signature".to_owned(), Some("example.net".to_owned()))];
    set.persons.set(&"juliet@example.org".into(), &Address::Gateway, home).await.expect("set");
    script.play("> configure mercutio\n< Settings…\n> Ours\n< Order…\n> ok\n< Saved.").await;
    let at = Address::Contact("mercutio@example.net".into());
    assert_eq!(set.persons.resolved(&"juliet@example.org".into(), &at).str("signature"), "Ours");
    // What stands after another command is the answer to its first question.
    script
        .play(
            r"> contacts list\n< • Address: x…"
                .split("\\n")
                .next()
                .map(|_| "> contacts list\n< You have no contacts here.")
                .expect("one"),
        )
        .await;
    let (answer, effects) = script.say(JULIET, "unregister yes").await.expect("an answer");
    assert_eq!(answer, "Everything of yours has been removed.");
    assert_eq!(effects, [Effect::Unregistered("juliet@example.org".into(), Vec::new())]);
}

#[tokio::test]
async fn an_open_question_belongs_to_one_full_jid_and_ends_after_ten_minutes() {
    let set = Set::new().await;
    let script = Script::new(&set);
    script.play("> wizard\n< size…").await;
    let (other, _) = script.say("juliet@example.org/phone", "2").await.expect("an answer");
    assert!(other.starts_with("There is no command"), "{other}");
    tokio::time::pause();
    tokio::time::advance(IDLE + Duration::from_secs(1)).await;
    script.play("> 2\n< There is no command “2”…").await;
}

#[tokio::test]
async fn where_the_gateway_is_the_network_commands_begin_with_an_exclamation_mark() {
    let set = Set::new().await;
    let mut script = Script::new(&set);
    script.strict = true;
    assert_eq!(script.say(JULIET, "help").await, None);
    script.play("> !wizard\n< size…\n> 1\n< number…\n> cancel\n< Cancelled.").await;
    assert_eq!(script.say(JULIET, "cancel").await, None);
}

#[test]
fn long_answers_are_cut_into_several_messages() {
    let line = "x".repeat(PART / 2);
    assert_eq!(parts(vec![line.clone(), "y".into(), line.clone(), line]).len(), 3);
    assert!(parts(Vec::new()).is_empty());
}
