//! Settings in force for a user at an address.
