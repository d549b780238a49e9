//! A data directory of this thread, with the keeper's own code on it.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use edge_agent::edge::channel::Port;
use edge_agent::edge::cloud::pair::{BatchHead, Hello};
use edge_agent::edge::keeper::Place;
use edge_agent::edge::share::Share;
use edge_agent::engine::ident::{NodeName, SiteId};
use edge_agent::engine::share::{Fetch, Fetched, ShareOrder, ShareOutcome};
use edge_agent::sys::socket;

/// A data directory; it goes when this is dropped.
pub struct Folder {
    path: PathBuf,
    site: SiteId,
}

impl Folder {
    /// In memory, where there is such a thing and `TMPDIR` names no other place.
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let memory = Path::new("/dev/shm");
        let is_told = env::var_os("TMPDIR").is_some();
        let parent = if memory.is_dir() && !is_told { memory.to_owned() } else { env::temp_dir() };
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = parent.join(format!("edge-agent-fuzz-{}-{number}", std::process::id()));
        // one that a process of this number left behind
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).expect("a folder for the target");
        let mut folder = Self { path, site: SiteId::default() };
        let mut share = Share::new(folder.place());
        let ShareOutcome::Opened { site, .. } = share.perform(ShareOrder::Open, &[], None) else {
            panic!("no data directory could be made in {}", folder.path.display());
        };
        folder.site = site;
        folder
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn site(&self) -> SiteId {
        self.site
    }

    /// A keeper that knows nothing yet.
    pub fn keeper(&self) -> Keeper {
        let mut share = Share::new(self.place());
        let opened = share.perform(ShareOrder::Open, &[], None);
        assert!(matches!(opened, ShareOutcome::Opened { .. }), "{opened:?}");
        let (ours, theirs) = socket::pair().expect("a pair");
        share.perform(ShareOrder::Attach, &[], Some(theirs));
        let mut uplink = Port::new(ours);
        uplink.receive::<Hello>().expect("a greeting");
        Keeper { share, uplink }
    }

    fn place(&self) -> Place {
        Place {
            data_dir: self.path.clone(),
            config: None,
            expected_site: None,
            may_create: true,
            alone: false,
            require_network: false,
            node: NodeName::parse("gw-1").expect("a name"),
            run_dir: self.path.clone(),
        }
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.path);
    }
}

/// A keeper, and the uplink's end of what it passes on.
pub struct Keeper {
    share: Share,
    uplink: Port,
}

impl Keeper {
    pub fn order(&mut self, order: ShareOrder) -> ShareOutcome {
        self.share.perform(order, &[], None)
    }

    /// A batch: what is said of it, and its records.
    pub fn fetch(&mut self, order: Fetch) -> (Fetched, Vec<u8>) {
        let outcome = self.order(ShareOrder::Fetch(order));
        let ShareOutcome::Fetched(seen) = outcome else {
            panic!("{order:?}: {outcome:?}");
        };
        if seen.count == 0 {
            return (seen, Vec::new());
        }
        let head: BatchHead = self.uplink.receive().expect("a batch");
        assert_eq!(head.request, order.request);
        (seen, self.uplink.body().to_vec())
    }
}
