//! Figures in Prometheus' text format (version 0.0.4).

use std::fmt::{Display, Write};

/// A page of figures. Each family is written once, with all its values.
#[derive(Debug, Default)]
pub struct Page {
    text: String,
}

impl Page {
    /// A family of figures that only rise. Its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "counter", help)
    }

    /// A family of figures that rise and fall.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "gauge", help)
    }

    /// A family of histograms: how many of something were how long.
    pub fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "histogram", help)
    }

    /// The page.
    #[must_use]
    pub fn into_text(self) -> String {
        self.text
    }

    fn family(&mut self, name: &'static str, kind: &str, help: &str) -> Family<'_> {
        self.text.push_str("# HELP ");
        self.text.push_str(name);
        self.text.push(' ');
        escape(&mut self.text, help, false);
        // Writing to a String does not fail.
        let _ = write!(self.text, "\n# TYPE {name} {kind}\n");
        Family { page: self, name }
    }
}

/// One family on a page.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Family<'_> {
    /// One value with its labels. No two values of a family have the same labels.
    pub fn value(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        self.line("", labels, value)
    }

    /// One histogram with its labels: the upper end of each step with how many were not beyond it, all of them, and their sum.
    pub fn steps(
        &mut self,
        labels: &[(&str, &str)],
        steps: impl Iterator<Item = (f64, u64)>,
        count: u64,
        sum: f64,
    ) -> &mut Self {
        for (end, below) in steps {
            let end = end.to_string();
            self.line("_bucket", &[labels, &[("le", &end)]].concat(), below);
        }
        self.line("_bucket", &[labels, &[("le", "+Inf")]].concat(), count);
        self.line("_sum", labels, sum);
        self.line("_count", labels, count)
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let text = &mut self.page.text;
        text.push_str(self.name);
        text.push_str(suffix);
        for (index, (name, value)) in labels.iter().enumerate() {
            text.push(if index == 0 { '{' } else { ',' });
            text.push_str(name);
            text.push_str("=\"");
            escape(text, value, true);
            text.push('"');
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
        self
    }
}

fn escape(text: &mut String, what: &str, quotes: bool) {
    for c in what.chars() {
        match c {
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '"' if quotes => text.push_str("\\\""),
            c => text.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_what_prometheus_reads() {
        let mut page = Page::default();
        page.counter("isthmus_stanzas_total", "Stanzas, by direction.\nAnd more.")
            .value(&[("bridge", "mail"), ("way", "in")], 3)
            .value(&[("bridge", "a\"\\\nb"), ("way", "out")], 4);
        page.gauge("isthmus_up", "Whether it \"lives\".").value(&[], 1.5);
        page.histogram("isthmus_delay_seconds", "How long.").steps(
            &[("bridge", "mail")],
            [(0.5, 1)].into_iter(),
            2,
            3.25,
        );
        assert_eq!(
            page.into_text(),
            "# HELP isthmus_stanzas_total Stanzas, by direction.\\nAnd more.\n# TYPE isthmus_stanzas_total counter\n\
             isthmus_stanzas_total{bridge=\"mail\",way=\"in\"} 3\nisthmus_stanzas_total{bridge=\"a\\\"\\\\\\nb\",way=\"out\"} 4\n\
             # HELP isthmus_up Whether it \"lives\".\n# TYPE isthmus_up gauge\nisthmus_up 1.5\n\
             # HELP isthmus_delay_seconds How long.\n# TYPE isthmus_delay_seconds histogram\n\
             isthmus_delay_seconds_bucket{bridge=\"mail\",le=\"0.5\"} 1\nisthmus_delay_seconds_bucket{bridge=\"mail\",le=\"+Inf\"} 2\n\
             isthmus_delay_seconds_sum{bridge=\"mail\"} 3.25\nisthmus_delay_seconds_count{bridge=\"mail\"} 2\n"
        );
    }
}
