//! What the engine has to say: lines for the log, and alerts for the site.
//!
//! A note is said when something begins or ends, never each time round.

use core::fmt;

use heapless::String;
use serde::{Deserialize, Serialize};

use super::cloud::Reason;
use super::distress::DistressNote;
use super::election::Ground;
use super::ident::{Lane, NodeName, ShareClass, SiteId, Term};
use super::node_notes::NodeNote;
use super::room::Told;
use super::share::{ReserveSeen, ShareError};
use super::slot::ReleaseReason;
use super::store::StoreNote;
use super::telling::Phase;
use crate::limits::{METRIC_MAX, MOUNT_TEXT_MAX, THING_KEY_MAX};

/// How much a note matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub enum Level {
    /// For information.
    Info,
    /// Something is not as it should be.
    Warning,
    /// Something does not work.
    Error,
    /// Data are at risk.
    Critical,
}

impl Level {
    /// `alert_type` of the Datonis API: 0 info to 3 critical.
    pub const fn alert_type(self) -> u8 {
        match self {
            Self::Info => 0,
            Self::Warning => 1,
            Self::Error => 2,
            Self::Critical => 3,
        }
    }
}

/// A line for the log.
#[derive(Clone, PartialEq, Hash, Debug)]
#[allow(missing_docs, reason = "the text of each stands in `Display`")]
#[allow(clippy::large_enum_variant, reason = "no heap in the engine")]
pub enum Note {
    Opened { site: SiteId, class: ShareClass },
    Mount { text: String<MOUNT_TEXT_MAX>, is_unsafe: bool },
    ShareFailed(ShareError),
    ShareWorks { what: &'static str },
    ShareBack { after_ms: u64 },
    ShareStalled { for_ms: u64, order: &'static str },
    KeeperGone,
    Term { term: Term, what: TermNote },
    LockDoesNotExclude { master: NodeName, term: Term },
    CloudFailing { status: u16, reason: Reason },
    CloudBack { after_requests: u32 },
    CloudDeclining { status: u16, reason: Reason },
    CloudAccepting,
    ThingRefused { reason: Reason },
    AlertsPutOff { reason: Reason },
    JournalFill { told: Told, bytes: u64, bytes_max: u64 },
    Store(StoreNote),
    RequestLate { after_ms: u64 },
    UplinkGone,
    SegmentMissing { lane: Lane, term: Term, segment: u32 },
    SegmentGone { lane: Lane, term: Term, segment: u32 },
    GroupDamaged { lane: Lane, stretches: u32, bytes: u32, records: u64 },
    RedundancyLost,
    RedundancyRestored,
    Node(NodeNote),
    Distress(DistressNote),
    Reserve(ReserveSeen),
}

/// What happened to a term of our own.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[allow(missing_docs, reason = "the text of each stands in `Display`")]
pub enum TermNote {
    NumberTaken,
    GaveUp { to: Term },
    Master { ground: Ground, locked: bool },
    Fenced { waited_ms: u64 },
    WaitingForOlderLeases { for_ms: u64 },
    LeaseOver,
    LeaseBack,
    Superseded { by: Term },
    FileReplaced,
    LockLost,
    LockRegained,
    Resigning { reason: ReleaseReason },
    Released,
    NotReleased,
}

impl TermNote {
    const fn level(self) -> Level {
        match self {
            Self::NumberTaken
            | Self::GaveUp { .. }
            | Self::Master { .. }
            | Self::Fenced { .. }
            | Self::WaitingForOlderLeases { .. }
            | Self::LockRegained
            | Self::LeaseBack
            | Self::Resigning { .. }
            | Self::Released => Level::Info,
            Self::LeaseOver | Self::Superseded { .. } | Self::LockLost | Self::NotReleased => {
                Level::Warning
            }
            Self::FileReplaced => Level::Critical,
        }
    }
}

impl Note {
    /// How much it matters.
    pub const fn level(&self) -> Level {
        match self {
            Self::Term { what, .. } => what.level(),
            Self::JournalFill { told, .. } => told.level(),
            Self::Store(note) => note.level(),
            Self::Node(what) => what.level(),
            Self::Distress(note) => note.level(),
            Self::Reserve(seen) => seen.level(),
            Self::Opened { .. }
            | Self::ShareWorks { .. }
            | Self::ShareBack { .. }
            | Self::CloudBack { .. }
            | Self::CloudAccepting
            | Self::RedundancyRestored => Level::Info,
            Self::KeeperGone
            | Self::Mount { is_unsafe: false, .. }
            | Self::ThingRefused { .. }
            | Self::AlertsPutOff { .. }
            | Self::RequestLate { .. }
            | Self::UplinkGone
            | Self::SegmentMissing { .. }
            | Self::RedundancyLost => Level::Warning,
            Self::ShareFailed(_)
            | Self::ShareStalled { .. }
            | Self::CloudFailing { .. }
            | Self::CloudDeclining { .. }
            | Self::SegmentGone { .. }
            | Self::GroupDamaged { .. } => Level::Error,
            Self::LockDoesNotExclude { .. } | Self::Mount { is_unsafe: true, .. } => {
                Level::Critical
            }
        }
    }
}

fn write_given_twice(out: &mut fmt::Formatter<'_>, master: &NodeName, term: Term) -> fmt::Result {
    write!(
        out,
        "election: the lock was granted while {master}, master of term {term}, lives: locks on \
         this share do not exclude; going by silence until SIGHUP or a remount"
    )
}

fn write_mount(out: &mut fmt::Formatter<'_>, text: &str, is_unsafe: bool) -> fmt::Result {
    let until = "; until then locks are left alone, and only silence counts";
    write!(out, "mount: {text}{}", if is_unsafe { until } else { "" })
}

impl fmt::Display for Note {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opened { site, class } => {
                write!(out, "share: opened site {site}, class {}", class.name())
            }
            Self::Mount { text, is_unsafe } => write_mount(out, text, *is_unsafe),
            Self::ShareFailed(error) => write!(out, "{error}"),
            Self::ShareWorks { what } => write!(out, "share: {what}: works again"),
            Self::ShareBack { after_ms } => write!(out, "share: answers again after {after_ms} ms"),
            Self::ShareStalled { for_ms, order } => {
                write!(out, "share: no answer to {order} for {for_ms} ms")
            }
            Self::KeeperGone => write!(out, "keeper: starting another"),
            Self::LockDoesNotExclude { master, term } => write_given_twice(out, master, *term),
            // With a status, the reason begins with it.
            Self::CloudFailing { reason, .. } => write!(out, "cloud: {reason}"),
            Self::CloudBack { after_requests } => {
                write!(out, "cloud: accepts again after {after_requests} failed requests")
            }
            Self::CloudDeclining { status, reason } => {
                let (what, then) = refusal(*status);
                write!(out, "cloud: {what}: {reason}; {then}")
            }
            Self::CloudAccepting => write!(out, "cloud: accepts records again"),
            Self::ThingRefused { reason } => {
                write!(out, "cloud: refuses a thing's registration or heartbeat: {reason}")
            }
            Self::AlertsPutOff { reason } => {
                write!(out, "cloud: takes readings, but no alerts: {reason}")
            }
            Self::JournalFill { told, bytes, bytes_max } => {
                write!(out, "journal: {bytes} of {bytes_max} bytes: {}", told.text())
            }
            Self::Store(note) => write!(out, "{note}"),
            Self::RequestLate { after_ms } => {
                write!(out, "cloud: no answer within {after_ms} ms; the request is sent again")
            }
            Self::UplinkGone => write!(out, "uplink: another is started when it is needed"),
            Self::SegmentMissing { lane, term, segment } => write!(
                out,
                "journal: {} segment {term:08}-{segment:06} is named and not there; waiting for it",
                lane.name()
            ),
            Self::SegmentGone { lane, term, segment } => write!(
                out,
                "journal: {} segment {term:08}-{segment:06} is named and gone; going on behind it",
                lane.name()
            ),
            Self::GroupDamaged { lane, stretches, bytes, records } => write!(
                out,
                "journal: {bytes} damaged bytes in {stretches} places of the {} set aside in \
                 declined/; {records} records are missing",
                lane.name()
            ),
            Self::RedundancyLost => write!(out, "site: no live standby"),
            Self::RedundancyRestored => write!(out, "site: a standby is live again"),
            Self::Node(what) => write!(out, "{what}"),
            Self::Distress(note) => write!(out, "{note}"),
            Self::Reserve(seen) => write!(out, "reserve: {}", seen.text()),
            Self::Term { term, what } => write!(out, "term {term}: {what}"),
        }
    }
}

/// What the cloud refuses with a status, and what follows.
const fn refusal(status: u16) -> (&'static str, &'static str) {
    match status {
        401 | 403 => ("refuses our credentials", "trying again after a pause"),
        404 | 405 | 410 => ("knows no such address", "trying again after a pause"),
        _ => ("refuses records", "they are kept in declined/"),
    }
}

impl fmt::Display for TermNote {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NumberTaken => write!(out, "taken by another; polling on"),
            Self::GaveUp { to } => write!(out, "given up, {to} is newer"),
            Self::Master { ground, locked } => {
                let lock = if *locked { "under the lock" } else { "without the lock" };
                write!(out, "master {lock} ({})", ground.name())
            }
            Self::Fenced { waited_ms } => {
                write!(out, "free to forward, {waited_ms} ms after the claim")
            }
            Self::WaitingForOlderLeases { for_ms } => {
                write!(out, "collects; forwards in {for_ms} ms, when older leases are over")
            }
            Self::LeaseOver => write!(out, "no proof within the lease; not forwarding until one"),
            Self::LeaseBack => write!(out, "proven again; forwarding goes on"),
            Self::Superseded { by } => write!(out, "superseded by term {by}"),
            Self::FileReplaced => {
                write!(out, "edge.lock or edge.terms was deleted or replaced; resigning")
            }
            Self::LockLost => write!(out, "the lock is lost; trying for it"),
            Self::LockRegained => write!(out, "holds the lock"),
            Self::Resigning { reason } => write!(out, "resigning ({})", reason.name()),
            Self::Released => write!(out, "released"),
            Self::NotReleased => write!(out, "over, but its slot could not be marked released"),
        }
    }
}

/// An HA alert, for people at the other end of the cloud.
#[derive(Clone, PartialEq, Hash, Debug)]
pub enum Alert {
    /// Another node is master.
    MasterChanged {
        /// Who was; `None`: not known.
        from: Option<NodeName>,
        /// Why it is no longer.
        ground: Ground,
        /// How long nobody was master, as far as we could see, in ms.
        gap_ms: u64,
    },
    /// No live standby.
    RedundancyLost,
    /// A standby is live again.
    RedundancyRestored,
    /// A standby is gone.
    NodeLost {
        /// Which.
        node: NodeName,
        /// For how long, in ms.
        silent_ms: u64,
        /// Whether it said that it stopped.
        stopped: bool,
    },
    /// It is back.
    NodeReturned {
        /// Which.
        node: NodeName,
    },
    /// Its record was deleted: it is not missed any more.
    NodeForgotten {
        /// Which.
        node: NodeName,
    },
    /// A node's wall clock is off ours.
    ClockSkew {
        /// Which.
        node: NodeName,
        /// How far it is ahead, in ms; negative: behind.
        skew_ms: i64,
    },
    /// It is no longer, or the node is forgotten.
    ClockSkewOver {
        /// Which.
        node: NodeName,
    },
    /// The cloud refuses records: for what they are, or for what we are.
    CloudDeclining {
        /// The HTTP status.
        status: u16,
        /// The reason in plain words.
        reason: Reason,
    },
    /// It accepts records again.
    CloudAccepting,
    /// The journal is getting full, is full, or has room again.
    JournalFill {
        /// Which.
        told: Told,
        /// Bytes of the journal.
        bytes: u64,
        /// Its bound.
        bytes_max: u64,
    },
    /// The declined store is full.
    DeclinedDropping {
        /// So many of the oldest made room.
        records: u32,
    },
    /// A damaged stretch of the journal was set aside.
    GroupDamaged {
        /// How many stretches.
        stretches: u32,
        /// Their bytes.
        bytes: u32,
        /// Records that are missing from the row of seqs, as far as is known yet.
        records: u64,
    },
    /// A source cannot be read, or can be again.
    Source {
        /// Whether it began or is over.
        phase: Phase,
        /// The thing that it is read for.
        thing_key: String<THING_KEY_MAX>,
        /// What it is read as.
        metric: String<METRIC_MAX>,
        /// Why it cannot be read.
        fault: Reason,
        /// For how long it could not, in ms.
        lasted_ms: u64,
        /// How many sources fail now.
        failing: u32,
    },
    /// The gateway's clock is not set, or is again.
    Clock {
        /// Whether it began or is over.
        phase: Phase,
        /// For how long it was not, in ms.
        lasted_ms: u64,
    },
    /// Certificates of `ca_file` expire soon, or have; or all are good again.
    Certificates {
        /// Whether it began or is over.
        phase: Phase,
        /// How many expire.
        expiring: u32,
        /// Of how many.
        of: u32,
        /// When the first of them does, in ms since the Unix epoch.
        first_ms: u64,
    },
}

impl Alert {
    /// Its condition's name.
    pub const fn condition(&self) -> &'static str {
        match self {
            Self::MasterChanged { .. } => "master-changed",
            Self::RedundancyLost => "redundancy-lost",
            Self::RedundancyRestored => "redundancy-restored",
            Self::NodeLost { .. } => "node-lost",
            Self::NodeReturned { .. } => "node-returned",
            Self::NodeForgotten { .. } => "node-forgotten",
            Self::ClockSkew { .. } => "clock-skew",
            Self::ClockSkewOver { .. } => "clock-skew-over",
            Self::CloudDeclining { .. } => "cloud-declining",
            Self::CloudAccepting => "cloud-accepting",
            Self::JournalFill { told, .. } => told.condition(),
            Self::DeclinedDropping { .. } => "declined-dropping",
            Self::GroupDamaged { .. } => "group-damaged",
            Self::Source { .. } => "source-failed",
            Self::Clock { .. } => "clock-invalid",
            Self::Certificates { .. } => "certificate-expiring",
        }
    }

    /// What `alerts.level_min` is held against: an end is told if its beginning was.
    pub const fn weight(&self) -> Level {
        match self {
            Self::Source { .. }
            | Self::Clock { .. }
            | Self::Certificates { .. }
            | Self::NodeForgotten { .. }
            | Self::ClockSkew { .. }
            | Self::ClockSkewOver { .. } => Level::Warning,
            Self::MasterChanged { .. }
            | Self::RedundancyLost
            | Self::RedundancyRestored
            | Self::NodeLost { .. }
            | Self::NodeReturned { .. }
            | Self::CloudDeclining { .. }
            | Self::CloudAccepting
            | Self::JournalFill { .. }
            | Self::DeclinedDropping { .. }
            | Self::GroupDamaged { .. } => self.level(),
        }
    }

    /// Its level.
    pub const fn level(&self) -> Level {
        match self {
            Self::JournalFill { told, .. } => told.level(),
            Self::MasterChanged { ground: Ground::Released | Ground::First, .. }
            | Self::RedundancyRestored
            | Self::CloudAccepting
            | Self::Source { phase: Phase::Clear, .. }
            | Self::Clock { phase: Phase::Clear, .. }
            | Self::Certificates { phase: Phase::Clear, .. }
            | Self::NodeReturned { .. }
            | Self::NodeForgotten { .. }
            | Self::ClockSkewOver { .. } => Level::Info,
            Self::Source { phase: Phase::Raise, .. }
            | Self::Clock { phase: Phase::Raise, .. }
            | Self::Certificates { phase: Phase::Raise, .. }
            | Self::MasterChanged { .. }
            | Self::RedundancyLost
            | Self::NodeLost { .. }
            | Self::ClockSkew { .. } => Level::Warning,
            Self::CloudDeclining { .. }
            | Self::DeclinedDropping { .. }
            | Self::GroupDamaged { .. } => Level::Error,
        }
    }
}
