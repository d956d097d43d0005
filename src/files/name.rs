//! File names that are harmless in a header, a URL and a client.

/// Longest name that we give, in bytes.
const LONGEST: usize = 120;

/// The name without folders, control and direction characters, and dots at its beginning; `file` with an extension
/// that fits the media type where nothing is left.
pub fn harmless(name: Option<&str>, media_type: &str) -> String {
    let name = name.unwrap_or_default();
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let kept: String = last.chars().filter(|c| !c.is_control() && !is_invisible(*c)).collect();
    let kept = kept.trim().trim_start_matches('.').trim();
    let kept = match kept.rsplit_once('.') {
        // The extension says what it is: a name is cut before it.
        Some((stem, extension)) if kept.len() > LONGEST && extension.len() <= 10 => {
            format!("{}.{extension}", cut(stem, LONGEST - extension.len() - 1))
        }
        _ => cut(kept, LONGEST).to_owned(),
    };
    if kept.is_empty() { format!("file{}", extension(media_type)) } else { kept }
}

/// Whether a browser may show a file of this type where it stands: nothing that runs.
pub fn is_passive(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    matches!(essence.as_str(), "image/png" | "image/jpeg" | "image/gif" | "image/webp" | "image/avif")
        || essence.starts_with("audio/")
        || essence.starts_with("video/")
}

/// Characters that change how a name is shown: directions, zero width, line and paragraph separators.
fn is_invisible(c: char) -> bool {
    matches!(c, '\u{200B}'..='\u{200F}' | '\u{2028}'..='\u{202E}' | '\u{2060}'..='\u{2069}' | '\u{FEFF}' | '\u{FFFD}')
}

fn cut(text: &str, bytes: usize) -> &str {
    let mut end = bytes.min(text.len());
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn extension(media_type: &str) -> &'static str {
    match media_type.split(';').next().unwrap_or_default().trim() {
        "image/png" => ".png",
        "image/jpeg" => ".jpg",
        "image/gif" => ".gif",
        "image/webp" => ".webp",
        "text/plain" => ".txt",
        "text/html" => ".html",
        "application/pdf" => ".pdf",
        "audio/mpeg" => ".mp3",
        "audio/ogg" => ".ogg",
        "video/mp4" => ".mp4",
        "message/rfc822" => ".eml",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lose_what_is_dangerous_and_keep_what_they_say() {
        let long = "ü".repeat(200) + ".jpeg";
        for (name, media_type, expected) in [
            (Some("photo.jpg"), "image/jpeg", "photo.jpg"),
            (Some("../../etc/passwd"), "text/plain", "passwd"),
            (Some("C:\\temp\\a b.doc"), "application/msword", "a b.doc"),
            (Some(".htaccess"), "text/plain", "htaccess"),
            (Some("...."), "image/png", "file.png"),
            (Some("a\r\nSet-Cookie: b"), "text/plain", "aSet-Cookie: b"),
            (Some("invoice\u{202E}fdp.exe"), "application/pdf", "invoicefdp.exe"),
            (Some(""), "application/x-nothing", "file"),
            (None, "text/plain; charset=utf-8", "file.txt"),
            (Some(&long), "image/jpeg", &("ü".repeat(57) + ".jpeg")),
        ] {
            assert_eq!(harmless(name, media_type), expected, "{name:?}");
        }
    }

    #[test]
    fn what_can_run_is_not_shown() {
        for (media_type, passive) in [
            ("image/png", true),
            ("IMAGE/PNG; q=1", true),
            ("image/svg+xml", false),
            ("text/html", false),
            ("text/plain", false),
            ("video/mp4", true),
            ("application/pdf", false),
        ] {
            assert_eq!(is_passive(media_type), passive, "{media_type}");
        }
    }
}
