//! Names between two hosts: whether an exclusive create has one winner, and how long a new name stays
//! unseen.

use super::meeting::NEVER;
use super::page::Side;
use super::{Finding, Proof, Told, create};
use crate::edge::share::probe::Level;
use crate::engine::share::ShareError;
use crate::limits::{PEER_RACES, SEGMENT_HIDDEN_MS_MAX};

/// Who got the names that both tried to create.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
struct Won {
    /// One alone: the first host, the second.
    alone: [u32; 2],
    /// Both.
    twice: u32,
    /// Neither.
    never: u32,
}

impl Won {
    /// Adds 64 names, a bit for each that the first and the second host got.
    fn add(&mut self, first: u64, second: u64) {
        self.alone[0] += (first & !second).count_ones();
        self.alone[1] += (second & !first).count_ones();
        self.twice += (first & second).count_ones();
        self.never += (!first & !second).count_ones();
    }
}

impl<T: FnMut(Told)> Proof<'_, '_, T> {
    /// Both create the same names in the same order, 64 after each meeting: whoever is behind finds
    /// names taken, which is quicker than to create them, and catches up.
    pub(super) fn creation(&mut self) -> Result<(), ShareError> {
        let mut won = Won::default();
        self.meeting.meet(0)?;
        for race in 0..PEER_RACES {
            let mut own = 0;
            for number in 0..u64::BITS {
                let path = self.meeting.scratch(&format!("claim.{race}.{number}"));
                own |= u64::from(create(self.root, &path)?) << number;
                self.meeting.show()?;
            }
            let other = self.meeting.meet(own)?;
            match self.meeting.side() {
                Side::First => won.add(own, other),
                Side::Second => won.add(other, own),
            }
        }
        self.say(judge_creation(won));
        Ok(())
    }

    /// A name that was looked for in vain, which the other's client may remember.
    pub(super) fn hidden_name(&mut self, creator: Side) -> Result<(), ShareError> {
        let (root, path) = (self.root, self.meeting.scratch(&format!("name.{creator:?}")));
        let is_there = || path.metadata().is_ok();
        if self.meeting.side() != creator {
            is_there();
        }
        self.meeting.meet(0)?;
        let make = || create(root, &path).map(drop);
        let seen_ms = self.span(creator, SEGMENT_HIDDEN_MS_MAX, make, || Ok(is_there()))?;
        self.say(judge_name(creator, seen_ms));
        Ok(())
    }
}

fn judge_creation(won: Won) -> Finding {
    let Won { alone: [first, second], twice, never } = won;
    let count = first + second + twice + never;
    if twice + never > 0 {
        let text = format!(
            "create: of {count} names that both created, {twice} were given to both and {never} to \
             none: this share cannot be used"
        );
        return (Level::Fail, text);
    }
    let text = format!(
        "create: {count} names that both raced for were each given to one, {first} to the first host \
         and {second} to the second"
    );
    (Level::Pass, text)
}

fn judge_name(creator: Side, seen_ms: u64) -> Finding {
    let (name, other) = (creator.name(), creator.other().name());
    if seen_ms == NEVER {
        let seconds = SEGMENT_HIDDEN_MS_MAX / 1_000;
        let text = format!(
            "names: one that {name} made was unseen by {other} for {seconds} s: mount with \
             lookupcache=positive or a shorter acdirmax"
        );
        return (Level::Fail, text);
    }
    let text = format!(
        "names: one that {name} made, and {other} had looked for before, is seen after {seen_ms} ms \
         at most"
    );
    (Level::Pass, text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_counted_and_judged() {
        for (first, second, won, level) in [
            (u64::MAX, 0, Won { alone: [64, 0], ..Won::default() }, Level::Pass),
            (0b01, !0b01, Won { alone: [1, 63], ..Won::default() }, Level::Pass),
            (0b11, !0b01, Won { alone: [1, 62], twice: 1, never: 0 }, Level::Fail),
            (0b01, !0b11, Won { alone: [1, 62], twice: 0, never: 1 }, Level::Fail),
        ] {
            let mut counted = Won::default();
            counted.add(first, second);
            assert_eq!(counted, won);
            assert_eq!(judge_creation(counted).0, level, "{won:?}");
        }
    }

    #[test]
    fn a_name_that_is_never_seen_fails() {
        assert_eq!(judge_name(Side::First, 30_000).0, Level::Pass);
        let (level, text) = judge_name(Side::Second, NEVER);
        assert_eq!(level, Level::Fail);
        assert!(text.contains("the second host made was unseen by the first host"), "{text}");
    }
}
