//! User search (XEP-0055), where a bridge's network has a directory.

use std::sync::Arc;

use isthmus_bridge::query::Part;
use isthmus_bridge::{Address, ContactId, Field, FieldKind, Form, Lang, Query, SessionOf, Table, Text, Values};
use minidom::Element;

use super::core::{Core, Served};
use super::iq::{Answer, with};
use super::messages::lang;
use super::receive::Heard;
use crate::access::Tier;
use crate::xmpp::errors::StanzaError;
use crate::xmpp::link::Child;
use crate::xmpp::{forms, ns};

/// The fields that XEP-0055 names.
const FIELDS: [(&str, &str); 4] =
    [("first", "search.first"), ("last", "search.last"), ("nick", "search.nick"), ("email", "search.email")];

impl Core {
    /// What can be searched for, or who was found.
    pub(super) async fn search(
        self: &Arc<Self>,
        served: &Arc<Served>,
        heard: &Heard,
        payload: &Child<'_>,
        get: bool,
    ) -> Answer {
        let fields = served.instance.bridge.directory();
        if fields.is_empty() {
            return Err(StanzaError::service_unavailable());
        }
        if self.may(served, &heard.from) < Tier::User {
            return Err(StanzaError::forbidden().with(Text::key("error.not-allowed-here")));
        }
        let lang = lang(&heard.stanza);
        if get {
            let query = self.search_form(served, fields, &lang);
            return with(move |xml| {
                xml.element(&query);
            });
        }
        let element = payload.element().map_err(|_| StanzaError::bad_request())?;
        let wanted = wanted(&element, fields);
        if wanted.is_empty() {
            return Err(StanzaError::not_acceptable().with(Text::key("search.words")));
        }
        let of = SessionOf::new(heard.from.bare(), served.network(&heard.at));
        let parts = self.rooms(served).question_anew(&of, Query::Search(wanted)).await?;
        let form = element.get_child("x", ns::DATA).is_some();
        let query = self.found(served, fields, &people(served, parts), form, &lang);
        with(move |xml| {
            xml.element(&query);
        })
    }

    fn search_form(&self, served: &Served, fields: &[&'static str], lang: &Lang) -> Element {
        let say = |text: &Text| self.words(served, text, lang);
        let mut query = Element::bare("query", ns::SEARCH);
        let mut words = Element::bare("instructions", ns::SEARCH);
        words.append_text_node(say(&Text::key("search.words")));
        query.append_child(words);
        for field in fields {
            query.append_child(Element::bare(*field, ns::SEARCH));
        }
        let asked =
            fields.iter().map(|key| Field::new(*key, FieldKind::Line).with_label(Text::key(label(key)))).collect();
        query.append_child(forms::to_xml(&Form::new(Text::key("search.title"), asked), Some(ns::SEARCH), &say));
        query
    }

    fn found(
        &self,
        served: &Served,
        fields: &[&'static str],
        all: &[(String, Values)],
        form: bool,
        lang: &Lang,
    ) -> Element {
        let mut query = Element::bare("query", ns::SEARCH);
        if form {
            let say = |text: &Text| self.words(served, text, lang);
            let mut columns = vec![("jid".to_owned(), Text::key("search.jid"))];
            columns.extend(fields.iter().map(|key| ((*key).to_owned(), Text::key(label(key)))));
            let mut table = Table::new(columns);
            let cell = |values: &Values, key: &str| values.get(key).unwrap_or_default().to_owned();
            table.rows = all
                .iter()
                .map(|(jid, values)| {
                    std::iter::once(jid.clone()).chain(fields.iter().map(|key| cell(values, key))).collect()
                })
                .collect();
            query.append_child(forms::table_to_xml(&table, Some(ns::SEARCH), &say));
            return query;
        }
        for (jid, values) in all {
            let mut item = Element::bare("item", ns::SEARCH);
            forms::set(&mut item, "jid", jid.as_str());
            for key in fields {
                let mut child = Element::bare(*key, ns::SEARCH);
                child.append_text_node(forms::printable(values.get(key).unwrap_or_default()));
                item.append_child(child);
            }
            query.append_child(item);
        }
        query
    }
}

fn label(key: &str) -> &'static str {
    FIELDS.iter().find(|(name, _)| *name == key).map_or("search.nick", |(_, label)| label)
}

/// What was filled in, in a form or in the elements of old clients.
fn wanted(query: &Element, fields: &[&'static str]) -> Values {
    let mut values = Values::new();
    let form = query.get_child("x", ns::DATA);
    for key in fields {
        let written = match form {
            Some(form) => {
                let field = form.children().find(|f| f.name() == "field" && f.attr("var") == Some(key));
                field.and_then(|f| f.children().find(|v| v.name() == "value")).map(Element::text)
            }
            None => query.get_child(*key, ns::SEARCH).map(Element::text),
        };
        if let Some(text) = written.filter(|text| !text.trim().is_empty()) {
            values.set(*key, text.trim());
        }
    }
    values
}

/// Those who have a JID here.
fn people(served: &Served, parts: Vec<Part>) -> Vec<(String, Values)> {
    let one = |part: Part| match part {
        Part::Facts(values) => {
            let at = Address::Contact(ContactId::from(values.get("contact")?));
            Some((served.jid(&at)?, values))
        }
        _ => None,
    };
    parts.into_iter().filter_map(one).collect()
}
