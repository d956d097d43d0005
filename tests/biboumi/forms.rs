//! The fields of biboumi's forms are in ours, under the same names and of the same types, but for those of a short list.

use std::collections::BTreeMap;

use anyhow::Result;

use crate::stage::{DESK, GATEWAY, NET, Plan, Side, Stage, command};

/// Fields that are called or typed otherwise here: `docs/from-biboumi.md`, `more-settings`.
const OTHERWISE: &[(&str, &str)] = &[
    ("network ports", "text-single"),
    ("network tls_ports", "text-single"),
    ("network throttle_limit", "throttle, for administrators"),
    ("room record_history", "boolean"),
];

#[tokio::test]
async fn the_fields_of_its_forms_are_in_ours() {
    let (biboumi, ours) = (fields(Side::Biboumi).await.unwrap(), fields(Side::Ours).await.unwrap());
    assert!(biboumi.len() > 15, "{biboumi:?}");
    for (field, kind) in &biboumi {
        let otherwise = OTHERWISE.iter().any(|(name, _)| name == field);
        let same = ours.get(field) == Some(kind);
        assert_ne!(same, otherwise, "{field} is {kind} with biboumi and {:?} here", ours.get(field));
    }
}

/// With a fixed network the two forms of the gateway have the names that they have there.
#[tokio::test]
async fn the_forms_of_a_fixed_network_have_its_names() {
    let plan = Plan { fixed: true, ..Plan::default() };
    let forms = [("gateway", GATEWAY, "global-configure"), ("network", GATEWAY, "server-configure")];
    let biboumi = fields_of(Side::Biboumi, plan, &forms).await.unwrap();
    let ours = fields_of(Side::Ours, plan, &forms).await.unwrap();
    assert!(biboumi.len() > 12, "{biboumi:?}");
    for (field, kind) in &biboumi {
        let otherwise = OTHERWISE.iter().any(|(name, _)| name == field);
        let same = ours.get(field) == Some(kind);
        assert_ne!(same, otherwise, "{field} is {kind} with biboumi and {:?} here", ours.get(field));
    }
}

async fn fields(side: Side) -> Result<BTreeMap<String, String>> {
    let room = format!("#verona%{NET}");
    let forms = [("gateway", GATEWAY, "configure"), ("network", NET, "configure"), ("room", &*room, "configure")];
    fields_of(side, Plan::default(), &forms).await
}

/// Where each field is, its name and its type.
async fn fields_of(side: Side, plan: Plan, forms: &[(&str, &str, &str)]) -> Result<BTreeMap<String, String>> {
    let mut s = Stage::open(side, plan).await?;
    let mut all = BTreeMap::new();
    for (place, to, node) in forms {
        let form = s.ask(DESK, to, "set", &command(node, "execute", None, "")).await?;
        for field in form.walk().filter(|e| e.name == "field") {
            let name = format!("{place} {}", field.attr("var").unwrap_or_default());
            all.insert(name, field.attr("type").unwrap_or("text-single").to_owned());
        }
    }
    Ok(all)
}
