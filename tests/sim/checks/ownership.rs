//! No term writes another's files: a slot and a segment are written by who made the claim of
//! their term, and by nobody else; only a fenced master deletes.

use std::collections::BTreeMap;

use edge_agent::engine::ident::Term;

use super::{Checked, Promise, hold};
use crate::node::Life;

/// Who made which claim.
#[derive(Default)]
pub(crate) struct Ownership {
    owners: BTreeMap<Term, Life>,
    fenced: BTreeMap<Term, bool>,
}

impl Ownership {
    /// A claim's file was made.
    pub(crate) fn claimed(&mut self, term: Term, life: Life) {
        self.owners.entry(term).or_insert(life);
    }

    /// A slot of this term is durable.
    pub(crate) fn named(&mut self, term: Term, fenced: bool) {
        let was = self.fenced.entry(term).or_default();
        *was |= fenced;
    }

    /// A file of this term is written.
    pub(crate) fn wrote(&self, what: &str, term: Term, life: Life) -> Checked {
        let owner = self.owners.get(&term);
        hold(Promise::Ownership, owner == Some(&life), || {
            format!("{life:?} writes {what} of term {term}, which {owner:?} claimed")
        })
    }

    /// Segments are deleted by the master of this term.
    pub(crate) fn deleted(&self, by: Term) -> Checked {
        let fenced = self.fenced.get(&by).copied().unwrap_or(false);
        hold(Promise::Ownership, fenced, || format!("term {by} deletes segments and is not fenced"))
    }
}
