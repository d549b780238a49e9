//! The snapshot that `/status.json`, `status` and the page show.
//!
//! Spans are in ms, by this node's own clock; wall times in ms since the Unix epoch.

use heapless::{String, Vec};
use serde::Serialize;

use super::cloud::Reason;
use super::ident::{Cursor, NodeName, Role, ShareClass, Term};
use crate::limits::{
    CONDITIONS_MAX, CONFIG_NAME_MAX, DEPTHS_SHOWN_MAX, METRIC_MAX, NODES_MAX, SOURCE_FAULT_MAX,
    SOURCE_VALUE_MAX, SOURCES_SHOWN_MAX, TERMS_SHOWN_MAX, THING_KEY_MAX,
};

/// The site at a glance, as this node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    /// This node.
    pub node: NodeName,
    /// Its version.
    pub version: String<16>,
    /// Whether it runs without other nodes, on a data directory of its own.
    pub alone: bool,
    /// The site id, 32 hex digits; empty while no data directory is open.
    pub site_id: String<32>,
    /// What this node is doing.
    pub role: Role,
    /// Our own term while claiming or master; else 0.
    pub term: Term,
    /// Whether we are free to forward.
    pub fenced: bool,
    /// What is left of our lease; 0: none.
    pub lease_ms: u64,
    /// The share.
    pub share: ShareStatus,
    /// The newest term's master, as its slot says.
    pub master: Option<MasterStatus>,
    /// The nodes that have records, this one first.
    pub nodes: Vec<NodeStatus, NODES_MAX>,
    /// By lane: readings, alerts.
    pub journal: [LaneStatus; 2],
    /// The declined store; only a fenced master knows.
    pub declined: Option<DeclinedStatus>,
    /// The cloud.
    pub cloud: CloudStatus,
    /// Names of the conditions that hold now.
    pub conditions: Vec<&'static str, CONDITIONS_MAX>,
    /// What the agent adds to the engine's snapshot.
    pub agent: AgentStatus,
}

/// What the agent knows beside its engine.
#[derive(Clone, Debug, Default, Serialize)]
pub struct AgentStatus {
    /// The site's name, as its configuration says; empty: there is none.
    pub site: String<CONFIG_NAME_MAX>,
    /// Its wall clock.
    pub wall_ms: u64,
    /// For how long it has run.
    pub up_ms: u64,
    /// The newest terms that it knows of, the newest first.
    pub terms: Vec<TermStatus, TERMS_SHOWN_MAX>,
    /// Bytes of the journal that wait, at the end of each of the last minutes, the newest last;
    /// `null`: another node was master.
    pub depths: Vec<Option<u64>, DEPTHS_SHOWN_MAX>,
    /// Sources of the configuration.
    pub sources: u32,
    /// Those of them that fail.
    pub sources_failing: u32,
    /// Values of sources for which there was no room since the agent's start.
    pub sources_dropped: u64,
    /// Some of them, those that fail first; none while another node is master.
    pub shown_sources: Vec<SourceStatus, SOURCES_SHOWN_MAX>,
}

/// A term of the site.
#[derive(Clone, Debug, Serialize)]
pub struct TermStatus {
    /// Its number.
    pub term: Term,
    /// Its master.
    pub node: NodeName,
    /// `active`, also of one that ended without a word, or `released`.
    pub state: &'static str,
    /// Why it was released; empty: it was not.
    pub reason: &'static str,
    /// Wall time of its start, by its master's clock.
    pub started_wall_ms: u64,
    /// Wall time of its release, by its master's clock; 0: it was not released.
    pub ended_wall_ms: u64,
    /// For how long nobody was master before it; `null`: not known.
    pub gap_ms: Option<u64>,
}

/// A source, as it was last read.
#[derive(Clone, Debug, Serialize)]
pub struct SourceStatus {
    /// Whose it is.
    pub thing_key: String<THING_KEY_MAX>,
    /// What it measures.
    pub metric: String<METRIC_MAX>,
    /// The last value; empty: there was none.
    pub value: String<SOURCE_VALUE_MAX>,
    /// How old it is.
    pub age_ms: u64,
    /// Why it fails; empty: it does not.
    pub fault: String<SOURCE_FAULT_MAX>,
}

/// The share.
#[derive(Clone, Debug, Serialize)]
pub struct ShareStatus {
    /// Whether a data directory is open.
    pub open: bool,
    /// Its class.
    pub class: Option<ShareClass>,
    /// Whether we hold the share lock.
    pub locked: bool,
    /// For how long an operation has been outstanding, once that is a stall; else 0.
    pub stalled_ms: u64,
    /// Why it is not open, in plain words; empty: it is.
    pub fault: String<200>,
}

/// The newest term's master.
#[derive(Clone, Debug, Serialize)]
pub struct MasterStatus {
    /// Its name.
    pub node: NodeName,
    /// Its term.
    pub term: Term,
    /// `claiming`, `active` or `released`.
    pub state: &'static str,
    /// For how long its slot has not changed.
    pub silent_ms: u64,
    /// How often it should change.
    pub heartbeat_ms: u32,
    /// Whether it was free to forward.
    pub fenced: bool,
    /// Wall time of the term's start.
    pub started_wall_ms: u64,
    /// Where its console can be reached; empty: not said.
    pub advertise: String<96>,
}

/// A node.
#[derive(Clone, Debug, Serialize)]
pub struct NodeStatus {
    /// Its name.
    pub node: NodeName,
    /// What it says that it is doing.
    pub role: Role,
    /// Whether its record changes.
    pub live: bool,
    /// Its record was found, and has not changed since this agent started.
    pub unseen: bool,
    /// For how long its record has not changed, as far as was seen.
    pub silent_ms: u64,
    /// How far its wall clock is ahead of ours, in ms, negative: behind; 0: not worth a word.
    pub skew_ms: i64,
    /// Its version.
    pub version: String<16>,
    /// Where its console can be reached; empty: not said.
    pub advertise: String<96>,
}

/// A lane of the journal.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct LaneStatus {
    /// The next record to forward.
    pub cursor: Cursor,
    /// Records of our own term that are durable.
    pub journalled: u64,
    /// Records of our own term, durable and not yet forwarded.
    pub waiting: u64,
    /// Whether older segments are still to be forwarded.
    pub backlog: bool,
    /// Records accepted by the cloud in our own term, of whatever term they are.
    pub delivered: u64,
    /// Records that the cloud refused in our own term: they are in the declined store.
    pub declined: u64,
    /// Records given up because the journal was full, as far as is known.
    pub dropped: u64,
    /// Damaged stretches of the journal that were set aside.
    pub damaged: u64,
    /// Bytes of its segments from the cursor on, while master.
    pub bytes: u64,
}

/// The declined store.
#[derive(Clone, Debug, Serialize)]
pub struct DeclinedStatus {
    /// Its records, as far as they are counted.
    pub records: u64,
    /// The bytes of its files.
    pub bytes: u64,
    /// Whether all are counted.
    pub complete: bool,
    /// The replay under way, or the last one.
    pub replay: ReplayStatus,
    /// The purge under way, or the last one.
    pub purge: PurgeStatus,
}

/// A replay of the declined store.
#[derive(Clone, Debug, Serialize)]
pub struct ReplayStatus {
    /// Counts the replays since the agent's start; 0: there was none.
    pub number: u32,
    /// Whether it is under way.
    pub running: bool,
    /// Records that the cloud accepted.
    pub delivered: u64,
    /// Records that it refused once more: they are kept with the new reason.
    pub refused: u64,
    /// Why it ended before it was done; empty: it did not.
    pub reason: Reason,
}

/// A purge of the declined store.
#[derive(Clone, Debug, Serialize)]
pub struct PurgeStatus {
    /// Counts the purges since the agent's start; 0: there was none.
    pub number: u32,
    /// Whether it is under way.
    pub running: bool,
    /// Records that went.
    pub records: u64,
    /// Why nothing was deleted; empty: it was.
    pub reason: Reason,
}

/// The cloud.
#[derive(Clone, Debug, Serialize)]
pub struct CloudStatus {
    /// `idle`, `sending`, `waiting` (after a failure), `paused` (refused), `off` (not master).
    pub state: &'static str,
    /// Requests that failed since the last success.
    pub failures: u32,
    /// The last failure's HTTP status; 0: none.
    pub status: u16,
    /// The last failure in plain words; empty since the last success.
    pub reason: Reason,
    /// Until the next try, while waiting.
    pub wait_ms: u64,
}
