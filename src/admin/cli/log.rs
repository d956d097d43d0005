//! Logs: to standard error, human on a terminal, JSON otherwise (a service manager or a container collects them).

use std::io::IsTerminal;
use std::sync::Arc;

use tracing_subscriber::filter::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, reload};

use crate::admin::outside::SetLevel;
use crate::config::{LogFormat, check_level};

/// Starts logging for the whole process.
pub(super) fn start(format: LogFormat, level: &str) -> Result<SetLevel, String> {
    let (filter, handle) = reload::Layer::new(filter(level)?);
    let human = match format {
        LogFormat::Auto => std::io::stderr().is_terminal(),
        LogFormat::Human => true,
        LogFormat::Json => false,
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let layer = if human {
        lines.with_ansi(std::io::stderr().is_terminal()).boxed()
    } else {
        lines.json().flatten_event(true).with_current_span(true).with_span_list(false).boxed()
    };
    tracing_subscriber::registry().with(filter).with(layer).try_init().map_err(|e| e.to_string())?;
    Ok(Arc::new(move |level| {
        let made = self::filter(level)?;
        handle.reload(made).map_err(|e| e.to_string())
    }))
}

/// `log.level`: libraries speak up from `warn` on, unless they are named.
fn filter(level: &str) -> Result<EnvFilter, String> {
    check_level(level)?;
    let mut directives = vec!["warn".to_owned()];
    for part in level.split(',').map(str::trim) {
        if part.contains('=') {
            directives.push(part.to_owned());
        } else {
            directives.extend(OURS.iter().map(|module| format!("{module}={part}")));
        }
    }
    EnvFilter::builder().parse(directives.join(",")).map_err(|e| format!("the log level is not understood: {e}"))
}

/// What every crate of ours begins with.
const OURS: [&str; 1] = ["isthmus"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_for_us_and_libraries_only_warn() {
        let shown = filter("debug,sqlx=info").expect("levels").to_string();
        for part in ["isthmus=debug", "sqlx=info", "warn"] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        assert!(filter("loud").is_err());
    }
}
