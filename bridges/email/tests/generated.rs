#![allow(clippy::unwrap_used, clippy::print_stderr)] // helpers of tests are not tests to clippy
//! Mails of every MIME shape, and damaged real ones, through everything that reads mail: no panic, and its laws hold.

use std::fmt::Write as _;

use isthmus_email::fuzzing;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// Mails in one run. `tests/run` counts on the full number.
const MAILS: u64 = 100_000;

#[test]
fn a_hundred_thousand_generated_mails_are_read() {
    let threads = 2;
    std::thread::scope(|scope| {
        for thread in 0..threads {
            scope.spawn(move || {
                for seed in (thread..MAILS).step_by(2) {
                    let mail = Generator::new(seed).mail();
                    read(seed, &mail);
                }
            });
        }
    });
}

#[test]
fn damaged_real_mails_are_read() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/samples");
    let samples: Vec<Vec<u8>> =
        std::fs::read_dir(folder).unwrap().map(|e| std::fs::read(e.unwrap().path()).unwrap()).collect();
    assert!(samples.len() >= 9);
    for seed in 0..2_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut mail = samples.choose(&mut random).unwrap().clone();
        damage(&mut mail, &mut random);
        read(seed, &mail);
        fuzzing::dialogue(&mail);
    }
}

#[test]
fn damaged_dialogues_are_answered() {
    let script = b"EHLO c.test\r\nMAIL FROM:<a@x.test> SIZE=10 BODY=8BITMIME\r\nRCPT TO:<j@gw.test>\r\nDATA\r\nhi\r\n..\r\n.\r\nSTARTTLS\r\nEHLO c\r\nMAIL FROM:<>\r\nRCPT TO:<k@gw.test>\r\nBDAT 4\r\nab\r\nBDAT 0 LAST\r\nVRFY x\r\nQUIT\r\n";
    for seed in 0..5_000 {
        let mut random = StdRng::seed_from_u64(seed);
        let mut wire = script.to_vec();
        damage(&mut wire, &mut random);
        fuzzing::dialogue(&wire);
        fuzzing::dialogue(&String::from_utf8_lossy(&wire).replace("EHLO", "LHLO").into_bytes());
    }
}

/// Says which mail it was when a reader panics.
fn read(seed: u64, mail: &[u8]) {
    if let Err(panic) = std::panic::catch_unwind(|| fuzzing::mail(mail)) {
        eprintln!("seed {seed}:\n{}", mail.escape_ascii());
        std::panic::resume_unwind(panic);
    }
}

fn damage(mail: &mut Vec<u8>, random: &mut StdRng) {
    for _ in 0..random.random_range(0..8) {
        if mail.is_empty() {
            return;
        }
        let at = random.random_range(0..mail.len());
        let to = random.random_range(at..mail.len().min(at + 200));
        match random.random_range(0..6) {
            0 => mail[at] = random.random(),
            1 => mail.truncate(at),
            2 => drop(mail.drain(at..to)),
            3 => {
                let copy = mail[at..to].to_vec();
                mail.splice(at..at, copy);
            }
            4 => mail.insert(at, *b"\r\n\0-=\"<>;:.,\\()\xff\xe2".choose(random).unwrap()),
            _ => {
                let other = random.random_range(0..mail.len());
                mail.swap(at, other);
            }
        }
    }
}

/// Makes one mail from a seed.
struct Generator {
    random: StdRng,
    parts: usize,
}

const CHARSETS: &[&str] = &[
    "utf-8",
    "us-ascii",
    "iso-8859-1",
    "iso-8859-15",
    "windows-1251",
    "koi8-r",
    "shift_jis",
    "iso-2022-jp",
    "gb18030",
    "big5",
    "euc-kr",
    "utf-16",
    "utf-16le",
    "utf-7",
    "x-unknown",
    "",
    "\"utf-8",
    "hz-gb-2312",
];
const TYPES: &[&str] = &[
    "text/plain",
    "text/html",
    "text/plain; format=flowed",
    "text/plain; format=flowed; delsp=yes",
    "image/png",
    "application/pdf",
    "message/rfc822",
    "message/delivery-status",
    "message/disposition-notification",
    "text/calendar",
    "application/octet-stream",
    "message/partial; number=1; total=2",
    "TEXT/PLAIN",
    "text",
    "/",
    ";",
    "text/plain;;;",
    "application/pgp-signature",
    "message/global",
];
const WORDS: &[&str] = &[
    "hello",
    "> quoted",
    "-- ",
    "--",
    "On Monday, J wrote:",
    "<p>",
    "</p>",
    "<a href=\"https://x.test/?a=1&amp;b\">",
    "&#0;",
    "&amp;",
    "<!--",
    "-->",
    "<blockquote>",
    "<div style='display:none'>",
    "é",
    "日本",
    "\u{202e}",
    "\u{0}",
    "=3D",
    "=",
    "=\n",
    "aGVsbG8=",
    "----",
    "_____",
    "From: x",
    "\t",
    " ",
    "",
    ".",
    "..",
    "--b0",
    "--b1--",
    "\r",
    "\u{fffd}",
    "begin 644 x",
    "\u{1b}$B$3$s\u{1b}(B",
];

impl Generator {
    fn new(seed: u64) -> Self {
        Self { random: StdRng::seed_from_u64(seed), parts: 0 }
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from.choose(&mut self.random).copied().unwrap_or("")
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_ratio(1, n)
    }

    fn mail(mut self) -> Vec<u8> {
        let mut text = String::new();
        self.headers(&mut text);
        self.part(&mut text, 0);
        let mut mail = if self.one_in(4) { text.into_bytes() } else { text.replace('\n', "\r\n").into_bytes() };
        if self.one_in(3) {
            damage(&mut mail, &mut self.random);
        }
        mail
    }

    fn headers(&mut self, out: &mut String) {
        for name in [
            "From",
            "To",
            "Cc",
            "Subject",
            "Date",
            "Message-ID",
            "In-Reply-To",
            "References",
            "Received",
            "Auto-Submitted",
            "List-Id",
            "List-Unsubscribe",
            "Authentication-Results",
            "DKIM-Signature",
            "ARC-Seal",
        ] {
            if self.one_in(3) {
                continue;
            }
            let value = self.header_value();
            let _ = writeln!(out, "{name}: {value}");
        }
    }

    fn header_value(&mut self) -> String {
        let mut value = String::new();
        for _ in 0..self.random.random_range(0..5) {
            value.push_str(self.pick_header_word());
            value.push_str(self.pick(&[" ", ", ", "\n ", ";", "", "\n\t"]));
        }
        value
    }

    fn pick_header_word(&mut self) -> &'static str {
        self.pick(&[
            "a@x.test",
            "<a@x.test>",
            "\"A B\" <a@x.test>",
            "=?utf-8?q?=C3=A9?=",
            "=?utf-8?b?w6k=?=",
            "=?x?q?=0D=0A?=",
            "=?utf-8?b?!!!?=",
            "=?iso-2022-jp?B?GyRCJDMkcxsoQg==?=",
            "group: a@x, b@y;",
            "(comment (nested",
            "\"unfinished",
            "<",
            ">",
            "@",
            "Sun, 22 Nov 2026 02:02:01 +0000",
            "99 Foo 99999",
            "<1@x.test>",
            "<>",
            "mx.test; dmarc=fail (p=reject)",
            "v=1; a=rsa-sha256; d=x; s=y; bh=; b=",
            "auto-replied",
            "é",
            "\u{0}",
            "i=1; a=rsa-sha256; cv=none",
            "<https://x.test/u>",
            "<mailto:u@x?subject=a%0Ab>",
            "\\",
            "\"\\\"",
        ])
    }

    fn part(&mut self, out: &mut String, depth: usize) {
        self.parts += 1;
        if depth < 8 && self.parts < 30 && self.random.random_ratio(2, 5) {
            return self.multipart(out, depth);
        }
        let charset = self.pick(CHARSETS);
        let kind = self.pick(TYPES);
        let encoding = self.pick(&["7bit", "8bit", "base64", "quoted-printable", "x-uuencode", "", "BASE64", "binary"]);
        let disposition = self.pick(&[
            "",
            "inline",
            "attachment; filename=\"../a.txt\"",
            "attachment; filename*=utf-8''%e2%82%ac",
            "attachment; filename*0=a; filename*1=b",
            "form-data",
        ]);
        if !self.one_in(6) {
            let _ = writeln!(out, "Content-Type: {kind}; charset={charset}");
        }
        let _ = writeln!(out, "Content-Transfer-Encoding: {encoding}");
        if !disposition.is_empty() {
            let _ = writeln!(out, "Content-Disposition: {disposition}");
        }
        out.push('\n');
        if kind.starts_with("message/") && self.one_in(2) {
            self.headers(out);
            return self.part(out, depth + 1);
        }
        for _ in 0..self.random.random_range(0..20) {
            out.push_str(self.pick(WORDS));
            out.push_str(self.pick(&[" ", "\n", "\n", "", " \n"]));
        }
    }

    fn multipart(&mut self, out: &mut String, depth: usize) {
        let kind = self.pick(&[
            "mixed",
            "alternative",
            "related",
            "report; report-type=delivery-status",
            "signed",
            "digest",
            "encrypted",
            "x-odd",
            "form-data",
        ]);
        // Boundaries that are missing, equal to the parent's, or each other's beginning.
        let boundary = match self.random.random_range(0..12) {
            0 => String::new(),
            1 => "b0".to_owned(),
            2 => "b".to_owned(),
            3 => "\"b 1\"".to_owned(),
            _ => format!("b{depth}"),
        };
        let _ = writeln!(out, "Content-Type: multipart/{kind}; boundary={boundary}\n");
        let line = boundary.trim_matches('"').to_owned();
        for _ in 0..self.random.random_range(0..4) {
            let _ = writeln!(out, "--{line}");
            self.part(out, depth + 1);
            out.push('\n');
        }
        if !self.one_in(4) {
            let _ = writeln!(out, "--{line}--");
        }
    }
}
