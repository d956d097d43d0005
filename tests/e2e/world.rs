//! Servers and gateway for one test.

use isthmus_testkit::dovecot::Dovecot;
use isthmus_testkit::isthmus::{Isthmus, Setup};
use isthmus_testkit::ports::Port;
use isthmus_testkit::postfix::{self, Postfix};
use isthmus_testkit::server::{Flavour, Options, XmppServer};
use isthmus_testkit::slix::SlixClient;

/// An XMPP server and the gateway at it.
pub(crate) struct World {
    pub(crate) gateway: Isthmus,
    pub(crate) server: XmppServer,
}

impl World {
    /// With the echo bridge.
    pub(crate) async fn echo(flavour: Flavour) -> Self {
        Self::with(flavour, Setup::echo).await
    }

    /// With what `setup` adds.
    pub(crate) async fn with(flavour: Flavour, setup: impl FnOnce(Setup) -> Setup) -> Self {
        Self::serving(flavour, Options::default(), setup).await
    }

    /// The same, with a server that serves otherwise.
    pub(crate) async fn serving(flavour: Flavour, options: Options, setup: impl FnOnce(Setup) -> Setup) -> Self {
        let server = XmppServer::start(flavour, options).await.unwrap();
        let start = Setup::new(env!("CARGO_BIN_EXE_isthmus"), server.component());
        let gateway = setup(start).start().await.unwrap();
        Self { gateway, server }
    }

    /// `<user>@localhost/desk`, online.
    pub(crate) async fn client(&self, user: &str) -> SlixClient {
        SlixClient::online(&self.server, &format!("{user}@localhost/desk")).await.unwrap()
    }
}

/// The same with Postfix and Dovecot at the far end: `outside.test` is held by Dovecot (carol, dave), `gw.test` is the gateway's.
pub(crate) struct MailWorld {
    pub(crate) world: World,
    pub(crate) postfix: Postfix,
    pub(crate) dovecot: Dovecot,
}

impl MailWorld {
    pub(crate) async fn start(flavour: Flavour) -> Self {
        Self::verifying(flavour, false).await
    }

    /// With Postfix asking for recipients first, or not.
    pub(crate) async fn verifying(flavour: Flavour, verify_recipients: bool) -> Self {
        let options = postfix::Options { verify_recipients, ..postfix::Options::default() };
        Self::made(flavour, Options::default(), options, "").await
    }

    /// At an XMPP server without an upload service.
    pub(crate) async fn without_upload(flavour: Flavour) -> Self {
        Self::made(flavour, Options { upload: false, ..Options::default() }, postfix::Options::default(), "").await
    }

    /// With little room for each user, and a Postfix that does not give up soon.
    pub(crate) async fn small(flavour: Flavour, storage: &str) -> Self {
        let options = postfix::Options { lifetime: 600, delay_warning: 300, ..postfix::Options::default() };
        Self::made(flavour, Options::default(), options, &format!("[access]\nstorage = \"{storage}\"\n")).await
    }

    async fn made(flavour: Flavour, served: Options, options: postfix::Options, top: &str) -> Self {
        let lmtp = Port::take().unwrap();
        let dovecot = Dovecot::start(&["carol@outside.test", "dave@outside.test"]).await.unwrap();
        let gateway = Some(("gw.test".to_owned(), lmtp.number()));
        let options = postfix::Options { gateway, ..options };
        let postfix = Postfix::start(&options, &dovecot).await.unwrap();
        let keys = format!(
            "mail_domain = \"gw.test\"\n[smtp]\nhost = \"127.0.0.1\"\nport = {}\n[listen]\nlmtp = \"{}\"\n",
            postfix.smtp(),
            lmtp.address()
        );
        // The server's upload service is at a loopback address, which users' links may not name unless the operator lists it.
        let files = format!("{top}[files]\nfetch_from = [\"127.0.0.1\"]");
        let setup = |setup: Setup| setup.top(&files).bridge("email", "email", "email.localhost", &keys);
        let world = World::serving(flavour, served, setup).await;
        Self { world, postfix, dovecot }
    }

    /// A client that has registered its local part as alias and has messages mailed at once.
    pub(crate) async fn registered(&self, user: &str) -> SlixClient {
        let mut client = self.world.client(user).await;
        crate::register::register(&mut client, "email.localhost", user).await.unwrap();
        crate::register::configure(&mut client, "email.localhost", &[("join_seconds", "0")]).await.unwrap();
        client
    }

    /// Hands a mail to Postfix as somebody outside; the codes of its answers.
    pub(crate) async fn send(&self, from: &str, to: &[&str], text: &str) -> Vec<u16> {
        let address = self.postfix.smtp().address();
        let replies = isthmus_testkit::smtp::send(address, false, from, to, text).await.unwrap();
        replies.iter().map(|reply| reply.code).collect()
    }
}
