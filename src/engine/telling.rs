//! Whether a condition is told to people at the other end of the cloud, and when.
//!
//! | state | the condition holds | it does not | its alert was taken |
//! |---|---|---|---|
//! | `Quiet` | `HoldingBack` | | |
//! | `HoldingBack` | `ToBeRaised`, once it has lasted and the last raise is long enough ago | `Quiet` | `Raised` |
//! | `ToBeRaised` | | `Quiet`, or `ToBeCleared` if its alert may have been taken | `Raised` |
//! | `Raised` | | `ToBeCleared` | |
//! | `ToBeCleared` | `Raised` | | `Quiet` |
//!
//! # Invariants
//!
//! - D1: it is raised once and cleared once; cleared only if the raising alert was taken, or
//!   may have been (a request without an answer).
//! - D2: two raises lie at least [`Patience::every_ms`] apart: what comes and goes is no storm.
//! - D3: what ends before [`Patience::hold_ms`] is never told.

/// How long a condition must last before it is told, and how often it is told, in ms.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Patience {
    /// It must have lasted so long.
    pub hold_ms: u32,
    /// From one raise to the next.
    pub every_ms: u32,
}

/// Which of its two alerts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Phase {
    /// It began.
    Raise,
    /// It is over.
    Clear,
}

impl Phase {
    /// `state` in an alert's data.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raise => "raised",
            Self::Clear => "cleared",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
enum State {
    #[default]
    Quiet,
    HoldingBack,
    ToBeRaised,
    Raised,
    ToBeCleared,
}

/// One condition, on its way to people.
#[derive(Clone, Copy, Hash, Debug, Default)]
pub struct Telling {
    state: State,
    /// Since when it holds, or held last.
    began_ms: u64,
    ended_ms: u64,
    raised_ms: Option<u64>,
    /// The raising alert may have been taken: it got no answer.
    in_doubt: bool,
}

impl Telling {
    /// Takes in whether the condition holds now.
    pub fn see(&mut self, now_ms: u64, holds: bool, patience: Patience) {
        match (self.state, holds) {
            (State::Quiet, true) => {
                self.state = State::HoldingBack;
                self.began_ms = now_ms;
                self.in_doubt = false;
            }
            (State::HoldingBack | State::ToBeRaised, false) => {
                self.state = if self.in_doubt { State::ToBeCleared } else { State::Quiet };
                self.ended_ms = now_ms;
            }
            (State::Raised, false) => {
                self.state = State::ToBeCleared;
                self.ended_ms = now_ms;
            }
            (State::ToBeCleared, true) => self.state = State::Raised,
            (State::Quiet | State::ToBeCleared, false)
            | (State::HoldingBack | State::ToBeRaised | State::Raised, true) => {}
        }
        if self.state == State::HoldingBack && now_ms >= self.due_ms(patience) {
            self.state = State::ToBeRaised;
        }
    }

    /// The alert that is to be sent now, if any.
    pub const fn wish(&self) -> Option<Phase> {
        match self.state {
            State::ToBeRaised => Some(Phase::Raise),
            State::ToBeCleared => Some(Phase::Clear),
            State::Quiet | State::HoldingBack | State::Raised => None,
        }
    }

    /// An alert was taken. Meanwhile the condition may have ended, or begun again.
    pub fn told(&mut self, now_ms: u64, phase: Phase) {
        self.in_doubt = false;
        match (phase, self.state) {
            (Phase::Raise, State::HoldingBack | State::ToBeRaised | State::Raised) => {
                self.state = State::Raised;
                self.raised_ms = Some(now_ms);
            }
            (Phase::Raise, State::Quiet | State::ToBeCleared) => {
                self.state = State::ToBeCleared;
                self.raised_ms = Some(now_ms);
                self.ended_ms = self.ended_ms.max(self.began_ms);
            }
            // It holds again, and people were just told that it is over.
            (Phase::Clear, State::HoldingBack | State::ToBeRaised | State::Raised) => {
                self.state = State::HoldingBack;
                self.began_ms = now_ms;
            }
            (Phase::Clear, State::Quiet | State::ToBeCleared) => self.state = State::Quiet,
        }
    }

    /// An alert got no answer: it may have been taken, and is sent again.
    pub fn doubt(&mut self, phase: Phase) {
        match (phase, self.state) {
            (Phase::Raise, State::HoldingBack | State::ToBeRaised) => self.in_doubt = true,
            (Phase::Raise, State::Quiet) => self.state = State::ToBeCleared,
            (Phase::Raise, State::Raised | State::ToBeCleared) | (Phase::Clear, _) => {}
        }
    }

    /// An alert will never be taken as it is: a raise is tried again when the next one may be,
    /// a clearing not at all.
    pub fn give_up(&mut self, now_ms: u64, phase: Phase) {
        match (phase, self.state) {
            (Phase::Raise, State::ToBeRaised) => {
                self.state = State::HoldingBack;
                self.raised_ms = Some(now_ms);
            }
            (Phase::Clear, State::ToBeCleared) => self.state = State::Quiet,
            (Phase::Raise | Phase::Clear, _) => {}
        }
    }

    /// Whether its raising alert was taken and its clearing one was not.
    pub const fn is_raised(&self) -> bool {
        matches!(self.state, State::Raised | State::ToBeCleared)
    }

    /// When [`Self::see`] will have it raised if it holds on; `u64::MAX`: not by time alone.
    pub fn due_ms(&self, patience: Patience) -> u64 {
        if self.state != State::HoldingBack {
            return u64::MAX;
        }
        let next_ms = self.raised_ms.map_or(0, |at_ms| at_ms + u64::from(patience.every_ms));
        next_ms.max(self.began_ms + u64::from(patience.hold_ms))
    }

    /// When what a phase tells of happened.
    pub const fn moment_ms(&self, phase: Phase) -> u64 {
        match phase {
            Phase::Raise => self.began_ms,
            Phase::Clear => self.ended_ms,
        }
    }

    /// For how long it has lasted, or had when it ended.
    pub const fn lasted_ms(&self, now_ms: u64, phase: Phase) -> u64 {
        match phase {
            Phase::Raise => now_ms.saturating_sub(self.began_ms),
            Phase::Clear => self.ended_ms.saturating_sub(self.began_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { hold_ms: 100, every_ms: 1_000 };

    fn at(state: State) -> Telling {
        Telling { state, began_ms: 5_000, ended_ms: 5_010, raised_ms: Some(1_000), in_doubt: false }
    }

    #[test]
    fn every_state_and_event_has_its_next_state() {
        use State::{HoldingBack, Quiet, Raised, ToBeCleared, ToBeRaised};
        type Deed = fn(&mut Telling);
        let holds: Deed = |telling| telling.see(5_050, true, PATIENCE);
        let lasts: Deed = |telling| telling.see(5_100, true, PATIENCE);
        let ends: Deed = |telling| telling.see(5_050, false, PATIENCE);
        let raised: Deed = |telling| telling.told(5_050, Phase::Raise);
        let cleared: Deed = |telling| telling.told(5_050, Phase::Clear);
        let refused: Deed = |telling| telling.give_up(5_050, Phase::Raise);
        let unanswered: Deed = |telling| {
            telling.doubt(Phase::Raise);
            telling.see(5_060, false, PATIENCE);
        };
        let rows = [
            (Quiet, [HoldingBack, HoldingBack, Quiet, ToBeCleared, Quiet, Quiet, ToBeCleared]),
            (
                HoldingBack,
                [HoldingBack, ToBeRaised, Quiet, Raised, HoldingBack, HoldingBack, ToBeCleared],
            ),
            (
                ToBeRaised,
                [ToBeRaised, ToBeRaised, Quiet, Raised, HoldingBack, HoldingBack, ToBeCleared],
            ),
            (Raised, [Raised, Raised, ToBeCleared, Raised, HoldingBack, Raised, ToBeCleared]),
            (
                ToBeCleared,
                [Raised, Raised, ToBeCleared, ToBeCleared, Quiet, ToBeCleared, ToBeCleared],
            ),
        ];
        for (state, expected) in rows {
            let deeds = [holds, lasts, ends, raised, cleared, refused, unanswered];
            for (place, (deed, next)) in deeds.into_iter().zip(expected).enumerate() {
                let mut telling = at(state);
                deed(&mut telling);
                assert_eq!(telling.state, next, "{state:?}, event {place}");
            }
        }
    }

    #[test]
    fn what_passes_quickly_is_never_told() {
        let mut telling = Telling::default();
        for round in 0..100 {
            telling.see(round * 200, true, PATIENCE);
            assert_eq!(telling.due_ms(PATIENCE), round * 200 + 100);
            telling.see(round * 200 + 99, true, PATIENCE);
            assert_eq!(telling.wish(), None, "D3");
            telling.see(round * 200 + 150, false, PATIENCE);
            assert_eq!((telling.wish(), telling.due_ms(PATIENCE)), (None, u64::MAX));
        }
    }

    #[test]
    fn what_comes_and_goes_is_raised_no_more_often_than_may_be() {
        let mut telling = Telling::default();
        let mut raises = Vec::new();
        let mut clears = 0;
        for now_ms in (0..10_000).step_by(50) {
            // it holds for 150 ms of every 300
            telling.see(now_ms, now_ms % 300 < 150, PATIENCE);
            if let Some(phase) = telling.wish() {
                telling.told(now_ms, phase);
                match phase {
                    Phase::Raise => raises.push(now_ms),
                    Phase::Clear => clears += 1,
                }
            }
        }
        assert!(raises.len() >= 5, "{raises:?}");
        assert!(raises.windows(2).all(|pair| pair[1] - pair[0] >= 1_000), "D2: {raises:?}");
        assert!(raises.len() - clears <= 1, "D1: {} raises, {clears} clears", raises.len());
    }

    #[test]
    fn it_is_cleared_only_if_it_was_raised() {
        let mut telling = Telling::default();
        telling.see(0, true, PATIENCE);
        telling.see(100, true, PATIENCE);
        assert_eq!(telling.wish(), Some(Phase::Raise));
        telling.see(7_000, false, PATIENCE);
        assert_eq!(telling.wish(), None, "D1: it never got out");
        telling.see(8_000, true, PATIENCE);
        telling.see(8_100, true, PATIENCE);
        telling.told(8_200, Phase::Raise);
        assert!(telling.is_raised());
        telling.see(9_000, false, PATIENCE);
        assert_eq!(telling.wish(), Some(Phase::Clear));
        assert_eq!(telling.lasted_ms(50_000, Phase::Clear), 1_000);
        telling.told(9_100, Phase::Clear);
        telling.see(9_100, false, PATIENCE);
        assert_eq!((telling.wish(), telling.is_raised()), (None, false));
    }
}
