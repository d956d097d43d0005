//! End to end: the program on a real Prosody and a real ejabberd, with clients that we did not write, real mail servers at the other end.
#![allow(clippy::unwrap_used, reason = "a test")]

/// Makes a test of an async function that takes a [`Flavour`](isthmus_testkit::server::Flavour), once for each server.
macro_rules! on_both {
    ($($name:ident),+ $(,)?) => {
        mod on_prosody {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(isthmus_testkit::server::Flavour::Prosody).await;
            })+
        }
        mod on_ejabberd {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                super::$name(isthmus_testkit::server::Flavour::Ejabberd).await;
            })+
        }
    };
}
pub(crate) use on_both;

mod access;
mod archive;
mod attachments;
mod contacts;
mod discovery;
mod files;
mod flows;
mod inside;
mod irc;
mod irc_addresses;
mod irc_flood;
mod irc_names;
mod irc_people;
mod link;
mod mail;
mod messages;
mod muc;
mod office;
mod people;
mod reattach;
mod register;
mod rooms;
mod scripted;
mod sms;
mod stays;
mod table;
mod typed_client;
mod waits;
mod world;
