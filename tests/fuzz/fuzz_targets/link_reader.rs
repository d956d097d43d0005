//! The link's reader on arbitrary bytes: no panic, no disagreement between header, children and tree, and what is
//! written back reads the same. The first byte decides how the rest is cut into reads.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Some((piece, stream)) = bytes.split_first() else { return };
    isthmus::xmpp::link::raw::exercise(stream, usize::from(*piece));
});
