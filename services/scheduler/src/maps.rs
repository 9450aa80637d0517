//! Maps by ids. An answer looks things up dozens of times, so they hash fast; whoever chooses ids to collide is a member of
//! the cluster, does not know the seed, and slows nothing but its own cluster down.

use std::collections::HashMap;

use foldhash::fast::RandomState;
use indexmap::IndexMap;

/// In no order.
pub type Map<K, V> = HashMap<K, V, RandomState>;

/// In no order that means anything, but in one: what is done to all can be repeated.
pub type SteadyMap<K, V> = IndexMap<K, V, RandomState>;
