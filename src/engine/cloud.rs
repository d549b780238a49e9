//! What the uplink is asked to send, and what came of it.

use heapless::String;
use serde::{Deserialize, Serialize};

use super::ident::{Lane, Ranges, Term};

/// One HTTPS request.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CloudOrder {
    /// Its number; verdicts and batches carry the same.
    pub request: u32,
    /// Our term, for `X-Edge-Term`.
    pub term: Term,
    /// What to send.
    pub what: CloudRequest,
}

/// What a request carries.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one order exists at a time; no heap in the engine")]
pub enum CloudRequest {
    /// The batch of this number that the keeper passed over.
    Batch {
        /// Their lane.
        lane: Lane,
        /// Which records.
        ranges: Ranges,
    },
    /// The alert that comes with the order, from memory: a node's own distress.
    Alert,
    /// Register a thing, by its place in the configuration.
    Register {
        /// The thing.
        thing: u16,
    },
    /// A thing's heartbeat.
    Alive {
        /// The thing.
        thing: u16,
    },
}

/// What an answer, or none, means for the records (`edge::cloud::verdict` has the table).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum Verdict {
    /// 2xx.
    Accepted,
    /// 400, 422, other 4xx: something in the batch is bad.
    BadContent,
    /// 401, 403; 404, 405, 410: we or the URL are wrong.
    BadCredentials,
    /// 413.
    TooLarge,
    /// Nothing was accepted; the same again, later.
    Retry,
    /// Perhaps accepted: the same again, under the same identities.
    Unknown,
}

/// What became of a request.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct CloudOutcome {
    /// The request's number.
    pub request: u32,
    /// What it means.
    pub verdict: Verdict,
    /// The HTTP status; 0: none.
    pub status: u16,
    /// `Retry-After`, in ms.
    pub retry_after_ms: Option<u32>,
    /// The reason in plain words, for people; empty with `Accepted`.
    pub reason: Reason,
}

/// A reason in plain words.
pub type Reason = String<120>;
