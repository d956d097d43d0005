//! Control socket and the commands of the command line.
