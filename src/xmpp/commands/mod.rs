//! Commands (XEP-0050).

#[cfg(test)]
pub(crate) mod sample;
