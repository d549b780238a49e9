//! The keeper: the one process that touches the share, an order at a time.
//!
//! 1. It does what it is ordered to, answers, and waits for the next order. It reads no
//!    clock and decides nothing.
//! 2. It holds the share lock, and gives the uplink a copy of the lock's descriptor and the
//!    bytes of each batch over a socket of their own.
//! 3. It never waits for the uplink: what that does not take at once, it is given while the
//!    keeper waits for orders.
//! 4. It ends when the agent's channel does, and the lock with it.

use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::channel::Port;
use super::share::Share;
use crate::engine::ident::{NodeName, SiteId};
use crate::engine::share::{ShareOrder, ShareOutcome};
use crate::sys::poll::{PollFd, poll};

/// Where the data directory is, and what is required of it.
#[derive(Clone, Debug)]
pub struct Place {
    /// The data directory; a symbolic link is resolved at each opening.
    pub data_dir: PathBuf,
    /// The configuration, if it is not the data directory's `edge.json`.
    pub config: Option<PathBuf>,
    /// The only site that will do; then no data directory is made.
    pub expected_site: Option<SiteId>,
    /// Whether a data directory may be made in an empty directory.
    pub may_create: bool,
    /// No share was named: directories above it are made too.
    pub alone: bool,
    /// Whether a file system of this host alone will not do.
    pub require_network: bool,
    /// This node.
    pub node: NodeName,
    /// Its run directory, which tells it from others on its host.
    pub run_dir: PathBuf,
}

impl Place {
    /// The configuration's file.
    pub fn config_path(&self) -> PathBuf {
        self.config.clone().unwrap_or_else(|| self.data_dir.join("edge.json"))
    }

    /// The folder of the configuration: relative paths in it start there.
    pub fn folder(&self) -> &Path {
        let beside = self.config.as_deref().and_then(Path::parent);
        beside.unwrap_or(&self.data_dir)
    }
}

/// The head of a frame from the agent. The groups of `Append` are its body; the socket of
/// `Attach` comes with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeeperOrder {
    /// Its number; the answer carries the same.
    pub number: u32,
    /// What to do.
    pub order: ShareOrder,
}

/// The head of a frame to the agent. The files of `Loaded` are its body, or of `Opened` the newest
/// terms' slots, which the engine does not hear of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct KeeperAnswer {
    /// The order's number.
    pub number: u32,
    /// What became of it.
    pub outcome: ShareOutcome,
}

/// Does what the agent orders until its channel ends.
pub fn run(mut port: Port, place: Place) {
    let mut share = Share::new(place);
    while wait(&port, &mut share) {
        let Ok(KeeperOrder { number, order }) = port.receive() else {
            return;
        };
        let fd = port.take_fd();
        let outcome = share.perform(order, port.body(), fd);
        if port.send(&KeeperAnswer { number, outcome }, share.body()).is_err() {
            return;
        }
    }
}

/// Waits for an order, and meanwhile hands the uplink what it takes.
fn wait(port: &Port, share: &mut Share) -> bool {
    loop {
        let order = PollFd::new(port.as_fd(), true, false);
        let Some(uplink) = share.wants_write() else {
            return true;
        };
        let mut waited = [order, PollFd::new(uplink, false, true)];
        if poll(&mut waited, None).is_err() {
            return false;
        }
        if waited[1].is_writable() || waited[1].is_broken() {
            share.flush();
        }
        if waited[0].is_readable() || waited[0].is_broken() {
            return true;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::sys::socket::pair;

    #[test]
    fn orders_are_answered_in_turn_until_the_channel_ends() {
        let (ours, theirs) = pair().expect("a pair");
        let data_dir = std::env::temp_dir().join(format!("edge-keeper-{}", std::process::id()));
        let place = Place {
            data_dir: data_dir.clone(),
            config: None,
            expected_site: None,
            may_create: false,
            alone: false,
            require_network: false,
            node: NodeName::parse("gw-1").expect("valid"),
            run_dir: PathBuf::new(),
        };
        let keeper = thread::spawn(move || run(Port::new(theirs), place));
        let mut port = Port::new(ours);
        for number in 1..=3 {
            port.send(&KeeperOrder { number, order: ShareOrder::Open }, &[]).expect("sent");
            let answer: KeeperAnswer = port.receive().expect("answered");
            assert_eq!(answer.number, number);
            assert!(matches!(answer.outcome, ShareOutcome::Failed(_)), "{data_dir:?}");
        }
        drop(port);
        keeper.join().expect("ended");
    }
}
