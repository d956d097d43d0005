//! Whether files can be uploaded (XEP-0363): asks for a real slot, as the gateway will.

use super::attach::Attached;
use super::servers;
use crate::admin::control::FindingRow;
use crate::config::{BridgeConfig, Config};
use crate::xmpp::ns;
use crate::xmpp::xml::Xml;

const UPLOAD: &str = "urn:xmpp:http:upload:0";

/// Items of a server that are looked at when the upload service is searched.
const ITEMS: usize = 50;

/// What there is to say about uploads of this bridge.
pub(super) async fn upload(config: &Config, bridge: &BridgeConfig, attached: &mut Attached) -> Option<FindingRow> {
    let name = Some(bridge.name.as_str());
    if !bridge.bridge.profile().files {
        return None;
    }
    let service = match &config.files.upload {
        Some(service) => service.clone(),
        None => match find(&config.domains, attached).await {
            Some(service) => service,
            None => {
                return Some(FindingRow::warning(
                    name,
                    "no upload service (XEP-0363) is found at server.domains: files are served by the gateway itself, where http.public_url is set",
                    "in Prosody, Component \"upload.example.org\" \"http_file_share\"; in ejabberd, mod_http_upload; or name one: upload = \"…\" under [files]",
                ));
            }
        },
    };
    let slot = |xml: &mut Xml| {
        xml.open("request", UPLOAD).attr("filename", "check.txt").attr("size", "1").attr("content-type", "text/plain");
    };
    Some(match attached.get(&service, slot).await {
        Ok(Some(slot)) if slot.is("slot", UPLOAD) => FindingRow::good(name, format!("{service} gives upload slots")),
        Ok(_) => FindingRow::fault(
            name,
            format!("{service} answers the request for an upload slot with something else"),
            "look into the server's log",
        ),
        Err(condition) => FindingRow::warning(
            name,
            format!(
                "{service} gives no upload slot ({condition}): files are served by the gateway itself, where http.public_url is set"
            ),
            servers::upload_lines(&bridge.domain),
        ),
    })
}

async fn find(domains: &[String], attached: &mut Attached) -> Option<String> {
    for domain in domains {
        let Ok(Some(items)) = attached.get(domain, query(ns::DISCO_ITEMS)).await else { continue };
        let jids: Vec<String> = items.children().filter_map(|i| i.attr("jid")).take(ITEMS).map(str::to_owned).collect();
        for jid in jids {
            let Ok(Some(info)) = attached.get(&jid, query(ns::DISCO_INFO)).await else { continue };
            if info.children().any(|f| f.name() == "feature" && f.attr("var") == Some(UPLOAD)) {
                return Some(jid);
            }
        }
    }
    None
}

fn query(namespace: &'static str) -> impl FnOnce(&mut Xml) {
    move |xml| {
        xml.empty("query", namespace);
    }
}
