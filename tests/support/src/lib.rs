//! Counterparts for the tests of Isthmus: real servers in temporary folders on free ports, and scripted fakes.
//!
//! | module | what |
//! |---|---|
//! | [`server`] | Prosody and ejabberd behind one face |
//! | [`fake`] | an XMPP server for components, scripted: attaches, drops, stream errors, routing |
//! | [`slix`] | an XMPP client that we did not write (slixmpp in a Python process) |
//! | [`postgres`], [`postfix`], [`dovecot`], [`unbound`] | real PostgreSQL, MTA, mail store, name server |
//! | [`ngircd`], [`inspircd`], [`hybrid`], [`atheme`], [`irc`] | real IRC servers, services; the other person on them |
//! | [`ircd`] | an IRC server, scripted |
//! | [`znc`] | a real bouncer in front of an IRC server |
//! | [`scram`] | an IRC server that knows a password by SCRAM-SHA-256, as Python's scramp has it |
//! | [`biboumi`] | the gateway that Isthmus takes the place of |
//! | [`smtp`] | scripted SMTP and LMTP server; a client that sends mail or raw lines |
//! | [`kannel`] | a real SMS gateway with the phones behind it |
//! | [`prism`] | a server that follows an OpenAPI document to the letter |
//! | [`httpd`] | an HTTP server whose answers a test makes up |
//! | [`isthmus`] | the program under test: configuration, start, signals, restart on the same data |
//! | [`xml`] | elements as tests look at them |
//! | [`ports`], [`process`], [`wait`] | what the launchers stand on |
//!
//! Every launcher returns when its server is *ready* (it answers its protocol), not when a port is open, and ends what it
//! started when it is dropped. A program that is missing is an error that names the Debian package. If the test process
//! itself is killed, a guard process ends what it left behind.

pub mod atheme;
pub mod biboumi;
pub mod certificate;
pub mod dovecot;
mod ejabberd;
pub mod fake;
pub mod httpd;
pub mod hybrid;
pub mod inspircd;
pub mod irc;
pub mod ircd;
pub mod isthmus;
pub mod kannel;
pub mod ngircd;
pub mod ports;
pub mod postfix;
pub mod postgres;
pub mod prism;
pub mod process;
mod prosody;
pub mod scram;
pub mod server;
pub mod slix;
pub mod smtp;
pub mod unbound;
pub mod wait;
pub mod xml;
pub mod znc;
