//! A server's ISUPPORT tokens, then MODE lines by its rules.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| isthmus_irc::fuzzing::server_modes(octets));
