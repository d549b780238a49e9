//! The agent's side of a node's own distress: a process for each call, that holds nothing of
//! the share, carries no term, and ends itself at its deadline.
//!
//! 1. At most one caller is known, until it is reaped; the engine asks for no other before.
//! 2. It may start beside an uplink that is dying: it has no copy of the lock, no socket of the
//!    keeper, and none of the lease.

use super::super::alerts::{self, Sender};
use super::super::children::{self, Child};
use super::super::uplink::{self, UplinkAnswer};
use super::Agent;
use super::hands::{Hands, Soon};
use crate::engine::Event;
use crate::engine::cloud::{CloudOrder, CloudRequest};
use crate::engine::distress::Call;
use crate::sys::clock::boottime_ms;
use crate::sys::lease::Lease;

impl Hands {
    /// Starts a caller with its call.
    pub(super) fn call(&mut self, call: &Call) {
        match self.fork_caller(call) {
            Ok(child) => self.caller = Some(child.into()),
            Err(error) => {
                log::error!("distress: cannot start a process: {error}");
                self.later(Soon::CallerGone);
            }
        }
    }

    fn fork_caller(&self, call: &Call) -> std::io::Result<Child> {
        let none = || std::io::Error::from(std::io::ErrorKind::InvalidInput);
        let (config, setup) = self.config.as_ref().zip(self.setup.as_ref()).ok_or_else(none)?;
        let thing_key = config.alerts.thing_key.as_ref().ok_or_else(none)?;
        let site = config.site.as_str();
        let sender = Sender { thing_key, site, node: &self.node, term: call.term };
        let mut line = Vec::new();
        alerts::write_call(call, sender, &mut line);
        let mut child = children::spawn("edge-distress", &[], |port| {
            // The lease's own timer, set to the deadline: it ends a process that was frozen, too.
            let lease = Lease::new(boottime_ms()).and_then(|lease| {
                lease.set(call.deadline_ms);
                lease.guard().map(|()| lease)
            });
            match lease {
                Ok(lease) => uplink::run(port, None, &lease, setup),
                Err(error) => log::error!("distress: cannot set a timer: {error}"),
            }
        })?;
        let order = CloudOrder { request: 0, term: 0, what: CloudRequest::Alert };
        // one that took no order ends with its channel
        child.link.send(&order, &line, None).map(|()| child)
    }

    /// Kills the caller; its end is an event once it is reaped.
    pub(super) fn end_call(&mut self) {
        if self.caller.is_some() {
            Self::cut(self.caller.as_mut());
        } else {
            self.later(Soon::CallerGone);
        }
    }
}

impl Agent {
    /// Takes the caller's answer: after it, the caller ends with its channel.
    pub(super) fn take_caller(&mut self) {
        while let Some(link) = self.hands.caller.as_mut().and_then(|caller| caller.link.as_mut()) {
            let answer = link.flush().and_then(|()| link.receive::<UplinkAnswer>());
            match answer {
                Ok(None) => return,
                Ok(Some(UplinkAnswer::Ready { .. })) => {}
                Ok(Some(UplinkAnswer::Outcome(outcome))) => {
                    if let Some(caller) = &mut self.hands.caller {
                        caller.link = None;
                    }
                    self.event(Event::Call(&outcome));
                }
                Err(_) => Hands::cut(self.hands.caller.as_mut()),
            }
        }
    }
}
