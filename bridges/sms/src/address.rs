//! Numbers, short codes and names of senders ↔ local parts. One network; the local part is the one spelling of [`Number`].

use std::sync::Arc;

use isthmus_bridge::{Address, Addressing, BadAddress, ContactId, NetworkId, Parts, Resolved};

use crate::settings;
use crate::translate::country::country;
use crate::translate::number::Plan;

/// The bridge's addresses.
#[derive(Debug)]
pub(crate) struct NumberAddressing {
    network: NetworkId,
    plan: Plan,
}

impl NumberAddressing {
    /// For the bridge of this name.
    pub(crate) fn new(name: &str, plan: Plan) -> Self {
        Self { network: NetworkId::from(name), plan }
    }
}

impl Addressing for NumberAddressing {
    fn parse(&self, local: Option<&str>, _resource: Option<&str>) -> Result<Address, BadAddress> {
        let Some(local) = local else { return Ok(Address::Gateway) };
        match self.plan.typed(local) {
            Some(number) => Ok(Address::Contact(number.contact())),
            None => Err(BadAddress::Malformed(
                "a number with country code (+15551234567), a short code or the name of a sender is expected"
                    .to_owned(),
            )),
        }
    }

    fn parse_for(
        &self,
        local: Option<&str>,
        resource: Option<&str>,
        settings: &dyn Fn() -> Arc<Resolved>,
    ) -> Result<Address, BadAddress> {
        match local {
            // Anything else says all by itself.
            Some(national) if national.starts_with(|c: char| c.is_ascii_digit()) => {
                self.prompt_for(national, &settings())
            }
            _ => self.parse(local, resource),
        }
    }

    /// A national number is one of the user's country, where they have set one.
    fn prompt_for(&self, typed: &str, settings: &Resolved) -> Result<Address, BadAddress> {
        let own = settings.get(settings::COUNTRY).and_then(country);
        let plan = Plan { country: own.or(self.plan.country), short_codes: self.plan.short_codes.clone() };
        match plan.typed(typed) {
            Some(number) => Ok(Address::Contact(number.contact())),
            None => self.parse(Some(typed), None),
        }
    }

    fn format(&self, address: &Address) -> Parts {
        let Address::Contact(contact) = address else { return Parts::gateway() }; // no other address is ever made here
        Parts::local(contact.as_str())
    }

    fn network(&self, _address: &Address) -> NetworkId {
        self.network.clone()
    }
}

/// The contact of an address, where it is one.
pub(crate) fn contact(address: &Address) -> Option<&ContactId> {
    match address {
        Address::Contact(contact) => Some(contact),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn addressing() -> NumberAddressing {
        NumberAddressing::new("sms", Plan { country: country("US"), short_codes: Vec::new() })
    }

    #[test]
    fn a_national_number_is_the_same_contact() {
        let a = addressing();
        let full = a.parse(Some("+15551234567"), None).expect("a number");
        assert_eq!(a.parse(Some("5551234567"), None), Ok(full.clone()));
        assert_eq!(a.prompt(" (555) 123-4567 "), Ok(full.clone()));
        assert_eq!(a.format(&full), Parts::local("+15551234567"));
        assert!(a.parse(Some("+"), None).is_err());
    }

    #[test]
    fn a_national_number_is_completed_with_the_users_country() {
        let a = addressing();
        let settings = |country: &str| Resolved::new([(settings::COUNTRY, country.to_owned())].into());
        let number = |country: &str| a.prompt_for("030 1234567", &settings(country)).ok().map(|at| a.format(&at));
        assert_eq!(number("de"), Some(Parts::local("+49301234567")));
        let german = || Arc::new(settings("de"));
        let written = |local: &str| a.parse_for(Some(local), None, &german).ok().map(|at| a.format(&at));
        assert_eq!(written("0301234567"), Some(Parts::local("+49301234567")));
        assert_eq!(written("+15551234567"), Some(Parts::local("+15551234567")));
        assert_eq!(number("nowhere"), Some(Parts::local("+10301234567")), "as configured");
    }

    proptest! {
        #[test]
        fn the_law(local in "\\PC{0,30}") {
            let a = addressing();
            if let Ok(address) = a.parse(Some(&local), None) {
                let parts = a.format(&address);
                prop_assert_eq!(a.parse(parts.local.as_deref(), parts.resource.as_deref()), Ok(address));
            }
        }
    }
}
