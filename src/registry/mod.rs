//! Bridges built from configuration; supervisor of sessions. The only module that names networks.
