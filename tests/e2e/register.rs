//! Registration and settings as a client does them.

use anyhow::{Context, Result, bail};
use isthmus_testkit::slix::SlixClient;
use isthmus_testkit::xml::Element;

/// Registers at a gateway (XEP-0077) by its form, taking what the form proposes for everything but the alias.
pub(crate) async fn register(client: &mut SlixClient, domain: &str, alias: &str) -> Result<()> {
    let offer = client.ask(domain, "get", "<query xmlns='jabber:iq:register'/>").await?;
    let query = offer.child("query").with_context(|| format!("no registration offered: {offer}"))?;
    let payload = match query.child("x") {
        Some(form) => submit(form, &[("alias", alias)])?,
        None => format!("<username>{alias}</username>"),
    };
    let done = client.ask(domain, "set", &format!("<query xmlns='jabber:iq:register'>{payload}</query>")).await?;
    if done.attr("type") != Some("result") {
        bail!("not registered: {done}");
    }
    Ok(())
}

/// Sets settings by the command `configure` (XEP-0050).
#[allow(dead_code, reason = "not every test binary sets something")]
pub(crate) async fn configure(client: &mut SlixClient, address: &str, values: &[(&str, &str)]) -> Result<()> {
    let commands = "http://jabber.org/protocol/commands";
    let start = format!("<command xmlns='{commands}' node='configure' action='execute'/>");
    let offer = client.ask(address, "set", &start).await?;
    let command = offer.child("command").with_context(|| format!("no command configure: {offer}"))?;
    let session = command.attr("sessionid").unwrap_or_default();
    let form = command.child("x").with_context(|| format!("no form: {offer}"))?;
    let payload = submit(form, values)?;
    let end = format!(
        "<command xmlns='{commands}' node='configure' sessionid='{session}' action='complete'>{payload}</command>"
    );
    let done = client.ask(address, "set", &end).await?;
    match done.child("command").and_then(|command| command.attr("status")) {
        Some("completed") => Ok(()),
        _ => bail!("not set: {done}"),
    }
}

/// The form filled in: what it proposes, but for these values. An error if it has no such field.
pub(crate) fn submit(form: &Element, values: &[(&str, &str)]) -> Result<String> {
    let mut filled = "<x xmlns='jabber:x:data' type='submit'>".to_owned();
    for field in form.children.iter().filter(|child| child.name == "field") {
        let Some(var) = field.attr("var") else { continue };
        let own = values.iter().find(|(name, _)| *name == var).map(|(_, value)| vec![(*value).to_owned()]);
        let proposed = || field.children.iter().filter(|c| c.name == "value").map(|c| c.text.clone()).collect();
        let values: Vec<String> = own.unwrap_or_else(proposed);
        let values: String = values
            .iter()
            .map(|value| format!("<value>{}</value>", value.replace('&', "&amp;").replace('<', "&lt;")))
            .collect();
        filled += &format!("<field var='{var}'>{values}</field>");
    }
    for (name, _) in values {
        if !form.children.iter().any(|field| field.attr("var") == Some(name)) {
            bail!("the form has no field {name}: {form}");
        }
    }
    Ok(filled + "</x>")
}
