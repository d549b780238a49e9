//! The part of the configuration that the engine goes by, and what belongs to one host.

use heapless::{String, Vec};
use serde::Deserialize;

use super::ident::NodeName;
use super::notes::Level;
use super::planted::LeftOut;
use crate::limits::{
    ADVERTISE_MAX, BATCH_AGE_MS_DEFAULT, BATCH_BYTES_DEFAULT, BATCH_RECORDS_DEFAULT,
    CLOUD_TIMEOUT_MS_DEFAULT, DECLINED_BYTES_MAX_DEFAULT, FENCE_MS_DEFAULT, HEARTBEAT_MS_DEFAULT,
    JOURNAL_BYTES_MAX_DEFAULT, POLL_MS_DEFAULT, SEIZE_MS_DEFAULT, SYNC_MS_DEFAULT, THINGS_MAX,
};

/// What belongs to this host and process.
#[derive(Clone, Hash, Debug)]
pub struct Host {
    /// This node's name.
    pub node: NodeName,
    /// Random number of this process.
    pub nonce: u64,
    /// Where our console can be reached from other hosts; empty: not said.
    pub advertise: String<ADVERTISE_MAX>,
    /// Our version.
    pub version: String<16>,
    /// No share was named: one node, no redundancy.
    pub alone: bool,
    /// We listen in our run directory, so no other agent runs in it.
    pub run_dir_ours: bool,
    /// A rule that a test leaves out; none in a release build.
    pub left_out: LeftOut,
}

/// What gives way when the journal is full.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WhenFull {
    /// The oldest segment.
    DropOldest,
    /// What comes in.
    RefuseNewest,
}

/// What the site's configuration asks of the engine. Times are in ms.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Settings {
    /// Whether there is a valid configuration; without one nothing is collected.
    pub configured: bool,
    /// See [`POLL_MS_DEFAULT`].
    pub poll_ms: u32,
    /// See [`HEARTBEAT_MS_DEFAULT`].
    pub heartbeat_ms: u32,
    /// See [`FENCE_MS_DEFAULT`].
    pub fence_ms: u32,
    /// See [`SEIZE_MS_DEFAULT`].
    pub seize_ms: u32,
    /// See [`SYNC_MS_DEFAULT`].
    pub sync_ms: u32,
    /// See [`CLOUD_TIMEOUT_MS_DEFAULT`].
    pub timeout_ms: u32,
    /// See [`BATCH_RECORDS_DEFAULT`].
    pub batch_records_max: u32,
    /// See [`BATCH_BYTES_DEFAULT`].
    pub batch_bytes_max: u32,
    /// See [`BATCH_AGE_MS_DEFAULT`].
    pub batch_age_ms_max: u32,
    /// See [`JOURNAL_BYTES_MAX_DEFAULT`], in bytes.
    pub journal_bytes_max: u64,
    /// What gives way when the journal is full.
    pub when_full: WhenFull,
    /// See [`DECLINED_BYTES_MAX_DEFAULT`], in bytes.
    pub declined_bytes_max: u64,
    /// The least level of HA alerts that is told; `None`: no thing is named for them.
    pub alerts: Option<Level>,
    /// By thing, how often its heartbeat is sent.
    pub alive_every_ms: Vec<u32, THINGS_MAX>,
}

impl Default for Settings {
    /// The defaults, with no configuration.
    fn default() -> Self {
        Self {
            configured: false,
            poll_ms: POLL_MS_DEFAULT,
            heartbeat_ms: HEARTBEAT_MS_DEFAULT,
            fence_ms: FENCE_MS_DEFAULT,
            seize_ms: SEIZE_MS_DEFAULT,
            sync_ms: SYNC_MS_DEFAULT,
            timeout_ms: CLOUD_TIMEOUT_MS_DEFAULT,
            batch_records_max: BATCH_RECORDS_DEFAULT,
            batch_bytes_max: BATCH_BYTES_DEFAULT,
            batch_age_ms_max: BATCH_AGE_MS_DEFAULT,
            journal_bytes_max: JOURNAL_BYTES_MAX_DEFAULT,
            when_full: WhenFull::DropOldest,
            declined_bytes_max: DECLINED_BYTES_MAX_DEFAULT,
            alerts: None,
            alive_every_ms: Vec::new(),
        }
    }
}
