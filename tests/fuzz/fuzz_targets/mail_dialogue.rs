//! Arbitrary octets spoken to the listener in both dialects: no panic, every answer a line, nothing kept beyond its bound.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| isthmus_email::fuzzing::dialogue(octets));
