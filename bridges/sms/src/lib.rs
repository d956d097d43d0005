//! SMS bridge.
#![allow(dead_code)]
mod address;
mod provider;
mod translate;
