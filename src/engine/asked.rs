//! The share order that is outstanding, with what its outcome is needed for.

use super::ident::{Cursor, Lane, Term};
use super::share::ReserveOrder;
use super::slot::LaneMark;
use super::store::StoreAsked;

/// What a proof does beyond proving.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) struct ProofScope {
    /// It writes our slot.
    pub(super) wrote_slot: bool,
    /// It looks at all slots.
    pub(super) saw_all: bool,
}

/// The order that is outstanding, with what its outcome is needed for.
#[derive(Clone, Copy, Hash, Debug)]
pub(super) enum Asked {
    Open,
    Load,
    Reread,
    Poll {
        all: bool,
    },
    Claim {
        term: Term,
    },
    Announce,
    Prove {
        create: [u32; 2],
        marks: [LaneMark; 2],
        scope: ProofScope,
    },
    Append {
        lane: Lane,
    },
    Fetch {
        lane: Lane,
    },
    Decline {
        lane: Lane,
    },
    Store(StoreAsked),
    Survey,
    Attach,
    /// `last`: it leaves the record of a node that stops. `own`: it looks at our own record,
    /// `others`: it reads the others'. `shows`: if it succeeds, whatever failed before works.
    Nodes {
        last: bool,
        own: bool,
        others: bool,
        shows: bool,
    },
    Forget,
    Newest {
        lane: Lane,
        term: Term,
    },
    Sweep {
        lane: Lane,
        before: Cursor,
    },
    Tidy,
    Reserve(ReserveOrder),
    Release,
}

impl Asked {
    /// Whether its outcome is about the records at a lane's cursor.
    pub(super) const fn reads_at_cursor(self) -> bool {
        matches!(self, Self::Fetch { .. } | Self::Decline { .. } | Self::Newest { .. })
    }

    /// As a person would call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Open => "opening the data directory",
            Self::Load => "reading the configuration",
            Self::Reread => "reading the secret files",
            Self::Poll { .. } => "a poll",
            Self::Claim { .. } | Self::Announce => "a claim",
            Self::Prove { .. } => "a proof",
            Self::Append { .. } => "writing the journal",
            Self::Fetch { .. } | Self::Newest { .. } => "reading the journal",
            Self::Decline { .. } => "writing the declined store",
            Self::Store(asked) => asked.name(),
            Self::Survey => "reading all slots",
            Self::Attach => "greeting the uplink",
            Self::Nodes { .. } => "the nodes' records",
            Self::Sweep { .. } | Self::Tidy | Self::Forget => "deleting what is done with",
            Self::Reserve(_) => "the reserve file",
            Self::Release => "releasing the term",
        }
    }
}
