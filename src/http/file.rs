//! A file of a stranger in a browser: shown only where it cannot run, and never as part of a site.

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::HeaderValue;
use http::header::{
    CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_SECURITY_POLICY, CONTENT_TYPE, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use isthmus_bridge::Media;

use crate::files::name;

/// The answer that holds a file. `asked` is the name in the address, for files without one of their own.
pub(super) fn response(body: Bytes, media: &Media, asked: &str) -> Response {
    let passive = name::is_passive(&media.media_type);
    let name = name::harmless(media.name.as_deref().or(Some(asked)), &media.media_type);
    let content_type = HeaderValue::from_str(&media.media_type).ok().filter(|_| passive);
    let content_type = content_type.unwrap_or(HeaderValue::from_static("application/octet-stream"));
    let headers = [
        (CONTENT_TYPE, content_type),
        (CONTENT_DISPOSITION, disposition(passive, &name)),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox; frame-ancestors 'none'")),
        (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
        (CACHE_CONTROL, HeaderValue::from_static("private, max-age=3600, immutable")),
    ];
    (headers, body).into_response()
}

/// RFC 6266: a plain name for old programs, the whole one for the rest.
fn disposition(passive: bool, name: &str) -> HeaderValue {
    let kind = if passive { "inline" } else { "attachment" };
    let plain: String = name
        .chars()
        .map(|c| if c.is_ascii_graphic() && !matches!(c, '"' | '\\' | '%') || c == ' ' { c } else { '_' })
        .collect();
    let whole: String = name.bytes().map(encoded).collect();
    let value = format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{whole}");
    // Both names are ASCII without controls, so it always is a header's value.
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("attachment"))
}

/// RFC 8187 section 3.2.1.
fn encoded(byte: u8) -> String {
    if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
        char::from(byte).to_string()
    } else {
        format!("%{byte:02X}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_leave_its_header() {
        for (name, expected) in [
            ("a b.png", "inline; filename=\"a b.png\"; filename*=UTF-8''a%20b.png"),
            ("ü\"x\\y%.png", "inline; filename=\"__x_y_.png\"; filename*=UTF-8''%C3%BC%22x%5Cy%25.png"),
            ("a\r\nb", "inline; filename=\"a__b\"; filename*=UTF-8''a%0D%0Ab"),
        ] {
            assert_eq!(disposition(true, name), expected, "{name:?}");
        }
    }
}
