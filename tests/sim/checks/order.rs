//! P1: of two requests that carry a term, none of a lower term starts after the first of a
//! higher one.

use edge_agent::engine::ident::Term;

use super::{Checked, Promise, hold};

/// The highest term that has started a request.
#[derive(Default)]
pub(crate) struct Order {
    highest: Term,
}

impl Order {
    /// A request's connection is about to be made.
    pub(crate) fn started(&mut self, term: Term) -> Checked {
        let highest = self.highest;
        self.highest = highest.max(term);
        hold(Promise::Order, term >= highest, || {
            format!("a request of term {term} starts after one of term {highest}")
        })
    }
}
