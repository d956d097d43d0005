//! Isthmus.
fn main() {}
