//! The verbs of `isthmus …`.
