//! What was tried: faults hit, states reached.

use std::collections::BTreeMap;

use crate::plan::Fault;

/// Counts, summed over seeds.
#[derive(Clone, Debug, Default)]
pub(crate) struct Table {
    faults: BTreeMap<Fault, u64>,
    states: BTreeMap<String, u64>,
}

impl Table {
    /// A fault happened.
    pub(crate) fn hit(&mut self, fault: Fault) {
        *self.faults.entry(fault).or_default() += 1;
    }

    /// A state was reached.
    pub(crate) fn reach(&mut self, state: &str) {
        if let Some(count) = self.states.get_mut(state) {
            *count += 1;
        } else {
            self.states.insert(state.to_owned(), 1);
        }
    }

    /// Adds another's counts.
    pub(crate) fn add(&mut self, other: &Self) {
        for (fault, count) in &other.faults {
            *self.faults.entry(*fault).or_default() += count;
        }
        for (state, count) in &other.states {
            *self.states.entry(state.clone()).or_default() += count;
        }
    }

    /// Faults that never happened.
    pub(crate) fn never(&self) -> Vec<Fault> {
        Fault::ALL.into_iter().filter(|fault| !self.faults.contains_key(fault)).collect()
    }

    /// Prints it.
    pub(crate) fn print(&self) {
        println!("{:<28} {:>12}", "fault", "times");
        for fault in Fault::ALL {
            let times = self.faults.get(&fault).copied().unwrap_or(0);
            println!("{:<28} {times:>12}", fault.name());
        }
        println!("\n{:<28} {:>12}", "state", "times");
        for (state, times) in &self.states {
            println!("{state:<28} {times:>12}");
        }
    }
}
