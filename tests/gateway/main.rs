//! The whole gateway in memory against a fake XMPP server: what every XMPP user meets, by the core alone, with the echo bridge.

mod apart;
mod house;
mod http;
mod messages;
mod network;
mod own;
mod presence;
mod questions;
mod reload;
mod restart;
mod rooms;
mod rooms_aside;
mod rooms_ask;
mod rooms_history;
mod rooms_life;
