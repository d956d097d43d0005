//! Text of any kind, to IRC and from it: the words stay, nothing ends a line.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|octets: &[u8]| isthmus_irc::fuzzing::formatting(octets));
