//! Settings of the bridge, by their keys.

use isthmus_bridge::{Scope, Setting, SettingKind};

/// Smart quotes and the like become plain ones where that saves an alphabet.
pub(crate) const FOLD: &str = "fold";
/// Pictures go as MMS where the provider has it; else as a link.
pub(crate) const MMS: &str = "mms";
/// Reactions go as texts of their own.
pub(crate) const REACTIONS: &str = "reactions";
/// A message to several: [`TOGETHER`] or [`SINGLY`].
pub(crate) const GROUP: &str = "group";
/// The number that texts come from; empty: the user's own, else a shared one.
pub(crate) const NUMBER: &str = "number";

/// [`GROUP`]: one group MMS, where the provider has it.
pub(crate) const TOGETHER: &str = "together";
/// [`GROUP`]: a text to each.
pub(crate) const SINGLY: &str = "singly";

/// Completes national numbers that this user types; empty: as configured.
pub(crate) const COUNTRY: &str = "country";

/// All of them.
pub(crate) fn all() -> Vec<Setting> {
    use Scope::{Contact, Gateway};
    const BOTH: &[Scope] = &[Gateway, Contact];
    const OWN: &[Scope] = &[Gateway];
    let together = SettingKind::Choice(&[(TOGETHER, "One group message"), (SINGLY, "A text to each")]);
    vec![
        Setting::new(FOLD, SettingKind::Bool, BOTH, "true"),
        Setting::new(MMS, SettingKind::Bool, BOTH, "true"),
        Setting::new(REACTIONS, SettingKind::Bool, BOTH, "false"),
        Setting::new(GROUP, together, OWN, TOGETHER),
        Setting::new(NUMBER, SettingKind::Line, BOTH, ""),
        Setting::new(COUNTRY, SettingKind::Line, OWN, ""),
    ]
}
