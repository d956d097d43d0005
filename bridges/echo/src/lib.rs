//! bridges/echo
