//! Inbound mail of arbitrary octets: no panic, and no octet of it reaches a field where it must not be. Seeds: real reports.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| isthmus_email::fuzzing::mail(octets));
