//! The same scripts on InspIRCd, which echoes, labels and tags where ngircd does not. What is known of a scenario is known of it here, too.

use crate::stage::Plan;

const INSPIRCD: Plan = Plan { fixed: false, persistent: false, inspircd: true };

super::scenarios! {
    inspircd_join INSPIRCD;
    inspircd_leave INSPIRCD;
    inspircd_devices INSPIRCD;
    inspircd_nicks INSPIRCD;
    inspircd_messages INSPIRCD;
    inspircd_private INSPIRCD;
    inspircd_topic INSPIRCD;
    inspircd_kick INSPIRCD;
}

mod scripts {
    pub(super) use super::super::power::scripts::kick as inspircd_kick;
    pub(super) use super::super::rooms::scripts::{
        devices as inspircd_devices, join as inspircd_join, leave as inspircd_leave, nicks as inspircd_nicks,
    };
    pub(super) use super::super::talk::scripts::{
        messages as inspircd_messages, private as inspircd_private, topic as inspircd_topic,
    };
}
