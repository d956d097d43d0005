//! Who may do what: tiers by the bare JID, quotas.
