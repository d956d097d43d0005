//! A server's bytes, cut into pieces of the first byte's size: lines, tags, ISUPPORT, modes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| isthmus_irc::fuzzing::reader(octets));
