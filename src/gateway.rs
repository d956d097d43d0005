//! Wires the parts, owns every task, orderly stop.
