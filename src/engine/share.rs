//! What the keeper is asked to do on the share, and what it answers.
//!
//! One order is outstanding at a time. The keeper decides nothing: every choice that a
//! test would want to vary stands in the order, everything that was seen in the outcome.

use core::fmt;

use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

use super::cloud::Reason;
use super::ident::{Cursor, Lane, NodeName, Role, ShareClass, SiteId, Term};
use super::naming::Namesake;
use super::notes::Level;
use super::slot::Slot;
use super::store::{StoreOrder, StoreOutcome};
use crate::limits::{ADVERTISE_MAX, MOUNT_REMARKS_MAX, MOUNT_TEXT_MAX, NODES_MAX, SLOTS};

/// An operation on the share.
#[derive(Clone, PartialEq, Hash, Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one order exists at a time; no heap in the engine")]
pub enum ShareOrder {
    /// Find the data directory, judge it, and make what may be made. Gives up any lock held.
    Open,
    /// Read `edge.json` and the files that it names; they come back as the frame's body.
    Load,
    /// The same, but only to see whether the secret or CA file changed.
    Reread,
    /// Try the lock, or not, and read slots.
    Poll(Poll),
    /// Create `claims/<term>` exclusively.
    Claim {
        /// The number to take.
        term: Term,
    },
    /// Write a claimant's slot, sync, then read all slots afresh.
    Announce(Slot),
    /// A master's proof: one operation, every result checked.
    Prove(Proof),
    /// Write sealed groups (the frame's body) into a segment and sync.
    Append(Append),
    /// Read the next batch and pass its bytes to the uplink.
    Fetch(Fetch),
    /// Move records into the declined store.
    Decline(Decline),
    /// Read or empty the declined store.
    Store(StoreOrder),
    /// Read all slots afresh.
    Survey,
    /// Take the socket that came with the frame, and pass a copy of the lock's descriptor
    /// over it if the lock is held. Drops the socket of the previous uplink.
    Attach,
    /// Write our own record, read the others'.
    Nodes(NodesOrder),
    /// Delete a node's record.
    Forget {
        /// Whose.
        node: NodeName,
    },
    /// The number of the newest segment found by listing: only for a term whose slot is gone.
    Newest {
        /// Whose lane.
        lane: Lane,
        /// Which term.
        term: Term,
    },
    /// Delete the segments of a lane that lie wholly before a durable cursor.
    Sweep {
        /// Whose lane.
        lane: Lane,
        /// What lies before this (term, segment) goes.
        before: Cursor,
    },
    /// Delete claims older than this.
    Tidy {
        /// The oldest that stays.
        keep_from: Term,
    },
    /// Make the reserve file, or give it up.
    Reserve(ReserveOrder),
    /// Write the slot of an ended term, if there is one to write; sync; then give up the lock,
    /// also if writing failed.
    Release(Option<Slot>),
}

/// What becomes of the reserve file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ReserveOrder {
    /// Make it, if it is not there and there is room for it and more.
    Make,
    /// Delete it.
    GiveUp,
}

/// What became of the reserve file.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ReserveSeen {
    /// It was made.
    Made,
    /// It was there already.
    There,
    /// There is none, and no room for one.
    NoRoom,
    /// It is gone now.
    GivenUp,
    /// There was none.
    Nothing,
}

impl ReserveSeen {
    /// How much it matters.
    pub const fn level(self) -> Level {
        match self {
            Self::Made | Self::There => Level::Info,
            Self::NoRoom | Self::GivenUp | Self::Nothing => Level::Warning,
        }
    }

    /// For people.
    pub const fn text(self) -> &'static str {
        match self {
            Self::Made => "room is kept back for a takeover on a full share",
            Self::There => "room is kept back already",
            Self::NoRoom => "no room can be kept back",
            Self::GivenUp => "the room kept back is given up, for claims and slots",
            Self::Nothing => "no room was kept back",
        }
    }
}

/// What a poll does with the lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum LockWish {
    /// Give it up if held; do not try.
    Leave,
    /// Try for it; if it is held already, check that its file is still the one at the path.
    Try,
}

/// A standby's look at the share.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Poll {
    /// What to do with the lock.
    pub lock: LockWish,
    /// Read all slots, not only the newest known one and the three after it.
    pub all: bool,
    /// The newest term known so far; 0: none.
    pub newest: Term,
}

/// What a try for the lock came to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum LockSeen {
    /// Not tried, and not held.
    Left,
    /// Held now.
    Held {
        /// Inode of the lock file, by `fstat` of the locked descriptor; never 0.
        inode: u64,
    },
    /// Somebody else has it (EAGAIN, EACCES).
    Busy,
    /// It was ours and is no more, or the file cannot be locked (EBADF, EIO, ESTALE).
    Lost,
}

/// What a poll saw.
#[derive(Clone, PartialEq, Hash, Debug, Serialize, Deserialize)]
pub struct Polled {
    /// The lock.
    pub lock: LockSeen,
    /// The newest slot of those read.
    pub newest: Option<Slot>,
    /// With no valid slot at all: the highest number found in `claims/` and `journal/`; 0: none.
    pub taken: Term,
}

/// How a proof treats the lock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ProofLock {
    /// We hold it: write a byte inside the locked range through its descriptor.
    Write,
    /// We hold none: try for it.
    Try,
    /// Leave it alone.
    Leave,
}

/// A master's proof.
#[derive(Clone, PartialEq, Hash, Debug, Serialize, Deserialize)]
pub struct Proof {
    /// The slot to write.
    pub slot: Slot,
    /// Whether to write it (alone mode writes it seldom).
    pub write_slot: bool,
    /// Look for newer terms in all slots, not only in the three after ours.
    pub all: bool,
    /// The lock.
    pub lock: ProofLock,
    /// Segments to create, synced, before the slot names them; by lane, 0: none.
    pub create: [u32; 2],
}

/// What a proof came to.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ProofVerdict {
    /// Everything is ours and durable.
    Proven,
    /// Another term is newer.
    Superseded {
        /// The newest term seen.
        by: Term,
    },
    /// `edge.lock` or `edge.terms` is gone or another file.
    Replaced,
    /// The lock is no longer ours, though nothing newer was seen.
    LockLost,
}

/// The outcome of a proof.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Proven {
    /// What it came to.
    pub verdict: ProofVerdict,
    /// The lock, if it was tried for.
    pub lock: LockSeen,
}

/// Sealed groups for a segment of our own term.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Append {
    /// Its lane.
    pub lane: Lane,
    /// Our term.
    pub term: Term,
    /// The segment's number.
    pub segment: u32,
    /// Where the groups go.
    pub offset: u32,
    /// Bytes of the groups.
    pub bytes: u32,
}

/// A wish for the next batch.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fetch {
    /// Number of the request that will carry the batch.
    pub request: u32,
    /// Its lane.
    pub lane: Lane,
    /// The first record wanted; records of a lower seq are skipped.
    pub from: Cursor,
    /// Read no further than this offset: the durable end of an own segment, or `u32::MAX`.
    pub end: u32,
    /// At most so many records,
    pub records_max: u32,
    /// and so many bytes, but at least one record.
    pub bytes_max: u32,
}

/// What was read and, if there is a record, passed to the uplink.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Fetched {
    /// The request's number.
    pub request: u32,
    /// Seq of the first record; the seqs of a batch have no gap.
    pub first_seq: u64,
    /// How many records; 0: none.
    pub count: u32,
    /// Bytes of the records.
    pub bytes: u32,
    /// The cursor once these are done with.
    pub next: Cursor,
    /// Whether `next` stands at the end of what could be read of this segment.
    pub at_end: bool,
    /// The segment is not there.
    pub missing: bool,
    /// Damaged stretches that were set aside on the way,
    pub damaged: u32,
    /// and their bytes.
    pub damaged_bytes: u32,
}

/// Records that the cloud refused: kept in the declined store, synced, before the cursor passes
/// them.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Decline {
    /// Their lane.
    pub lane: Lane,
    /// The first of them.
    pub from: Cursor,
    /// Read no further than this offset, as in [`Fetch`].
    pub end: u32,
    /// How many.
    pub records: u32,
    /// The HTTP status that refused them.
    pub status: u16,
    /// The reason in plain words.
    pub reason: Reason,
    /// When, in ms since the Unix epoch.
    pub wall_ms: u64,
    /// The store's bound, in bytes: the oldest make room.
    pub bytes_max: u64,
}

/// What became of refused records.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Declined {
    /// How many are in the store now that were not before.
    pub count: u32,
    /// The cursor behind them.
    pub next: Cursor,
    /// Older ones that made room.
    pub dropped: u32,
}

/// What all slots together say.
#[derive(Clone, PartialEq, Hash, Debug, Serialize, Deserialize)]
pub struct Survey {
    /// The slot of the highest term.
    pub newest: Option<Slot>,
    /// The slot of the term exactly one below it.
    pub before: Option<Slot>,
    /// The largest `fence_ms` of any slot, in ms.
    pub fence_ms_max: u32,
    /// By lane, the furthest cursor of any slot.
    pub cursors: [Cursor; 2],
    /// Every valid slot's segments, in no order.
    pub marks: Vec<TermMark, { SLOTS as usize }>,
}

/// Which segments a term has.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct TermMark {
    /// The term.
    pub term: Term,
    /// By lane, the number of its newest segment; 0: none.
    pub newest_segment: [u32; 2],
    /// By lane, the seq of its last record; 0: none, or not known, the term was not released.
    pub last_seq: [u64; 2],
}

/// Our own record to be looked at and written, then the others' to be read.
#[derive(Clone, PartialEq, Hash, Debug, Serialize, Deserialize)]
pub struct NodesOrder {
    /// Look at our own record first: whether it stands under another nonce than this.
    pub own_nonce: Option<u64>,
    /// Our own record, if it is due.
    pub write: Option<NodeRecord>,
    /// Which of the others' to read.
    pub read: NodesRead,
}

/// Which records to read.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum NodesRead {
    /// None.
    Nothing,
    /// Those found by the last listing.
    Known,
    /// List the folder, then read all.
    Listed,
}

/// A node's word about itself, rewritten in place in `nodes/<node>`.
#[derive(Clone, PartialEq, Hash, Debug, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Its name.
    pub node: NodeName,
    /// Random number of its process.
    pub nonce: u64,
    /// Counts the writes of this record.
    pub beat: u32,
    /// What it is doing.
    pub role: Role,
    /// The share's class as it sees it.
    pub class: ShareClass,
    /// Its program's version.
    pub version: String<16>,
    /// Where its console can be reached; empty: not said.
    pub advertise: String<ADVERTISE_MAX>,
    /// What its operator wants of the master.
    pub wish: Option<Wish>,
    /// Its wall clock, in ms since the Unix epoch; 0: not said.
    #[serde(default)]
    pub wall_ms: u64,
}

/// A switchover asked for at some node.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Wish {
    /// Whoever is master of this term shall hand over.
    pub term: Term,
    /// To whom; `None`: to whoever is first.
    pub to: Option<NodeName>,
}

/// What was seen of the nodes.
#[derive(Clone, PartialEq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct NodesSeen {
    /// Our own record, as it was before it was written; unread if writing it failed.
    pub own: OwnRecord,
    /// The others', in no order. A record that could not be read is left out.
    pub records: Vec<NodeRecord, NODES_MAX>,
    /// The others that have records, if the folder was listed.
    pub listed: Option<Vec<NodeName, NODES_MAX>>,
    /// There are more than that.
    pub crowded: bool,
    /// What could not be done, while the rest was: our own record looked at or written, the
    /// folder listed, or any of the others' records read.
    pub failed: Option<ShareError>,
}

impl NodesSeen {
    /// Whether it shows the others: else none of them was silent.
    pub fn shows_others(&self) -> bool {
        self.failed.is_none() || !self.records.is_empty()
    }
}

/// What a look at our own record showed.
#[derive(Clone, PartialEq, Hash, Debug, Default, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one exists at a time; no heap in the engine")]
pub enum OwnRecord {
    /// Nothing: it was not looked at, or could not be read.
    #[default]
    Unread,
    /// It is not there, or damaged, or ours.
    Clear,
    /// It stands under a foreign nonce.
    Foreign(Namesake),
}

/// What became of an order.
#[derive(Clone, PartialEq, Hash, Debug, Serialize, Deserialize)]
#[allow(clippy::large_enum_variant, reason = "one outcome exists at a time; no heap in the engine")]
pub enum ShareOutcome {
    /// `Open` found a data directory.
    Opened {
        /// Its site.
        site: SiteId,
        /// Its class.
        class: ShareClass,
        /// What is free there, in bytes; `u64::MAX`: not told.
        free_bytes: u64,
        /// What its mount's options say.
        mount: MountJudgement,
    },
    /// `Load`: the files follow as the frame's body.
    Loaded,
    /// `Reread`: likewise.
    Reread,
    /// `Poll`.
    Polled(Polled),
    /// `Claim`.
    Claimed {
        /// Whether the number is ours; else somebody had taken it.
        created: bool,
    },
    /// `Announce` and `Survey`.
    Surveyed(Survey),
    /// `Prove`.
    Proven(Proven),
    /// `Fetch`.
    Fetched(Fetched),
    /// `Decline`.
    Declined(Declined),
    /// `Store`.
    Store(StoreOutcome),
    /// `Nodes`.
    Nodes(NodesSeen),
    /// `Newest`.
    Newest {
        /// The number; 0: none.
        segment: u32,
    },
    /// `Append`, `Attach`, `Forget`, `Tidy`, `Release`: as ordered.
    Done,
    /// `Sweep`: as ordered.
    Swept {
        /// Bytes of all segments of the lane that are left.
        journal_bytes: u64,
    },
    /// `Reserve`.
    Reserve(ReserveSeen),
    /// It could not be done.
    Failed(ShareError),
}

/// What the options of the share's mount say of it, for people, with the remedies.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct MountJudgement {
    /// Its locks cannot be believed at all.
    pub unsafe_because: Option<String<MOUNT_TEXT_MAX>>,
    /// What works and could be better.
    pub remarks: Vec<String<MOUNT_TEXT_MAX>, MOUNT_REMARKS_MAX>,
}

/// Why a share operation failed.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct ShareError {
    /// What kind of failure.
    pub fault: ShareFault,
    /// The system's error number; 0: none.
    pub errno: i32,
    /// What was being done to what, what was found and expected, and the remedy if there is one.
    pub text: String<200>,
}

impl fmt::Display for ShareError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

/// Kinds of failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum ShareFault {
    /// No data directory, or not the one expected, or its mark is damaged.
    Missing,
    /// Written by a newer version of this program.
    Newer,
    /// EACCES, EPERM.
    Denied,
    /// EROFS.
    ReadOnly,
    /// ENOSPC, EDQUOT.
    NoSpace,
    /// ESTALE, EBADF, EIO, ENODEV, ENOTCONN, EHOSTDOWN: what we hold open is no good any more.
    Stale,
    /// Anything else.
    Other,
}

/// What to do about a failure.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum FaultClass {
    /// Try the same again later.
    Retry,
    /// Open the data directory afresh; a master's term ends with its lease.
    Reopen,
}

impl ShareFault {
    /// The policy, in one place.
    pub const fn class(self) -> FaultClass {
        match self {
            Self::NoSpace | Self::Other => FaultClass::Retry,
            Self::Missing | Self::Newer | Self::Denied | Self::ReadOnly | Self::Stale => {
                FaultClass::Reopen
            }
        }
    }
}
