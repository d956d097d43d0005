//! Side by side with biboumi: the same script to both gateways, each with a real ngircd (and InspIRCd) behind it, and what comes out compared.
//!
//! | file | what |
//! |---|---|
//! | `stage` | a gateway, its XMPP server, its network; what was heard, step by step |
//! | `normal` | ids, times and ports taken out |
//! | `compare` | what differs, less what is known |
//! | `known` | the table of known differences; each is explained in `docs/from-biboumi.md` |
//! | `scenes` | the scripts |
//! | `forms` | the fields of its forms |
//! | `import` | what biboumi has kept, taken over |
//! | `entering` | how ours are entered, and how not |
//! | `told` | what rooms and people say of themselves |
//! | `ours` | our own stanzas alone, where there is nothing to compare |
#![allow(clippy::unwrap_used, reason = "a test")]

mod compare;
mod entering;
mod forms;
mod import;
mod known;
mod normal;
mod ours;
mod scenes;
mod stage;
mod told;

use anyhow::Result;
use stage::{Plan, Side, Stage, Step};

/// Plays a script to both, and fails on a difference that is not known.
async fn both(scenario: &str, plan: Plan, script: impl AsyncFn(&mut Stage) -> Result<()>) {
    let biboumi = play(Side::Biboumi, plan, &script).await;
    let ours = play(Side::Ours, plan, &script).await;
    let faults = compare::faults(scenario, &biboumi, &ours);
    assert!(faults.is_empty(), "differences (- biboumi, + ours):\n{faults}");
}

async fn play(side: Side, plan: Plan, script: &impl AsyncFn(&mut Stage) -> Result<()>) -> Vec<Step> {
    let mut stage = Stage::open(side, plan).await.unwrap();
    script(&mut stage).await.unwrap_or_else(|e| panic!("{side:?}: {e:#}"));
    std::mem::take(&mut stage.steps)
}
