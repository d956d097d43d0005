//! Control socket and the commands of the command line.
//!
//! | module | what |
//! |---|---|
//! | [`control`] | what an administrator may ask of a running instance, and the socket it is asked over |
//! | [`cli`] | the verbs of `isthmus …`, their output and exit codes |
//! | [`import`] | what another program has kept becomes ours |
//! | [`outside`] | what the process around the gateway gives it, and how the gateway ends |
//! | [`records`] | lists out of the database while no instance runs |

pub mod cli;
pub mod control;
pub(crate) mod grants;
pub mod import;
pub mod outside;
pub mod records;
