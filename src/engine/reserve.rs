//! The reserve file: when it is made, when it is given up, and what waits for it.
//!
//! A full share must not keep a standby from claiming. So a fenced master keeps a small file
//! there, and whoever cannot write a claim, a slot or a proof for want of space has it deleted
//! and tries again. The engine decides, because only it knows which failure is worth it; the
//! keeper makes and deletes as ordered.
//!
//! | state | appends | next |
//! |---|---|---|
//! | `Unknown` | go on | `Kept` or `NoRoom`, once a fenced master has tried to make it |
//! | `Kept` | go on, and fail while the share is full | `GivenUp`, by a claim, a slot or a proof that failed |
//! | `NoRoom`, `GivenUp` | wait | `Kept`, once there is room: tried again every few seconds |
//! | any | | `Unknown`, when an order fails for another reason than want of space |
//!
//! # Invariants
//!
//! - V1: appends never eat what was given up: they wait until the reserve is there again.
//! - V2: an append that fails gives nothing up; forwarding goes on and makes room.
//! - V3: it is given up at most once in a while: what did not help once is not repeated at
//!   every try.

use super::share::{ReserveOrder, ReserveSeen, ShareError, ShareFault, ShareOrder};
use super::{Asked, Effect, Engine, Note, Now, Out, Stage};
use crate::limits::{RESERVE_WAIT_MS, RESIGN_WAIT_MS_MAX, RESIGN_WAIT_MS_MIN};

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum State {
    Unknown,
    Kept,
    NoRoom,
    GivenUp,
}

/// The reserve's books.
#[derive(Clone, Hash, Debug)]
pub struct Reserve {
    state: State,
    gives_up: bool,
    /// Not given up again before this (V3).
    give_up_from_ms: u64,
    make_due_ms: u64,
    /// What failed for want of space, until something could be written again.
    fault: Option<heapless::String<200>>,
}

impl Default for Reserve {
    fn default() -> Self {
        Self {
            state: State::Unknown,
            gives_up: false,
            give_up_from_ms: 0,
            make_due_ms: 0,
            fault: None,
        }
    }
}

impl Reserve {
    /// What could not be written for want of space; `None`: there is room.
    pub fn fault(&self) -> Option<&heapless::String<200>> {
        self.fault.as_ref()
    }

    /// Whether appends wait for the reserve (V1).
    pub fn is_awaited(&self) -> bool {
        matches!(self.state, State::NoRoom | State::GivenUp)
    }

    /// An order failed: perhaps for want of space, and perhaps it was vital (V2).
    pub(super) fn failed(&mut self, now_ms: u64, asked: Asked, error: &ShareError) {
        if error.fault != ShareFault::NoSpace {
            return;
        }
        let is_vital = match asked {
            Asked::Claim { .. } | Asked::Announce => true,
            Asked::Prove { create, .. } => create == [0, 0],
            Asked::Append { .. } | Asked::Decline { .. } | Asked::Store(_) | Asked::Reserve(_) => {
                false
            }
            // nothing of ours waits for their success
            Asked::Open
            | Asked::Load
            | Asked::Reread
            | Asked::Poll { .. }
            | Asked::Fetch { .. }
            | Asked::Survey
            | Asked::Attach
            | Asked::Nodes { .. }
            | Asked::Newest { .. }
            | Asked::Sweep { .. }
            | Asked::Tidy
            | Asked::Forget
            | Asked::Release => return,
        };
        self.fault.get_or_insert_with(|| error.text.clone());
        self.gives_up |= is_vital && now_ms >= self.give_up_from_ms;
    }

    /// Something could be written that needs room.
    pub fn wrote(&mut self) {
        if !self.is_awaited() {
            self.fault = None;
        }
    }

    /// A term of ours begins: whether there is a reserve is found out anew.
    pub fn begin(&mut self, now_ms: u64) {
        self.make_due_ms = now_ms;
        if self.state == State::Kept {
            self.state = State::Unknown;
        }
    }

    /// Somebody else is master: room is its concern.
    pub fn stand_by(&mut self) {
        if !self.gives_up {
            *self = Self { give_up_from_ms: self.give_up_from_ms, ..Self::default() };
        }
    }

    /// Whether it is to be given up now.
    pub fn gives_up(&self) -> bool {
        self.gives_up
    }

    /// When it is to be made by a fenced master; `u64::MAX`: it is there.
    pub fn make_due_ms(&self) -> u64 {
        if self.state == State::Kept { u64::MAX } else { self.make_due_ms }
    }

    /// What came of an order. `None`: it failed for another reason than want of space.
    fn take(&mut self, now_ms: u64, seen: Option<ReserveSeen>) {
        let soon_ms = now_ms + u64::from(RESERVE_WAIT_MS);
        match seen {
            // that it could be made shows that there is room; that it is there shows nothing
            Some(ReserveSeen::Made) => {
                self.state = State::Kept;
                self.fault = None;
            }
            Some(ReserveSeen::There) => self.state = State::Kept,
            Some(ReserveSeen::NoRoom) => {
                self.state = State::NoRoom;
                self.make_due_ms = soon_ms;
                self.fault
                    .get_or_insert_with(|| heapless::String::try_from(NO_ROOM).unwrap_or_default());
            }
            Some(ReserveSeen::GivenUp | ReserveSeen::Nothing) => {
                self.state = State::GivenUp;
                self.make_due_ms = soon_ms;
                self.give_up_from_ms = soon_ms;
                self.gives_up = false;
            }
            None => {
                // nobody knows whether it is there: that is no reason to journal nothing
                self.state = State::Unknown;
                self.gives_up = false;
                self.give_up_from_ms = soon_ms;
                self.make_due_ms = now_ms + u64::from(RESIGN_WAIT_MS_MAX);
            }
        }
    }
}

const NO_ROOM: &str = "share: no room for the reserve file (free space or raise the quota)";

impl Engine {
    /// Gives the reserve up: a claim, a slot or a proof failed for want of space.
    pub(super) fn order_give_up(&mut self, now: Now, out: &mut Out<'_>) {
        self.order_reserve(now, ReserveOrder::GiveUp, out);
    }

    /// Makes the reserve if it is due; whether that was ordered.
    pub(super) fn order_make(&mut self, now: Now, out: &mut Out<'_>) -> bool {
        let fenced = self.mandate.as_ref().is_some_and(|own| own.may_forward(now.ms));
        let due = fenced && now.ms >= self.reserve.make_due_ms();
        if due {
            self.order_reserve(now, ReserveOrder::Make, out);
        }
        due
    }

    /// When a master will have the reserve made; `u64::MAX`: not by time alone.
    pub(super) fn reserve_due_ms(&self, now_ms: u64) -> u64 {
        let fenced = self.mandate.as_ref().is_some_and(|own| own.may_forward(now_ms));
        if fenced { self.reserve.make_due_ms() } else { u64::MAX }
    }

    fn order_reserve(&mut self, now: Now, order: ReserveOrder, out: &mut Out<'_>) {
        self.ask(now, Asked::Reserve(order), ShareOrder::Reserve(order), out);
    }

    pub(super) fn reserve_answered(&mut self, now: Now, seen: ReserveSeen, out: &mut Out<'_>) {
        self.reserve.take(now.ms, Some(seen));
        match seen {
            ReserveSeen::Made | ReserveSeen::GivenUp => out(Effect::Note(Note::Reserve(seen))),
            ReserveSeen::There | ReserveSeen::NoRoom | ReserveSeen::Nothing => {}
        }
        match seen {
            // what failed is tried again at once
            ReserveSeen::GivenUp => {
                self.tenure.proof_not_before_ms = now.ms;
                self.poll_due_ms = now.ms;
            }
            // each try burns a number
            ReserveSeen::Nothing if self.stage == Stage::Standby => {
                self.poll_due_ms = now.ms + u64::from(RESIGN_WAIT_MS_MIN);
            }
            ReserveSeen::Made | ReserveSeen::There | ReserveSeen::NoRoom | ReserveSeen::Nothing => {
            }
        }
    }

    pub(super) fn reserve_failed(&mut self, now: Now, order: ReserveOrder, error: &ShareError) {
        let no_room = order == ReserveOrder::Make && error.fault == ShareFault::NoSpace;
        self.reserve.take(now.ms, no_room.then_some(ReserveSeen::NoRoom));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ident::Lane;

    const APPEND: Asked = Asked::Append { lane: Lane::Readings };
    const CLAIM: Asked = Asked::Claim { term: 7 };

    fn no_space(text: &str) -> ShareError {
        let text = heapless::String::try_from(text).expect("short");
        ShareError { fault: ShareFault::NoSpace, errno: 28, text }
    }

    #[test]
    fn each_answer_has_its_next_state() {
        use State::{GivenUp, Kept, NoRoom, Unknown};
        let rows = [
            (Some(ReserveSeen::Made), [Kept; 4]),
            (Some(ReserveSeen::There), [Kept; 4]),
            (Some(ReserveSeen::NoRoom), [NoRoom; 4]),
            (Some(ReserveSeen::GivenUp), [GivenUp; 4]),
            (Some(ReserveSeen::Nothing), [GivenUp; 4]),
            (None, [Unknown; 4]),
        ];
        for (seen, next) in rows {
            for (state, next) in [Unknown, Kept, NoRoom, GivenUp].into_iter().zip(next) {
                let mut reserve = Reserve { state, ..Reserve::default() };
                reserve.take(1_000, seen);
                assert_eq!(reserve.state, next, "{seen:?} in {state:?}");
                assert_eq!(reserve.is_awaited(), matches!(next, NoRoom | GivenUp), "V1");
            }
        }
    }

    #[test]
    fn only_what_is_vital_gives_it_up_and_not_at_every_try() {
        let mut reserve = Reserve { state: State::Kept, ..Reserve::default() };
        reserve.failed(0, APPEND, &no_space("an append"));
        assert!(!reserve.gives_up, "V2");
        assert_eq!(reserve.fault().map(heapless::String::as_str), Some("an append"));
        reserve.failed(10, CLAIM, &no_space("a claim"));
        assert!(reserve.gives_up);
        reserve.take(20, Some(ReserveSeen::GivenUp));
        reserve.failed(30, CLAIM, &no_space("a claim"));
        assert!(!reserve.gives_up, "V3");
        reserve.failed(20 + u64::from(RESERVE_WAIT_MS), CLAIM, &no_space("a claim"));
        assert!(reserve.gives_up);
    }

    #[test]
    fn the_fault_ends_once_there_is_room_again() {
        let mut reserve = Reserve { state: State::Kept, ..Reserve::default() };
        reserve.failed(0, APPEND, &no_space("an append"));
        reserve.wrote();
        assert_eq!(reserve.fault(), None);
        reserve.take(0, Some(ReserveSeen::NoRoom));
        reserve.wrote();
        assert!(reserve.fault().is_some(), "something else was written, and there is no reserve");
        assert_eq!(reserve.make_due_ms(), u64::from(RESERVE_WAIT_MS));
        reserve.take(9_000, Some(ReserveSeen::Made));
        assert_eq!((reserve.fault(), reserve.make_due_ms()), (None, u64::MAX));
    }
}
