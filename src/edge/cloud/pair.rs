//! The heads of the frames that the keeper sends to the uplink over their own pair.

use serde::{Deserialize, Serialize};

/// The first frame, once; a copy of the lock's descriptor comes with it if the lock is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Hello {
    /// Whether the lock is held.
    pub locked: bool,
}

/// A batch: its body is whole records as they were journalled, each ended by `\n`.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct BatchHead {
    /// The number of the request that is to carry it.
    pub request: u32,
}
