//! What the link's reader and writer cost beside tokio-xmpp's typed stream and minidom, in one run, on the same
//! 589-byte groupchat message. `cargo run --release --example bench-link`; figures in `docs/decisions/0001-own-link.md`.
#![allow(clippy::print_stdout, missing_docs)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use isthmus::xmpp::link::raw::{Read, Reader};
use isthmus::xmpp::link::{Limits, StanzaWriter};
use minidom::Element;
use tokio_xmpp::Stanza;
use tokio_xmpp::xmlstream::{StreamHeader, Timeouts, XmlStream, XmppStreamElement, initiate_stream};

const SIZE: usize = 589;
const BATCH: usize = 2_000;
const ROUNDS: usize = 15;
const HEADER: &str = "<?xml version='1.0'?><stream:stream xmlns='NAMESPACE' \
     xmlns:stream='http://etherx.jabber.org/streams' id='s1' version='1.0'>";

const FROM: &str = "#rust%irc.libera.chat@irc.example.org/ferris";
const TO: &str = "juliet@example.org/gajim.7F2K0QX4";
const ID: &str = "7d5b0c0e-3a0f-4f0e-9b5c-2f6f0f3d8c11";
const STANZA_ID: &str = "01JD4X0T9G6V8Q2W";
const OCCUPANT: &str = "dd72603deec90a38ba552f7c68cbcc61bca202cd";

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let body = body()?;
    let message = ours(&body)?;
    anyhow::ensure!(message.len() == SIZE, "the message has {} bytes", message.len());
    let typed = XmppStreamElement::Stanza(Stanza::Message(in_client(&message)?.try_into()?));

    let rows = [
        ("read: tokio-xmpp, typed", best(|| runtime.block_on(read_typed(&message)))?),
        ("read: minidom", best(|| read_minidom(&message))?),
        ("read: quick-xml, bare events", best(|| read_quick_xml(&message))?),
        ("read: quick-xml, namespaces + header + body", best(|| read_quick_xml_header(&message))?),
        ("read: link, frame + header + body", best(|| read_link(&message, false))?),
        ("read: link, and a minidom tree", best(|| read_link(&message, true))?),
        ("write: tokio-xmpp, typed", best(|| runtime.block_on(write_typed(&typed)))?),
        ("write: link", best(|| write_link(&body))?),
    ];
    println!("{SIZE}-byte groupchat message; best of {ROUNDS} rounds of {BATCH}; ratios to tokio-xmpp\n");
    println!("| what | ns each | each second | ratio |\n|---|---:|---:|---:|");
    for (name, time) in &rows {
        let way = name.split(':').next().unwrap_or_default();
        let base = rows.iter().find(|(other, _)| other.starts_with(way)).map_or(*time, |(_, base)| *base);
        let each = time.as_secs_f64() / BATCH as f64;
        let ratio = base.as_secs_f64() / time.as_secs_f64();
        println!("| {name} | {:.0} | {:.0} | {ratio:.1} |", each * 1e9, 1.0 / each);
    }
    Ok(())
}

/// The quickest of several rounds: what the code costs, without what else the machine does.
fn best(mut round: impl FnMut() -> anyhow::Result<usize>) -> anyhow::Result<Duration> {
    let mut best = Duration::MAX;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let seen = black_box(round()?);
        best = best.min(start.elapsed());
        anyhow::ensure!(seen == BATCH, "{seen} of {BATCH} messages were handled");
    }
    Ok(best)
}

/// A body with characters to escape that makes the message as large as it is to be.
fn body() -> anyhow::Result<String> {
    let mut body =
        "the borrow checker is right: you can't keep `&mut self` across that call & return a <ref> ".to_owned();
    while ours(&body)?.len() < SIZE {
        body.push('.');
    }
    Ok(body)
}

fn ours(body: &str) -> anyhow::Result<Vec<u8>> {
    let mut out = Vec::new();
    let mut writer = StanzaWriter::new(&mut out, "irc.example.org", SIZE * 2);
    write_one(&mut writer, body);
    writer.finish()?;
    Ok(out)
}

fn write_one(w: &mut StanzaWriter<'_>, body: &str) {
    w.message(FROM, TO, Some("groupchat"), Some(ID)).leaf("body", None, body);
    w.open("stanza-id", Some("urn:xmpp:sid:0"))
        .attr("by", "#rust%irc.libera.chat@irc.example.org")
        .attr("id", STANZA_ID)
        .close();
    w.open("occupant-id", Some("urn:xmpp:occupant-id:0")).attr("id", OCCUPANT).close();
}

fn in_client(message: &[u8]) -> anyhow::Result<Element> {
    let text = std::str::from_utf8(message)?.replacen("<message ", "<message xmlns='jabber:client' ", 1);
    Ok(text.parse()?)
}

fn stream(message: &[u8], namespace: &str, features: &str) -> Vec<u8> {
    let mut bytes = HEADER.replace("NAMESPACE", namespace).into_bytes();
    bytes.extend_from_slice(features.as_bytes());
    for _ in 0..BATCH {
        bytes.extend_from_slice(message);
    }
    bytes
}

type Typed<'a> = XmlStream<tokio::io::Join<&'a [u8], tokio::io::Sink>, XmppStreamElement>;

async fn open(bytes: &[u8]) -> anyhow::Result<Typed<'_>> {
    let io = tokio::io::join(bytes, tokio::io::sink());
    let stream = initiate_stream(io, "jabber:client", StreamHeader::default(), Timeouts::default()).await?;
    let (_, stream) = stream.recv_features().await?;
    Ok(stream)
}

async fn read_typed(message: &[u8]) -> anyhow::Result<usize> {
    let bytes = stream(message, "jabber:client", "<stream:features/>");
    let mut stream = open(&bytes).await?;
    let mut seen = 0;
    for _ in 0..BATCH {
        if let Some(Ok(XmppStreamElement::Stanza(Stanza::Message(message)))) = stream.next().await {
            seen += usize::from(message.bodies.values().any(|body| !body.is_empty()));
        }
    }
    Ok(seen)
}

fn read_minidom(message: &[u8]) -> anyhow::Result<usize> {
    let text = std::str::from_utf8(message)?.replacen("<message ", "<message xmlns='jabber:client' ", 1);
    let mut seen = 0;
    for _ in 0..BATCH {
        let element = Element::from_reader(black_box(text.as_bytes()))?;
        seen += usize::from(element.get_child("body", "jabber:client").is_some_and(|body| !body.text().is_empty()));
    }
    Ok(seen)
}

/// What the link's own scanner was compared with: no framing, no checks, nothing but events.
fn read_quick_xml(message: &[u8]) -> anyhow::Result<usize> {
    let mut seen = 0;
    for _ in 0..BATCH {
        let mut reader = quick_xml::Reader::from_reader(black_box(message));
        loop {
            match reader.read_event()? {
                quick_xml::events::Event::Eof => break,
                event => {
                    black_box(event);
                }
            }
        }
        seen += 1;
    }
    Ok(seen)
}

/// The same with what the link gives: names with namespaces, the header's attributes, the body as text.
fn read_quick_xml_header(message: &[u8]) -> anyhow::Result<usize> {
    use quick_xml::events::Event;
    let mut seen = 0;
    for _ in 0..BATCH {
        let mut reader = quick_xml::NsReader::from_reader(black_box(message));
        let (mut body, mut in_body) = (String::new(), false);
        loop {
            match reader.read_event()? {
                Event::Eof => break,
                Event::Start(tag) | Event::Empty(tag) => {
                    let (namespace, name) = reader.resolver().resolve_element(tag.name());
                    in_body = name.as_ref() == "body";
                    black_box(namespace);
                    for attribute in tag.attributes() {
                        black_box(attribute?.value);
                    }
                }
                Event::Text(text) if in_body => body.push_str(&text),
                Event::GeneralRef(name) if in_body => body.push_str(&name),
                event => {
                    black_box(event);
                }
            }
        }
        seen += usize::from(!body.is_empty());
    }
    Ok(seen)
}

fn read_link(message: &[u8], tree: bool) -> anyhow::Result<usize> {
    let bytes = stream(message, "jabber:component:accept", "");
    let mut reader = Reader::new(Limits::default());
    let mut seen = 0;
    for piece in bytes.chunks(16 << 10) {
        reader.feed(piece);
        while let Some(read) = reader.read().map_err(anyhow::Error::msg)? {
            let Read::Stanza(stanza) = read else { continue };
            black_box((stanza.from(), stanza.to(), stanza.id(), stanza.type_()));
            if tree {
                black_box(stanza.element()?);
            }
            seen += usize::from(stanza.body().is_some_and(|body| !body.is_empty()));
        }
    }
    Ok(seen)
}

async fn write_typed(message: &XmppStreamElement) -> anyhow::Result<usize> {
    let bytes = stream(b"", "jabber:client", "<stream:features/>");
    let mut stream = open(&bytes).await?;
    for _ in 0..BATCH {
        stream.feed(black_box(message)).await?;
    }
    SinkExt::<&XmppStreamElement>::flush(&mut stream).await?;
    Ok(BATCH)
}

fn write_link(body: &str) -> anyhow::Result<usize> {
    let mut buffer = Vec::new();
    for number in 0..BATCH {
        if number % 100 == 0 {
            buffer.clear();
        }
        let mut writer = StanzaWriter::new(&mut buffer, "irc.example.org", 256 << 10);
        write_one(&mut writer, black_box(body));
        writer.finish()?;
    }
    black_box(&buffer);
    Ok(BATCH)
}
