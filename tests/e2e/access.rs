//! Who may use the gateway.

use isthmus_testkit::server::Flavour;
use isthmus_testkit::slix::SlixClient;

use crate::world::World;

crate::on_both!(strangers_are_kept_out, rules_come_before_defaults);

async fn refused(client: &mut SlixClient, to: &str) -> Option<String> {
    let id = client.message(to, "may I").await.unwrap();
    let answer = client
        .find("an answer", |s| s.name == "message" && (s.attr("id") == Some(&id) || s.body() == Some("may I")))
        .await;
    answer.unwrap().error()
}

async fn strangers_are_kept_out(flavour: Flavour) {
    let world = World::echo(flavour).await;
    let mut eve = SlixClient::online(&world.server, "eve@foreign.test/x").await.unwrap();
    assert_eq!(refused(&mut eve, "carol@echo.localhost").await.as_deref(), Some("auth/forbidden"));
    let mut alice = world.client("alice").await;
    assert_eq!(refused(&mut alice, "carol@echo.localhost").await, None);
}

async fn rules_come_before_defaults(flavour: Flavour) {
    let access = "[access]\nforeign = \"user\"\nrules = [{ match = \"bob@localhost\", tier = \"blocked\" }]";
    let world = World::with(flavour, |setup| setup.top(access).echo()).await;
    let mut eve = SlixClient::online(&world.server, "eve@foreign.test/x").await.unwrap();
    assert_eq!(refused(&mut eve, "carol@echo.localhost").await, None);
    let mut bob = world.client("bob").await;
    assert_eq!(refused(&mut bob, "carol@echo.localhost").await.as_deref(), Some("auth/forbidden"));
}
