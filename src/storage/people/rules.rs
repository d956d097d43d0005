//! Access rules that administrators have given by command.

use isthmus_bridge::StoreError;

use super::Persons;
use crate::access::{Pattern, Rule, Tier};
use crate::args;

impl Persons {
    /// The rules, the newest first. One that this program cannot read is left out, with a word in the log.
    ///
    /// # Errors
    /// The store failed.
    pub async fn rules(&self) -> Result<Vec<Rule>, StoreError> {
        let sql = "SELECT pattern, tier FROM rules WHERE bridge = $1 ORDER BY seq DESC";
        let mut all = Vec::new();
        for row in self.store.read(sql, args![&*self.name]).await? {
            let (pattern, tier) = (row.text(0)?, row.text(1)?);
            match (Pattern::new(&pattern), Tier::by_name(&tier)) {
                (Ok(pattern), Some(tier)) => all.push(Rule { pattern, tier }),
                _ => {
                    tracing::error!(bridge = %self.name, pattern, tier, "a stored access rule is none and does not count")
                }
            }
        }
        Ok(all)
    }

    /// Gives a rule, in front of all others; `None` takes that pattern's away. Gives whether anything changed.
    ///
    /// # Errors
    /// The store failed; nothing changed.
    pub async fn set_rule(&self, pattern: &Pattern, tier: Option<Tier>) -> Result<bool, StoreError> {
        let data = (self.name.to_string(), pattern.to_string(), tier.map(Tier::name));
        self.store
            .write(data, |tx, (bridge, pattern, tier)| {
                Box::pin(async move {
                    let gone = "DELETE FROM rules WHERE bridge = $1 AND pattern = $2";
                    let changed = tx.execute(gone, args![bridge, pattern]).await? > 0;
                    let Some(tier) = tier else { return Ok(changed) };
                    let now = tx.now();
                    let sql = "INSERT INTO rules (bridge, pattern, tier, at) VALUES ($1, $2, $3, $4)";
                    tx.execute(sql, args![bridge, pattern, *tier, now]).await?;
                    Ok(true)
                })
            })
            .await
    }
}
