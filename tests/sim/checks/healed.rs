//! After healing: one master, and nothing left to forward.

use edge_agent::engine::ident::Role;
use edge_agent::engine::status::Status;

use super::{Checked, Promise, hold};

/// Whether a site has come to rest.
pub(crate) fn is_healed(all: &[Status]) -> bool {
    let masters: Vec<_> = all.iter().filter(|status| status.role == Role::Master).collect();
    let standbys = all.iter().filter(|status| status.role == Role::Standby).count();
    let [master] = masters[..] else { return false };
    let empty = master.journal.iter().all(|lane| lane.waiting == 0 && !lane.backlog);
    standbys + 1 == all.len() && master.fenced && master.lease_ms > 0 && empty
}

/// It had all the time it needs.
pub(crate) fn end(all: &[Status]) -> Checked {
    hold(Promise::Healed, is_healed(all), || {
        let nodes: Vec<_> = all
            .iter()
            .map(|status| {
                let journal = status.journal;
                let cloud = status.cloud.state;
                let conditions = &status.conditions;
                format!(
                    "{} {:?} term {} {journal:?} cloud {cloud} {conditions:?}",
                    status.node, status.role, status.term
                )
            })
            .collect();
        format!("no rest after healing: {nodes:#?}")
    })
}
