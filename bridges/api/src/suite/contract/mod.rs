//! What every bridge must keep to, as tests that any bridge runs on itself with [`contract_suite!`](crate::contract_suite).

mod carrying;
mod declared;
mod texts;

use std::any::Any;
use std::sync::Arc;

use serde_json::Value;

use super::{FakeHost, Session, build};
use crate::address::{Address, BareJid};
use crate::bridge::{Bridge, Kind};

/// Makes one test of each clause of the contract. Takes an expression that gives a [`Contract`]; it is evaluated in each test, inside a runtime,
/// and may `.await` (to start a server of the far side, say).
///
/// ```text
/// #[cfg(test)]
/// mod contract {
///     isthmus_bridge::contract_suite!(Contract::of(super::EchoKind, serde_json::json!({}), "alice"));
/// }
/// ```
#[macro_export]
macro_rules! contract_suite {
    ($contract:expr) => {
        $crate::contract_suite!(@tests $contract;
            every_ticket_is_answered
            several_recipients_get_a_leg_each
            many_deliveries_are_all_answered
            a_lost_lease_sends_nothing_and_the_session_goes_on
            a_full_link_loses_nothing
            every_question_ends
            a_session_stops_in_time
            a_session_starts_again
            the_service_stops_in_time
            nonsense_on_the_webhook_is_refused
            addresses_keep_their_law
            the_profile_is_sound
            settings_are_sound
            commands_are_sound
            commands_survive_nonsense
            texts_are_complete
            build_faults_name_their_keys
        );
    };
    (@tests $contract:expr; $($clause:ident)*) => {
        $(
            #[tokio::test]
            async fn $clause() {
                use $crate::suite::Contract;
                let contract: Contract = $contract;
                contract.$clause().await;
            }
        )*
    };
}

type Prepare = Box<dyn Fn(&Arc<FakeHost>) + Send + Sync>;

/// A bridge under test: its kind, a section that builds, and somebody on the far side who takes a message.
pub struct Contract {
    kind: Box<dyn Kind>,
    keys: Value,
    contact: String,
    room: Option<String>,
    user: BareJid,
    prepare: Prepare,
    held: Vec<Box<dyn Any + Send + Sync>>,
}

impl Contract {
    /// A kind, the keys of a section that builds, and the local part of a contact who takes messages.
    pub fn of(kind: impl Kind + 'static, keys: Value, contact: &str) -> Self {
        Self {
            kind: Box::new(kind),
            keys,
            contact: contact.to_owned(),
            room: None,
            user: BareJid::from("romeo@example.org"),
            prepare: Box::new(|_| {}),
            held: Vec::new(),
        }
    }

    /// With the local part of a room that may be entered.
    #[must_use]
    pub fn with_room(mut self, room: &str) -> Self {
        self.room = Some(room.to_owned());
        self
    }

    /// Does this to each host before a session starts: registers `romeo@example.org`, gives him an own identity.
    #[must_use]
    pub fn prepared(mut self, prepare: impl Fn(&Arc<FakeHost>) + Send + Sync + 'static) -> Self {
        self.prepare = Box::new(prepare);
        self
    }

    /// Keeps something until the test ends: a server of the far side, a temporary folder.
    #[must_use]
    pub fn holding(mut self, held: impl Any + Send + Sync) -> Self {
        self.held.push(Box::new(held));
        self
    }

    fn bridge(&self) -> Arc<dyn Bridge> {
        match build(&*self.kind, self.keys.clone()) {
            Ok(bridge) => bridge,
            Err(faults) => panic!("the section does not build: {faults:?}"),
        }
    }

    fn host(&self, bridge: &Arc<dyn Bridge>) -> Arc<FakeHost> {
        let host = FakeHost::of(bridge);
        (self.prepare)(&host);
        host
    }

    fn contact(&self, bridge: &Arc<dyn Bridge>) -> Address {
        parse(bridge, &self.contact)
    }

    /// A running session, its bridge, its host and the contact.
    fn session(&self) -> (Session, Arc<FakeHost>, Arc<dyn Bridge>, Address) {
        let bridge = self.bridge();
        let host = self.host(&bridge);
        let contact = self.contact(&bridge);
        let session = Session::start(&bridge, &host, self.user.as_str(), &contact);
        (session, host, bridge, contact)
    }

    /// One address of every sort that the bridge has.
    fn addresses(&self, bridge: &Arc<dyn Bridge>) -> Vec<Address> {
        let contact = self.contact(bridge);
        let mut all = vec![contact.clone(), Address::Gateway];
        if bridge.profile().networks {
            all.push(Address::Network(bridge.addressing().network(&contact)));
        }
        if let Some(Address::Room(room)) = self.room.as_ref().map(|r| parse(bridge, r)) {
            all.push(Address::Occupant { room: room.clone(), nick: "somebody".to_owned() });
            all.push(Address::Room(room));
        }
        all
    }
}

fn parse(bridge: &Arc<dyn Bridge>, local: &str) -> Address {
    match bridge.addressing().parse(Some(local), None) {
        Ok(address) => address,
        Err(e) => panic!("the bridge does not know the local part {local}: {e}"),
    }
}
