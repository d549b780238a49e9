//! Every operation on the share: orders of the engine in, outcomes out.
//!
//! [`Share`] is the keeper's state: the open data directory, the share lock, the open ends
//! of our own segments, the socket of the uplink. It decides nothing; each module beside
//! this one performs one kind of order and states what it holds itself to.
//!
//! # Invariants
//!
//! - K1: an order is done in full or answered by a failure; nothing is tried twice.
//! - K2: whatever another node may have written is read through a fresh open.
//! - K3: memory is bounded by a batch, a window and a file of the declined store, whatever the
//!   share holds.

#![allow(clippy::result_large_err, reason = "one failure exists at a time, and no heap is used")]

pub mod changes;
mod claims;
mod declined;
mod directory;
mod fault;
mod fetch;
mod file;
mod judge;
mod load;
mod lock;
pub mod mount;
mod nodes;
mod peer;
mod probe;
mod proof;
mod reader;
mod reserve;
mod segments;
mod terms;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod verify;
mod ways;

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

pub use declined::{Entries, Entry};
use directory::{Making, Root, Wanted};
use fetch::Fetcher;
pub use load::read_config;
use lock::ShareLock;
pub use nodes::{HostMark, NodePage};
pub use peer::{Told, prove};
pub use probe::{Level, Probe, Probed, probe};
use segments::Writer;
use terms::{LastWrite, Wrote};
pub use verify::{Finding, SegmentReport, verify};

use crate::edge::channel::{Link, Port};
use crate::edge::cloud::pair::{BatchHead, Hello};
use crate::edge::keeper::Place;
use crate::engine::ident::{NodeName, Role, ShareClass, SiteId, Term};
use crate::engine::share::{
    Decline, Declined, Fetch, Fetched, LockSeen, LockWish, MountJudgement, NodesOrder, NodesSeen,
    Poll, Polled, ShareError, ShareFault, ShareOrder, ShareOutcome,
};
use crate::engine::slot::{COPY_BYTES, Slot};
use crate::engine::store::{StoreOrder, StoreOutcome};
use crate::limits::{MOUNT_REMARKS_MAX, TERMS_SHOWN_MAX};
use crate::sys::space;

/// The share, as one keeper holds it.
pub struct Share {
    place: Place,
    host: HostMark,
    root: Option<Root>,
    lock: ShareLock,
    writers: [Option<Writer>; 2],
    fetcher: Fetcher,
    declined: declined::Store,
    known: nodes::Known,
    last: LastWrite,
    uplink: Option<Link>,
    files: Vec<u8>,
}

impl Share {
    /// Nothing is open yet; nothing is touched.
    pub fn new(place: Place) -> Self {
        let host = HostMark::of_this_host(&place.data_dir, &place.run_dir);
        Self {
            place,
            host,
            root: None,
            lock: ShareLock::default(),
            writers: [None, None],
            fetcher: Fetcher::default(),
            declined: declined::Store::default(),
            known: nodes::Known::new(),
            last: LastWrite::default(),
            uplink: None,
            files: Vec::new(),
        }
    }

    /// Performs an order. `body` and `fd` came with it: the groups of `Append`, the socket of
    /// `Attach`. What goes back with the outcome is [`Self::body`].
    pub fn perform(&mut self, order: ShareOrder, body: &[u8], fd: Option<OwnedFd>) -> ShareOutcome {
        self.files = Vec::new();
        self.act(order, body, fd).unwrap_or_else(ShareOutcome::Failed)
    }

    /// What goes back as the body of the outcome last given: the files of `Load` and `Reread`, the
    /// newest terms' slots of `Open`.
    pub fn body(&self) -> &[u8] {
        &self.files
    }

    /// The uplink's socket, while bytes of a batch wait for it to take them.
    pub fn wants_write(&self) -> Option<BorrowedFd<'_>> {
        self.uplink.as_ref().filter(|uplink| uplink.wants_write()).map(AsFd::as_fd)
    }

    /// Passes on what the uplink takes without waiting. One that is gone is forgotten.
    pub fn flush(&mut self) {
        if self.uplink.as_mut().is_some_and(|uplink| uplink.flush().is_err()) {
            self.uplink = None;
        }
    }

    fn act(
        &mut self,
        order: ShareOrder,
        body: &[u8],
        fd: Option<OwnedFd>,
    ) -> Result<ShareOutcome, ShareError> {
        let root = self.root.clone().ok_or_else(not_open);
        match order {
            ShareOrder::Open => self.open(),
            ShareOrder::Load => {
                self.files = load::load(&self.place, root.as_ref().ok())?.to_bytes();
                Ok(ShareOutcome::Loaded)
            }
            ShareOrder::Reread => {
                self.files = load::load(&self.place, root.as_ref().ok())?.to_bytes();
                Ok(ShareOutcome::Reread)
            }
            ShareOrder::Poll(poll) => self.poll(&root?, poll).map(ShareOutcome::Polled),
            ShareOrder::Claim { term } => claims::create(&root?, term, &self.place.node)
                .map(|created| ShareOutcome::Claimed { created }),
            ShareOrder::Announce(slot) => self.announce(&root?, &slot),
            ShareOrder::Prove(proof) => {
                proof::prove(&root?, &mut self.lock, &mut self.last, &proof)
                    .map(ShareOutcome::Proven)
            }
            ShareOrder::Append(append) => {
                let writer = &mut self.writers[append.lane.index()];
                segments::append(&root?, writer, append, body).map(|()| ShareOutcome::Done)
            }
            ShareOrder::Fetch(fetch) => self.fetch(&root?, fetch).map(ShareOutcome::Fetched),
            ShareOrder::Decline(order) => self.decline(&root?, &order).map(ShareOutcome::Declined),
            ShareOrder::Store(order) => self.store(&root?, &order).map(ShareOutcome::Store),
            ShareOrder::Survey => terms::survey(&root?).map(ShareOutcome::Surveyed),
            ShareOrder::Attach => self.attach(fd),
            ShareOrder::Nodes(order) => self.nodes(&root?, &order).map(ShareOutcome::Nodes),
            ShareOrder::Forget { node } => {
                nodes::forget(&root?, &node).map(|()| ShareOutcome::Done)
            }
            ShareOrder::Newest { lane, term } => {
                segments::newest(&root?, lane, term).map(|segment| ShareOutcome::Newest { segment })
            }
            ShareOrder::Sweep { lane, before } => segments::sweep(&root?, lane, before)
                .map(|journal_bytes| ShareOutcome::Swept { journal_bytes }),
            ShareOrder::Tidy { keep_from } => {
                claims::tidy(&root?, keep_from).map(|()| ShareOutcome::Done)
            }
            ShareOrder::Reserve(order) => {
                reserve::perform(&root?, order).map(ShareOutcome::Reserve)
            }
            ShareOrder::Release(slot) => self.release(slot),
        }
    }

    /// Gives everything up, then opens the data directory.
    fn open(&mut self) -> Result<ShareOutcome, ShareError> {
        self.end_term();
        self.root = None;
        self.known.clear();
        let place = &self.place;
        let making = match (place.may_create, place.alone) {
            (false, _) => Making::Never,
            (true, false) => Making::Here,
            (true, true) => Making::Parents,
        };
        let (root, class) = directory::open(Wanted {
            path: &place.data_dir,
            making,
            expected: place.expected_site,
            network: place.require_network,
        })?;
        let site = root.site;
        // From now on this site and no other: an empty mount point must not become a second.
        self.place.expected_site = Some(site);
        self.place.may_create = false;
        self.root = Some(root);
        let free_bytes = self.free_bytes();
        let mut mount = self.judge_mount();
        if let Some(why) = self.root.as_ref().and_then(lock::gives_none_because) {
            mount.unsafe_because.get_or_insert(fault::cut(&why));
        }
        self.files = self.root.as_ref().map(recent_slots).unwrap_or_default();
        Ok(ShareOutcome::Opened { site, class, free_bytes, mount })
    }

    /// What the mount's options say; nothing, if /proc does not tell.
    fn judge_mount(&self) -> MountJudgement {
        let Ok(mount) = mount::of_path(&self.place.data_dir) else {
            return MountJudgement::default();
        };
        let remarks = judge::remarks(&mount, judge::Facts::of(&mount));
        MountJudgement {
            unsafe_because: judge::unsafe_because(&mount).map(|text| fault::cut(&text)),
            remarks: remarks.iter().take(MOUNT_REMARKS_MAX).map(|text| fault::cut(text)).collect(),
        }
    }

    /// What is free on the share, in bytes. Where nobody tells, nothing is bounded by it.
    fn free_bytes(&self) -> u64 {
        let folder = std::fs::File::open(&self.place.data_dir);
        let told = folder.and_then(|folder| space::free_bytes(folder.as_fd()));
        told.ok().filter(|free| *free > 0).unwrap_or(u64::MAX)
    }

    fn end_term(&mut self) {
        self.lock.leave();
        self.writers = [None, None];
        self.fetcher.shrink();
        self.declined = declined::Store::default();
        self.last = LastWrite::default();
    }

    /// First the lock, then the slots: what is read under the lock is what counts.
    fn poll(&mut self, root: &Root, poll: Poll) -> Result<Polled, ShareError> {
        let lock = match poll.lock {
            LockWish::Leave => {
                self.lock.leave();
                LockSeen::Left
            }
            LockWish::Try => self.lock.try_for(root)?,
        };
        let (newest, taken) = terms::poll(root, poll.all, poll.newest)?;
        Ok(Polled { lock, newest, taken })
    }

    fn announce(&mut self, root: &Root, slot: &Slot) -> Result<ShareOutcome, ShareError> {
        match terms::write(root, slot, &mut self.last)? {
            // what stands there instead, the survey shows
            Wrote::Slot | Wrote::Superseded(_) => {}
            Wrote::Replaced => return Err(replaced()),
        }
        terms::survey(root).map(ShareOutcome::Surveyed)
    }

    /// Reads a batch and hands it to the uplink; if that is gone, the agent learns it anyway.
    fn fetch(&mut self, root: &Root, order: Fetch) -> Result<Fetched, ShareError> {
        let fetched = self.fetcher.fetch(root, order)?;
        if fetched.count > 0 {
            pass_on(&mut self.uplink, order.request, self.fetcher.batch());
        }
        Ok(fetched)
    }

    fn decline(&mut self, root: &Root, order: &Decline) -> Result<Declined, ShareError> {
        let term = self.own_term()?;
        self.declined.decline(root, term, order)
    }

    /// The batch of a replay goes the way of any other.
    fn store(&mut self, root: &Root, order: &StoreOrder) -> Result<StoreOutcome, ShareError> {
        let term = self.own_term()?;
        let mut batch = Vec::new();
        let outcome = self.declined.perform(root, term, order, &mut batch)?;
        if let StoreOutcome::Replayed(seen) = &outcome
            && seen.count > 0
        {
            pass_on(&mut self.uplink, seen.request, &batch);
        }
        Ok(outcome)
    }

    /// Only who wrote a slot has a term, and with it files of the declined store of its own.
    fn own_term(&self) -> Result<Term, ShareError> {
        self.last.done.map(|(term, _)| term).ok_or_else(|| {
            let text = format_args!("share: cannot write declined/: no slot of ours was written");
            fault::said(ShareFault::Other, 0, text)
        })
    }

    fn nodes(&mut self, root: &Root, order: &NodesOrder) -> Result<NodesSeen, ShareError> {
        nodes::perform(root, &self.place.node, &self.host, order, &mut self.known)
    }

    /// Takes the uplink's socket, and greets it with a copy of the lock's descriptor if held.
    ///
    /// No copy is made in this process, not even to wait in a queue: see `lock`, L4.
    fn attach(&mut self, fd: Option<OwnedFd>) -> Result<ShareOutcome, ShareError> {
        self.uplink = None;
        let unusable = |error: &io::Error| {
            let errno = error.raw_os_error().unwrap_or(0);
            let text = format_args!("keeper: cannot take the uplink's socket: {error}");
            fault::said(ShareFault::Other, errno, text)
        };
        let socket = fd.ok_or_else(|| unusable(&io::ErrorKind::NotConnected.into()))?;
        let lock = self.lock.descriptor();
        let hello = Hello { locked: lock.is_some() };
        // the pair is new: there is room for a greeting
        let mut greeter = Port::new(socket);
        if greeter.send_with_fd(&hello, &[], lock).is_ok() {
            let uplink = Link::new(greeter.into_socket()).map_err(|error| unusable(&error))?;
            self.uplink = Some(uplink);
        }
        Ok(ShareOutcome::Done)
    }

    /// Writes the slot of an ended term, then gives the lock up whatever came of it.
    fn release(&mut self, slot: Option<Slot>) -> Result<ShareOutcome, ShareError> {
        let written = match (slot, &self.root) {
            (Some(slot), Some(root)) => terms::write(root, &slot, &mut self.last),
            (Some(_), None) => Err(not_open()),
            (None, _) => Ok(Wrote::Slot),
        };
        self.end_term();
        match written? {
            // a newer term's page stays as it is: ours is over all the same
            Wrote::Slot | Wrote::Superseded(_) => Ok(ShareOutcome::Done),
            Wrote::Replaced => Err(replaced()),
        }
    }
}

fn pass_on(uplink: &mut Option<Link>, request: u32, batch: &[u8]) {
    if let Some(link) = uplink
        && link.send(&BatchHead { request }, batch, None).is_err()
    {
        *uplink = None;
    }
}

/// For people: where they cannot be read now, whoever needs them will say so.
fn recent_slots(root: &Root) -> Vec<u8> {
    let slots = terms::open(root).and_then(|file| terms::recent(&file, &root.terms()));
    let mut bytes = vec![0; TERMS_SHOWN_MAX * COPY_BYTES];
    let written = slots.ok().and_then(|slots| postcard::to_slice(&slots, &mut bytes).ok());
    let length = written.map_or(0, |written| written.len());
    bytes.truncate(length);
    bytes
}

fn not_open() -> ShareError {
    fault::missing(format_args!("share: no data directory is open"))
}

fn replaced() -> ShareError {
    fault::missing(format_args!("share: edge.terms is another file than before"))
}

/// `edge-agent init`: makes a data directory, with the directories above it, and gives its
/// site id. One that is there is left as it is; `new_id` gives one without any term, such as
/// the copy of a fresh one, a site id of its own. With `network` a file system of this host alone
/// will not do.
///
/// # Errors
///
/// It cannot be made there, or holds something else; the text says what.
pub fn init(path: &Path, new_id: bool, network: bool) -> Result<SiteId, ShareError> {
    let wanted = Wanted { path, making: Making::Parents, expected: None, network };
    let there = directory::find(path).is_ok();
    let (mut root, _) = directory::open(wanted)?;
    if new_id && there {
        directory::renew(&mut root)?;
    }
    Ok(root.site)
}

/// What a data directory says, read only: for commands while no agent runs here.
#[derive(Debug)]
pub struct Looked {
    /// Its site.
    pub site: SiteId,
    /// Its class.
    pub class: ShareClass,
    /// The newest slot.
    pub newest: Option<Slot>,
    /// Every node's page.
    pub nodes: Vec<NodePage>,
}

/// Looks at a data directory and changes nothing.
///
/// # Errors
///
/// There is none, or it cannot be read; the text says why.
pub fn look(path: &Path) -> Result<Looked, ShareError> {
    let (root, class) = directory::find(path)?;
    let newest = terms::survey(&root)?.newest;
    let mut pages = Vec::new();
    for node in &nodes::list(&root, None, &[])?.names {
        // one that cannot be read hides no other
        pages.extend(nodes::read(&root, node).ok().flatten());
    }
    Ok(Looked { site: root.site, class, newest, nodes: pages })
}

/// What became of a wish to forget a node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forgotten {
    /// It had no page.
    Unknown,
    /// Its page changed while we looked, so it lives: the page stays.
    Live,
    /// Its page is deleted.
    Gone,
}

/// `nodes forget`: deletes a node's page, unless that changes within `watch` or is that of a
/// node that stopped.
///
/// # Errors
///
/// There is no data directory, or the page cannot be read or deleted.
pub fn forget(path: &Path, node: &NodeName, watch: Duration) -> Result<Forgotten, ShareError> {
    let (root, _) = directory::find(path)?;
    let page = root.nodes().join(node.as_str());
    if !page.exists() {
        return Ok(Forgotten::Unknown);
    }
    let before = nodes::read(&root, node)?;
    let stopped = before.as_ref().is_some_and(|page| page.record.role == Role::Stopped);
    if !stopped {
        std::thread::sleep(watch);
        if nodes::read(&root, node)? != before {
            return Ok(Forgotten::Live);
        }
    }
    file::delete(&page)?;
    Ok(Forgotten::Gone)
}

/// The declined store's entries, the oldest first, without those that are forgotten.
///
/// # Errors
///
/// There is no data directory, or the store cannot be listed. What cannot be read later on,
/// the iterator says and passes.
pub fn declined(path: &Path) -> Result<Entries, ShareError> {
    declined::read(&directory::find(path)?.0)
}
