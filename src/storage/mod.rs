//! One Store over SQLite or PostgreSQL.
