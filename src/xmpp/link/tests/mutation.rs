//! The fuzz target's work (`tests/fuzz`) on the stable toolchain: its seeds, mutated a bounded number of times.

use std::path::PathBuf;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::super::raw::exercise;

/// Pieces that matter to a reader of XML.
const PIECES: &[&str] = &[
    "<",
    ">",
    "/",
    "'",
    "\"",
    "=",
    "&",
    ";",
    "<!",
    "<?",
    "<![CDATA[",
    "]]>",
    "]]",
    "--",
    " xmlns='",
    " xmlns:p='u'",
    "p:",
    "jabber:component:accept",
    "jabber:client",
    "&#x",
    "&#10;",
    "\u{FFFE}",
    "\r\n",
    "</message>",
    "<message from='a@b' to='c@d'>",
    "\u{0}",
    "<a>",
    "</a>",
    "<a/>",
    "xml:lang='x'",
];

fn seeds() -> Vec<(String, Vec<u8>)> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus/link_reader");
    let files = std::fs::read_dir(&folder).expect("the corpus is part of the project");
    let mut seeds: Vec<_> = files
        .map(|file| file.expect("a readable folder"))
        .map(|file| {
            (file.file_name().to_string_lossy().into_owned(), std::fs::read(file.path()).expect("a readable file"))
        })
        .collect();
    seeds.sort();
    seeds
}

/// Length of the stream's start tag, with what stands before it.
fn header_end(stream: &[u8]) -> usize {
    let open = memchr::memmem::find(stream, b"<stream:stream").expect("a seed begins with a stream");
    open + memchr::memchr(b'>', &stream[open..]).expect("a whole start tag") + 1
}

fn mutate(bytes: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=bytes.len());
        match random.random_range(0..5) {
            0 if at < bytes.len() => bytes[at] = random.random(),
            1 if at < bytes.len() => {
                bytes.remove(at);
            }
            2 => {
                let piece = PIECES[random.random_range(0..PIECES.len())];
                bytes.splice(at..at, piece.bytes());
            }
            3 => {
                let end = random.random_range(at..=bytes.len()).min(at + 40);
                bytes.drain(at..end);
            }
            _ => {
                let end = random.random_range(at..=bytes.len());
                let copy = bytes[at..end].to_vec();
                bytes.splice(at..at, copy);
            }
        }
    }
}

#[test]
fn the_seeds_are_read_as_they_are_meant() {
    let seeds = seeds();
    assert!(seeds.len() >= 9, "only {} seeds", seeds.len());
    for (name, bytes) in &seeds {
        let expected = match name.as_str() {
            "prosody" => (3, 0),
            "groupchat" | "forwarded" | "cdata" | "prefixes" => (1, 0),
            "error" | "forbidden" => (0, 0),
            "bad" => (0, 4),
            "deep" => (0, 1),
            other => panic!("say what the seed {other} is"),
        };
        for piece in [1, 7, 4096] {
            assert_eq!(exercise(&bytes[1..], piece), expected, "{name} in pieces of {piece}");
        }
    }
}

#[test]
fn mutated_streams_never_make_the_reader_panic_or_contradict_itself() {
    let mut random = StdRng::seed_from_u64(0x1574);
    let (mut good, mut bad) = (0, 0);
    for (name, seed) in seeds() {
        for round in 0..1500 {
            // The stream's own start tag is mutated in one round of four: broken, it ends everything.
            let tag = if round % 4 == 0 { 1 } else { 1 + header_end(&seed[1..]) };
            let mut bytes = seed[tag..].to_vec();
            mutate(&mut bytes, &mut random);
            bytes.splice(0..0, seed[1..tag].iter().copied());
            let piece = random.random_range(1..200);
            let result = std::panic::catch_unwind(|| exercise(&bytes, piece));
            let Ok((these, those)) = result else {
                panic!("{name}, round {round}, in pieces of {piece}: {:?}", String::from_utf8_lossy(&bytes));
            };
            good += these;
            bad += those;
        }
    }
    // Mutations that leave nothing to read would test nothing.
    assert!(good > 1000 && bad > 1000, "{good} good and {bad} bad stanzas");
}
