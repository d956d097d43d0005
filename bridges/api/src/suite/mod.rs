//! For testing bridges: a host in memory, sessions driven by hand, the contract suite, and Loopback, a network that exercises every capability.
//!
//! | item | what |
//! |---|---|
//! | [`FakeHost`] | a [`Gateway`](crate::Gateway) that records what a bridge says and answers as it is told; also the sink of its tickets |
//! | [`Session`] | a session of any bridge: work goes in, outcomes and answers come back |
//! | [`run_command`], [`reply`] | a command run to its end; a question's way back |
//! | [`Contract`], [`contract_suite!`](crate::contract_suite) | what every bridge must keep to, as tests that it runs on itself |
//! | [`loopback`] | a network that exercises every capability, and whose contacts misbehave on demand |
//! | [`build`], [`section`] | a bridge from lines as they stand in the configuration |
//!
//! Every wait is bounded by [`PATIENCE`] of tokio's clock; under `#[tokio::test(start_paused = true)]` no real time passes.
//! Failed expectations panic, as assertions do.

mod contract;
mod gateway;
mod host;
pub mod loopback;
mod session;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use contract::Contract;
pub use host::{FakeHost, Told};
pub use loopback::LoopbackKind;
pub use session::{Session, reply, run_command};

use crate::bridge::{Bridge, Kind};
use crate::section::{ConfigError, Section, Table};

/// How long the suite waits for anything.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Builds a bridge from a JSON object with the keys of its section (`json!({"prefix": "> "})`), under the kind's name and `<name>.example`.
pub fn build(kind: &dyn Kind, keys: serde_json::Value) -> Result<Arc<dyn Bridge>, Vec<ConfigError>> {
    let domain = format!("{}.example", kind.name());
    kind.build(section(kind.name(), &domain, keys))
}

/// A section with these keys. Relative files and written files are in the system's temporary folder; local users are at `example.org`.
pub fn section<'a>(name: &'a str, domain: &'a str, keys: serde_json::Value) -> Section<'a> {
    static LOCAL: std::sync::LazyLock<Vec<String>> = std::sync::LazyLock::new(|| vec!["example.org".to_owned()]);
    static FOLDER: std::sync::LazyLock<std::path::PathBuf> = std::sync::LazyLock::new(std::env::temp_dir);
    let serde_json::Value::Object(map) = keys else { panic!("a section is a table of keys, not {keys}") };
    let folder: &Path = &FOLDER;
    Section { name, domain, folder, data_dir: folder, local_domains: &LOCAL, table: Table::new("", map) }
}
