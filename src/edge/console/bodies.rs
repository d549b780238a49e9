//! Buffers for bodies of readings: lent to a connection from its head to its answer.

use crate::limits::BODIES_MAX;

/// At most [`BODIES_MAX`] of them, allocated when first needed and kept while the intake is open.
#[derive(Debug)]
pub(super) struct Bodies {
    is_open: bool,
    spare: Vec<Vec<u8>>,
    /// How many more may be allocated.
    unborn: usize,
}

impl Bodies {
    pub(super) fn new() -> Self {
        Self { is_open: false, spare: Vec::with_capacity(BODIES_MAX), unborn: BODIES_MAX }
    }

    /// Whether bodies are wanted at all.
    pub(super) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Frees what is not lent, once they are not wanted.
    pub(super) fn set_open(&mut self, is_open: bool) {
        self.is_open = is_open;
        if !is_open {
            self.unborn += self.spare.len();
            self.spare.clear();
        }
    }

    /// Lends one of this length; `None`: all are lent.
    pub(super) fn take(&mut self, length: usize) -> Option<Vec<u8>> {
        let mut body = self.spare.pop();
        if body.is_none() && self.unborn > 0 {
            self.unborn -= 1;
            body = Some(Vec::new());
        }
        body.as_mut()?.resize(length, 0);
        body
    }

    pub(super) fn give_back(&mut self, body: Vec<u8>) {
        if self.is_open {
            self.spare.push(body);
        } else {
            self.unborn += 1;
        }
    }
}

#[cfg(test)]
impl Bodies {
    pub(super) fn spare_count(&self) -> usize {
        self.spare.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_so_many_and_none_is_lost() {
        let mut bodies = Bodies::new();
        bodies.set_open(true);
        for _ in 0..3 {
            let lent: Vec<_> = std::iter::from_fn(|| bodies.take(9)).collect();
            assert_eq!(lent.len(), BODIES_MAX);
            assert!(lent.iter().all(|body| body.len() == 9));
            for (count, body) in lent.into_iter().enumerate() {
                bodies.set_open(count % 2 == 0);
                bodies.give_back(body);
            }
            bodies.set_open(true);
        }
    }
}
