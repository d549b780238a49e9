//! The agent's side of the collector: asks for what is due, takes what comes, ends what hangs.
//!
//! 1. At most [`COLLECTORS_ABANDONED_MAX`] collectors are killed and not yet reaped; with so
//!    many, none is started. Nothing here waits for one.
//! 2. Values go through the hold, and from there into the journal while the wall clock is set.
//!
//! [`COLLECTORS_ABANDONED_MAX`]: crate::limits::COLLECTORS_ABANDONED_MAX

use super::super::collector::{CollectorAnswer, CollectorOrder};
use super::Agent;
use crate::engine::Event;
use crate::engine::ident::Lane;
use crate::limits::GROUP_BYTES_MAX;
use crate::sys::clock::boottime_ms;
use crate::sys::process::{Exit, Pid};
use crate::sys::signals::Signal;

impl Agent {
    /// When [`Agent::read_sources`] will have something to do; `u64::MAX`: not by itself.
    pub(super) fn sources_due_ms(&self) -> u64 {
        match (self.hands.collecting, &self.hands.collector) {
            (None, _) => u64::MAX,
            (Some(_), Some(_)) => self.sources.deadline_ms(),
            (Some(_), None) if self.hands.abandoned.is_full() => u64::MAX,
            (Some(_), None) => self.sources.restart_ms(),
        }
    }

    pub(super) fn take_collector(&mut self) {
        while let Some(link) = self.hands.collector.as_mut().and_then(|child| child.link.as_mut()) {
            let answer = link.flush().and_then(|()| link.receive::<CollectorAnswer>());
            match answer {
                Ok(None) => break,
                Ok(Some(answer)) => {
                    let (now_ms, wall_ms) = (boottime_ms(), self.wall.now_ms());
                    self.sources.take(&answer, now_ms, wall_ms, &mut self.hold);
                }
                Err(_) => self.lose_collector(),
            }
        }
        self.release_held();
    }

    /// What was held goes into the journal, as far as there is room.
    fn release_held(&mut self) {
        if self.hands.collecting.is_none() {
            let count = self.hold.clear();
            if count > 0 {
                log::warn!("sources: {count} values that waited are dropped: the term has ended");
            }
            return;
        }
        let Some(wall_ms) = self.wall.valid_ms() else { return };
        let mut is_any = false;
        while !self.hold.is_empty() && self.engine.has_room() {
            self.lines.clear();
            let (now_ms, most) = (boottime_ms(), GROUP_BYTES_MAX / 2);
            let taken = self.hold.peek(now_ms, wall_ms, most, &mut self.lines);
            if self.hands.gather(Lane::Readings, &self.lines).is_err() {
                break;
            }
            self.hold.forget(taken);
            is_any = true;
        }
        if is_any {
            self.event(Event::Tick);
        }
    }

    /// Has the sources read that are due, one after another.
    pub(super) fn read_sources(&mut self) {
        if self.hands.collecting.is_none() {
            return;
        }
        let now_ms = boottime_ms();
        if self.sources.is_stuck(now_ms)
            && let Some(pid) = self.hands.stop_collector()
        {
            self.sources.abandoned(pid, now_ms);
        }
        if self.hands.collector.is_none() {
            self.start_collector(now_ms);
        }
        let Some(link) = self.hands.collector.as_mut().and_then(|child| child.link.as_mut()) else {
            return;
        };
        if let Some(source) = self.sources.next_due(now_ms, self.wall.now_ms())
            && link.send(&CollectorOrder::Read { source }, &[], None).is_err()
        {
            self.lose_collector();
        }
    }

    fn start_collector(&mut self, now_ms: u64) {
        if self.hands.abandoned.is_full() || now_ms < self.sources.restart_ms() {
            return;
        }
        if self.hands.start_collector() {
            self.sources.started();
        } else {
            self.sources.restart_at(now_ms);
        }
    }

    /// The collector's channel is broken: it is of no more use.
    fn lose_collector(&mut self) {
        log::warn!("collector: channel lost; starting another");
        self.hands.stop_collector();
        self.sources.restart_at(boottime_ms());
    }

    /// A child ended that may be a collector.
    pub(super) fn reap_collector(&mut self, pid: Pid, exit: Exit) {
        if self.hands.collector.as_ref().is_some_and(|child| child.pid == pid) {
            log::warn!("collector: gone ({exit}); starting another");
            self.hands.collector = None;
            self.sources.restart_at(boottime_ms());
        } else if self.hands.forget_abandoned(pid) {
            let killed = exit == Exit::Signal(Signal::Kill.number());
            let level = if killed { log::Level::Debug } else { log::Level::Warn };
            log::log!(target: "edge_agent", level, "collector: gone ({exit})");
            self.sources.reaped(pid);
        }
    }
}
