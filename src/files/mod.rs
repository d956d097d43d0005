//! Files: upload (XEP-0363), fetch, keep, serve.
