//! Waiting for something to become true, with a limit that fails loudly.

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::time::Instant;

/// How long a server may take to become ready on a machine that does many other things.
pub const START: Duration = Duration::from_secs(60);

/// Calls `probe` every 20 ms until it yields a value. Fails after `within` with `what` and the last error of the probe.
pub async fn until<T, F>(what: &str, within: Duration, mut probe: F) -> Result<T>
where
    F: AsyncFnMut() -> Result<T>,
{
    let end = Instant::now() + within;
    loop {
        let last = match tokio::time::timeout_at(end + Duration::from_secs(1), probe()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(error)) => format!("{error:#}"),
            Err(_) => "the probe did not return".to_owned(),
        };
        if Instant::now() >= end {
            bail!("{what}: not within {within:?}: {last}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
