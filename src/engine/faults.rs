//! What fails on the share at present, by the kind of work that fails.
//!
//! # Invariants
//!
//! - A1: a failure is news when it is another one than the last of its kind since that kind of
//!   work last succeeded; so is that success.
//!
//! Not for: what is done about a failure; that stands in `ShareFault::class`.

use super::asked::Asked;
use super::share::ShareError;

/// Kinds of work, by what has to succeed before a failure is over.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) enum Work {
    /// The slots and the lock: polls and proofs, and the opening before them.
    Term,
    /// Claims.
    Claim,
    /// The journal's segments being made and written.
    Writing,
    /// The journal being read.
    Reading,
    /// The declined store being written, or emptied.
    Declining,
    /// The declined store being read.
    Recalling,
    /// The nodes' records.
    Nodes,
    /// What is done with being deleted.
    Sweeping,
    /// The reserve file.
    Reserve,
}

const KINDS: usize = 9;

impl Work {
    /// The kind of an order.
    pub(super) fn of(asked: Asked) -> Self {
        match asked {
            Asked::Prove { create, .. } if create != [0, 0] => Self::Writing,
            Asked::Open
            | Asked::Load
            | Asked::Reread
            | Asked::Poll { .. }
            | Asked::Prove { .. }
            | Asked::Survey
            | Asked::Attach
            | Asked::Release => Self::Term,
            Asked::Claim { .. } | Asked::Announce => Self::Claim,
            Asked::Append { .. } => Self::Writing,
            Asked::Fetch { .. } | Asked::Newest { .. } => Self::Reading,
            Asked::Store(asked) if asked.reads() => Self::Recalling,
            Asked::Decline { .. } | Asked::Store(_) => Self::Declining,
            Asked::Nodes { .. } => Self::Nodes,
            Asked::Sweep { .. } | Asked::Tidy | Asked::Forget => Self::Sweeping,
            Asked::Reserve(_) => Self::Reserve,
        }
    }

    /// The kind of work of which an order's success shows that it works. What was made is not yet
    /// written; a claim is not yet announced; a file that was read says nothing of the slots.
    pub(super) fn shown_by(asked: Asked) -> Option<Self> {
        match asked {
            Asked::Prove { .. } => Some(Self::Term),
            Asked::Load
            | Asked::Reread
            | Asked::Attach
            | Asked::Release
            | Asked::Claim { .. }
            | Asked::Nodes { shows: false, .. } => None,
            Asked::Open
            | Asked::Poll { .. }
            | Asked::Announce
            | Asked::Append { .. }
            | Asked::Fetch { .. }
            | Asked::Decline { .. }
            | Asked::Store(_)
            | Asked::Survey
            | Asked::Nodes { shows: true, .. }
            | Asked::Newest { .. }
            | Asked::Sweep { .. }
            | Asked::Forget
            | Asked::Tidy
            | Asked::Reserve(_) => Some(Self::of(asked)),
        }
    }

    /// As a person would call it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Term => "the data directory",
            Self::Claim => "claiming",
            Self::Writing => "writing the journal",
            Self::Reading => "reading the journal",
            Self::Declining => "the declined store",
            Self::Recalling => "reading the declined store",
            Self::Nodes => "the nodes' records",
            Self::Sweeping => "deleting what is done with",
            Self::Reserve => "the reserve file",
        }
    }
}

/// The last failure of each kind, until that kind of work succeeds.
#[derive(Clone, Hash, Debug, Default)]
pub(super) struct Faults([Option<ShareError>; KINDS]);

impl Faults {
    /// Whether this failure is news (A1).
    pub(super) fn note(&mut self, work: Work, error: &ShareError) -> bool {
        let known = &mut self.0[work as usize];
        let is_news = known.as_ref() != Some(error);
        if is_news {
            *known = Some(error.clone());
        }
        is_news
    }

    /// It succeeded; whether that is news (A1).
    pub(super) fn end(&mut self, work: Work) -> bool {
        self.0[work as usize].take().is_some()
    }

    /// A term of ours is over: what only a master does fails no more.
    pub(super) fn end_term(&mut self) {
        for work in [
            Work::Claim,
            Work::Writing,
            Work::Reading,
            Work::Declining,
            Work::Recalling,
            Work::Sweeping,
            Work::Reserve,
        ] {
            self.0[work as usize] = None;
        }
    }

    /// The data directory was opened afresh, or another term began: what failed before says
    /// nothing about it. Only the nodes' records may fail alone, and go on to.
    pub(super) fn begin_anew(&mut self) {
        let nodes = self.0[Work::Nodes as usize].take();
        *self = Self::default();
        self.0[Work::Nodes as usize] = nodes;
    }

    /// The gravest: the kinds stand in that order.
    pub(super) fn first(&self) -> Option<&ShareError> {
        self.0.iter().flatten().next()
    }
}

#[cfg(test)]
mod tests {
    use heapless::String;

    use super::*;
    use crate::engine::share::ShareFault;

    fn error(text: &str) -> ShareError {
        let text = String::try_from(text).expect("short");
        ShareError { fault: ShareFault::Other, errno: 0, text }
    }

    #[test]
    fn a_failure_is_news_once_and_so_is_its_end() {
        let mut faults = Faults::default();
        assert!(!faults.end(Work::Nodes));
        assert!(faults.note(Work::Nodes, &error("a")));
        assert!(!faults.note(Work::Nodes, &error("a")));
        assert!(faults.note(Work::Term, &error("b")), "the kinds do not mix");
        assert!(!faults.note(Work::Nodes, &error("a")));
        assert_eq!(faults.first(), Some(&error("b")));
        assert!(faults.end(Work::Term));
        assert!(!faults.end(Work::Term));
        assert_eq!(faults.first(), Some(&error("a")));
        assert!(faults.note(Work::Writing, &error("c")));
        faults.end_term();
        assert_eq!(faults.first(), Some(&error("a")));
        assert!(faults.note(Work::Term, &error("b")));
        faults.begin_anew();
        assert_eq!(faults.first(), Some(&error("a")));
        assert!(!faults.note(Work::Nodes, &error("a")), "A1");
        assert!(faults.end(Work::Nodes));
        assert_eq!(faults.first(), None);
    }
}
