//! The only code that sees stanzas; one XEP family a file.

pub mod link;
