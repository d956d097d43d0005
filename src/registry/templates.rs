//! The commented configuration files that are shipped, by kind.

/// `isthmus.toml`.
pub const CORE: &str = include_str!("../../config/isthmus.toml");

/// `bridges/<kind>.toml`.
#[derive(Debug, Clone, Copy)]
pub struct Template {
    /// The kind of bridge.
    pub kind: &'static str,
    /// The flag of `isthmus init` that names its domain.
    pub flag: &'static str,
    /// The file.
    pub text: &'static str,
}

/// For every kind that has one in this build; the first is what `isthmus init` sets up where nobody is asked.
pub const BRIDGES: &[Template] = &[
    #[cfg(feature = "email")]
    Template { kind: "email", flag: "email-domain", text: include_str!("../../config/bridges/email.toml") },
    #[cfg(feature = "sms")]
    Template { kind: "sms", flag: "sms-domain", text: include_str!("../../config/bridges/sms.toml") },
    #[cfg(feature = "irc")]
    Template { kind: "irc", flag: "irc-domain", text: include_str!("../../config/bridges/irc.toml") },
    #[cfg(feature = "echo")]
    Template { kind: "echo", flag: "echo-domain", text: include_str!("../../config/bridges/echo.toml") },
];
