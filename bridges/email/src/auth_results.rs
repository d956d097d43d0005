//! Reads `Authentication-Results` (RFC 8601) and the like: what a server that we trust has found out about a mail.

/// What one server says.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Results {
    /// Who says it (authserv-id), lower case.
    pub server: String,
    /// Method by method, in order.
    pub methods: Vec<Method>,
}

/// One method's result: `dmarc=fail (p=reject) header.from=example.net`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Method {
    /// `dmarc`, `spf`, `dkim`, `arc`; lower case.
    pub name: String,
    /// `pass`, `fail`, …; lower case.
    pub result: String,
    /// `header.d` → `example.net`; names in lower case.
    pub properties: Vec<(String, String)>,
    /// Words in brackets, lower case, all of them.
    pub comments: String,
}

impl Method {
    /// A property's value.
    pub(crate) fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }
}

/// Methods of one header, at most.
const MAX_METHODS: usize = 50;

/// Reads the value of a header; `None` if it does not begin with an authserv-id.
pub(crate) fn parse(value: &str) -> Option<Results> {
    let mut fields = fields(value).into_iter();
    let mut first = fields.next()?;
    // The instance of ARC-Authentication-Results (RFC 8617) stands before the authserv-id.
    if first.words.first().is_some_and(|w| w.starts_with("i=")) && first.words.len() == 1 {
        first = fields.next()?;
    }
    let server = first.words.first()?.trim_end_matches('.').to_ascii_lowercase();
    if server.is_empty() || server.contains('=') {
        return None;
    }
    let methods = fields.take(MAX_METHODS).filter_map(method).collect();
    Some(Results { server, methods })
}

/// The topmost word of any of these headers on a method: servers add theirs at the top, and what is below may be older.
pub(crate) fn first<'r>(results: &'r [Results], name: &str) -> Option<&'r Method> {
    results.iter().flat_map(|r| &r.methods).find(|m| m.name == name)
}

fn method(field: Field) -> Option<Method> {
    let mut words = field.words.into_iter();
    let (name, result) = words.next()?.split_once('=').map(|(n, r)| (n.to_owned(), r.to_owned()))?;
    let name = name.split('/').next().unwrap_or("").trim().to_ascii_lowercase();
    let properties = words
        .filter_map(|w| w.split_once('=').map(|(n, v)| (n.to_ascii_lowercase(), v.to_owned())))
        .take(MAX_METHODS)
        .collect();
    Some(Method { name, result: result.to_ascii_lowercase(), properties, comments: field.comments })
        .filter(|m| !m.name.is_empty() && !m.result.is_empty())
}

#[derive(Default)]
struct Field {
    words: Vec<String>,
    comments: String,
}

/// Splits at `;`, outside comments and quoted strings; white space around `=` is dropped.
fn fields(value: &str) -> Vec<Field> {
    let mut out = vec![Field::default()];
    let mut word = String::new();
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    let mut chars = value.chars().peekable();
    while let Some(c) = chars.next() {
        let Some(field) = out.last_mut() else { break };
        if escaped {
            escaped = false;
            if quoted && depth == 0 {
                word.push(c);
            }
            continue;
        }
        match c {
            '\\' if quoted || depth > 0 => escaped = true,
            '"' if depth == 0 => quoted = !quoted,
            _ if quoted => word.push(c),
            '(' => depth += 1,
            ')' if depth > 0 => {
                depth -= 1;
                field.comments.push(' ');
            }
            _ if depth > 0 => field.comments.extend(c.to_lowercase()),
            ';' => {
                end(&mut word, field);
                out.push(Field::default());
            }
            c if c.is_whitespace() => {
                while chars.peek().is_some_and(|c| c.is_whitespace()) {
                    chars.next();
                }
                // `dkim = pass` is one word.
                if chars.peek() != Some(&'=') && !word.ends_with('=') {
                    end(&mut word, field);
                }
            }
            c => word.push(c),
        }
    }
    if let Some(field) = out.last_mut() {
        end(&mut word, field);
    }
    out
}

fn end(word: &mut String, field: &mut Field) {
    if !word.is_empty() {
        field.words.push(std::mem::take(word));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_of_real_servers_are_read() {
        let r = parse(
            "mx.example.org; dkim=pass (2048-bit key; unprotected) header.d=example.net header.i=@example.net header.b=\"abc;d\";\r\n\tdmarc=fail (p=reject dis=none) header.from=example.net;\r\n spf=softfail (mx: domain of a@b does not (x) designate) smtp.mailfrom=a@b",
        )
        .unwrap();
        assert_eq!(r.server, "mx.example.org");
        let names: Vec<_> = r.methods.iter().map(|m| (m.name.as_str(), m.result.as_str())).collect();
        assert_eq!(names, [("dkim", "pass"), ("dmarc", "fail"), ("spf", "softfail")]);
        assert_eq!(r.methods[0].property("header.d"), Some("example.net"));
        assert_eq!(r.methods[0].property("header.b"), Some("abc;d"));
        assert!(r.methods[1].comments.contains("p=reject"));
        assert_eq!(r.methods[2].property("smtp.mailfrom"), Some("a@b"));
    }

    #[test]
    fn odd_headers_are_read_or_passed_over() {
        assert_eq!(parse("mx.test 1; none").unwrap().methods, []);
        assert_eq!(parse("MX.test; dmarc = Pass").unwrap().methods[0].result, "pass");
        assert_eq!(parse("i=2; mx.test; dkim/1=pass").unwrap().server, "mx.test");
        assert_eq!(parse("(comment) mx.test; spf=pass").unwrap().server, "mx.test");
        for none in ["", ";", "dkim=pass; x", "((((", "\"\"; a=b"] {
            assert_eq!(parse(none), None, "{none:?}");
        }
    }

    proptest! {
        #[test]
        fn any_header_does_no_harm(value in "[a-z=;()\" \\\\.\r\n/]{0,80}") {
            parse(&value);
        }
    }
}
