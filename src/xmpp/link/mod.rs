//! The link: XEP-0114 with its own reader and writer.
