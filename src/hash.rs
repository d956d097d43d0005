//! Tables on the path of every message. Their keys are short texts, and the standard hash costs more than all else that a look into them does.
//! foldhash is seeded at random in each process: whoever chooses names cannot choose where they fall.

use std::hash::{BuildHasher, Hash};
use std::sync::LazyLock;

use foldhash::fast::RandomState;

/// A map.
pub type Map<K, V> = std::collections::HashMap<K, V, RandomState>;

static SEED: LazyLock<RandomState> = LazyLock::new(RandomState::default);

/// A number for a value, the same as long as the process lives.
pub fn one(value: impl Hash) -> u64 {
    SEED.hash_one(value)
}
