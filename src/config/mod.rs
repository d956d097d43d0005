//! Files and environment; the only place that reads them.
