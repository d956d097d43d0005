//! The program against the scripted XMPP server: what no real server does on request.
//!
//! | file | what |
//! |---|---|
//! | `attach` | secrets, conflicts, servers that come and go |
//! | `broken` | rooms while the stream is broken |
//! | `redelivery` | what was not acknowledged is sent again, the same |
//! | `nasty` | bytes that no decent server sends |

mod attach;
mod broken;
mod nasty;
mod redelivery;

use isthmus_testkit::fake::FakeXmpp;
use isthmus_testkit::isthmus::{Isthmus, Setup};

const ECHO: &str = "echo.localhost";

/// The scripted server and the gateway with the echo bridge in this mode, attached.
async fn attached(mode: &str) -> (FakeXmpp, Isthmus) {
    let mut server = FakeXmpp::start(&[ECHO]).await.unwrap();
    let gateway = configured(&server, mode).start().await.unwrap();
    server.attached(ECHO).await.unwrap();
    (server, gateway)
}

fn configured(server: &FakeXmpp, mode: &str) -> Setup {
    let setup = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.address());
    setup.bridge("echo", "echo", ECHO, &format!("mode = \"{mode}\"\n"))
}

/// A chat message from alice to a contact.
fn chat(id: &str, body: &str) -> String {
    format!(
        "<message from='alice@localhost/desk' to='carol@{ECHO}' type='chat' id='{id}'><body>{body}</body></message>"
    )
}

const PING: &str = "<ping xmlns='urn:xmpp:ping'/>";
const ALICE: &str = "alice@localhost/desk";
