//! What is done to a site, and how long its recovery may take.

use std::fs;
use std::path::PathBuf;

use crate::host::{Link, MOUNT};
use crate::mounts;
use crate::scene::{Bound, NODES, SERVER, Scene, event, pause};
use crate::server::{self, EXPORT, Share};
use crate::support::site::Part;

/// One thing that is done to a site.
pub(crate) struct Cell {
    /// Its name.
    pub(crate) name: &'static str,
    /// Whether it is tried on this share.
    pub(crate) on: fn(Share) -> bool,
    /// How long it may take until all goes on.
    pub(crate) limit: Limit,
    /// Does it.
    pub(crate) run: fn(&mut Scene),
}

/// All of them, in the order in which they are tried.
pub(crate) const ALL: [Cell; 24] = [
    Cell { name: "checked", on: judged, limit: Limit::None, run: mounts::checked },
    Cell { name: "certified", on: every, limit: Limit::None, run: mounts::certified },
    Cell { name: "first-start", on: every, limit: Limit::Lost, run: first_start },
    Cell { name: "clean-stop", on: every, limit: Limit::Handover, run: clean_stop },
    Cell { name: "switchover", on: every, limit: Limit::Handover, run: switchover },
    Cell { name: "power-off", on: every, limit: Limit::Handover, run: power_off },
    Cell { name: "killed", on: every, limit: Limit::Death, run: killed },
    Cell { name: "all-read", on: every, limit: Limit::Lost, run: all_read },
    Cell { name: "cut-for-good", on: every, limit: Limit::Cut, run: cut_for_good },
    Cell { name: "cut-and-healed", on: every, limit: Limit::Cut, run: cut_and_healed },
    Cell { name: "healed-early", on: every, limit: Limit::Lost, run: healed_early },
    Cell { name: "started-in-a-cut", on: every, limit: Limit::Cut, run: started_in_a_cut },
    Cell { name: "server-restarted", on: every, limit: Limit::Lost, run: server_restarted },
    Cell { name: "server-crashed", on: every, limit: Limit::Lost, run: server_crashed },
    Cell { name: "disk-full", on: every, limit: Limit::Lost, run: disk_full },
    Cell { name: "all-cut", on: every, limit: Limit::Lost, run: all_cut },
    Cell { name: "frozen", on: every, limit: Limit::Lost, run: frozen },
    Cell { name: "lock-replaced", on: every, limit: Limit::None, run: lock_replaced },
    Cell { name: "server-master", on: nfs4, limit: Limit::None, run: server_master },
    Cell { name: "server-killed", on: nfs4, limit: Limit::MixedDeath, run: server_killed },
    Cell { name: "client-killed", on: nfs4, limit: Limit::MixedDeath, run: client_killed },
    Cell { name: "late-share", on: every, limit: Limit::Lost, run: mounts::late_share },
    Cell { name: "guide-mount", on: smb, limit: Limit::None, run: mounts::guide_mount },
    Cell { name: "root-squash", on: nfs4, limit: Limit::None, run: mounts::root_squash },
];

const fn every(_: Share) -> bool {
    true
}

/// Whether `check`'s words on mount options are tried here.
fn judged(share: Share) -> bool {
    smb(share) || matches!(share, Share::Nfs { .. })
}

fn smb(share: Share) -> bool {
    share == Share::Smb { options: "" }
}

fn nfs4(share: Share) -> bool {
    matches!(share, Share::Nfs { .. }) && !share.is_nfs3()
}

/// What a cell's times are held to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Limit {
    /// Nothing is measured.
    None,
    /// A clean stop, a switchover.
    Handover,
    /// The master's host is gone, and its locks with it once its lease at the server has run out.
    Cut,
    /// The death of the master's process.
    Death,
    /// The same where the nodes see different file systems.
    MixedDeath,
    /// Everything else.
    Lost,
}

impl Limit {
    /// In s. Where the lock is doubted, three heartbeats of silence come first; where it is left
    /// alone, only silence counts.
    pub(crate) fn bound(self, share: Share) -> Option<Bound> {
        let (collects, request) = match self {
            Self::None => return None,
            Self::Handover => (2.0, 2.0),
            // the lock comes free after one to two leases, or silence decides
            Self::Cut => {
                let freed = share.lease_s().map_or(65, |lease_s| (2 * lease_s + 5).min(65));
                (f64::from(freed), f64::from(freed + 7))
            }
            Self::Death if nfs4(share) => (2.0, 9.0),
            Self::Death if share.is_unsafe() => (65.0, 72.0),
            Self::Death | Self::MixedDeath => (5.0, 12.0),
            Self::Lost => (65.0, 72.0),
        };
        Some(Bound { collects, request })
    }
}

/// Two nodes start at once on a new data directory: one master.
fn first_start(scene: &mut Scene) {
    scene.mount();
    scene.produce(&NODES);
    let begin = event();
    for node in NODES {
        scene.site.start(node);
    }
    let master = scene.wait_takeover(begin, 0);
    scene.settle(&NODES, &master);
    scene.check_one_master(&master);
}

fn clean_stop(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&NODES);
    let begin = event();
    let (status, took) = scene.site.stop(&master.node);
    scene.check(status.success(), &format!("the old master ended with {status} after {took:.1?}"));
    scene.wait_takeover(begin, master.term);
}

fn switchover(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&NODES);
    let begin = event();
    let asked = scene.site.run_at(&master.node, "switchover", &[]);
    scene.check(asked.status.success(), "the switchover was taken");
    let next = scene.wait_takeover(begin, master.term);
    scene.check_one_master(&next);
}

/// The gateway of the master is shut down as init systems do it: the service, its mounts, power.
fn power_off(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&NODES);
    let begin = event();
    let (status, took) = scene.site.stop(&master.node);
    let unmounted = scene.host(&master.node).try_run(&format!("umount {MOUNT}"));
    scene.cut(&master.node, &[Link::Storage, Link::Management]);
    scene.check(
        status.success() && unmounted.is_ok(),
        &format!("the old master ended with {status} after {took:.1?}, unmounted: {unmounted:?}"),
    );
    scene.wait_takeover(begin, master.term);
}

/// Somebody on the standby's host reads every file of the data directory, over and over: it takes
/// nothing from the master, and holds up nobody later.
fn all_read(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&NODES);
    let standby = if master.node == NODES[0] { NODES[1] } else { NODES[0] };
    for _ in 0..5 {
        let line = format!("find {MOUNT}/{} -type f -exec cat {{}} + >/dev/null", scene.folder);
        // a lock is mandatory on SMB: what is locked is not read
        let _ = scene.host(standby).try_run_as_service(&line);
        pause(3);
    }
    scene.check_one_master(&master);
    let term = scene.site.mastership(&master.node).map(|now| now.term);
    scene.check(term == Some(master.term), &format!("still of term {}: {term:?}", master.term));
    let begin = event();
    scene.site.kill(&master.node, Part::Agent);
    scene.wait_takeover(begin, master.term);
}

fn killed(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&NODES);
    if nfs4(scene.share) {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let kept = server::kept();
        let has = |wanted: &str| kept.iter().any(|(kind, _)| kind == wanted);
        let text = format!("Linux {}: the server keeps {kept:?}, no delegation", kernel.trim());
        scene.check(has("lock") && !has("deleg"), &text);
    }
    let begin = event();
    scene.site.kill(&master.node, Part::Agent);
    scene.wait_takeover(begin, master.term);
}

fn cut_for_good(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&NODES);
    let begin = event();
    scene.cut(&master.node, &[Link::Storage, Link::Management]);
    scene.wait_takeover(begin, master.term);
}

fn cut_and_healed(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&NODES);
    let begin = event();
    scene.cut(&master.node, &[Link::Storage]);
    let next = scene.wait_takeover(begin, master.term);
    heal_and_stand_by(scene, &master.node, &next);
}

/// The master's network is back past its lease, before anybody has taken over.
fn healed_early(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&NODES);
    scene.cut(&master.node, &[Link::Storage]);
    pause(7);
    let begin = event();
    scene.host(&master.node).heal(Link::Storage);
    scene.wait_recovery(&NODES, begin);
    let master = scene.site.wait_fenced(0);
    scene.check_one_master(&master);
}

/// The old master's network is back: it stands by and starts no request.
fn heal_and_stand_by(scene: &mut Scene, old: &str, next: &crate::support::site::Master) {
    let begun = scene.begun(old);
    scene.host(old).heal(Link::Storage);
    scene.check_one_master(next);
    scene.wait_flow();
    let more = scene.begun(old) - begun;
    scene.check(more == 0, &format!("the old master began {more} requests after its return"));
}

/// On SMB the lock never left the old master's host: the server grants it to the newcomer.
fn started_in_a_cut(scene: &mut Scene) {
    scene.mount();
    scene.site.start(NODES[0]);
    let master = scene.site.wait_fenced(0);
    scene.produce(&NODES);
    scene.settle(&NODES[..1], &master);
    let begin = event();
    scene.cut(&master.node, &[Link::Storage]);
    scene.site.start(NODES[1]);
    let next = scene.wait_takeover(begin, master.term);
    heal_and_stand_by(scene, &master.node, &next);
}

fn server_restarted(scene: &mut Scene) {
    server_away(scene, server::stop);
}

/// The server dies with data on its way, and comes back.
fn server_crashed(scene: &mut Scene) {
    server_away(scene, server::crash);
}

fn server_away(scene: &mut Scene, end: fn(Share)) {
    scene.mount();
    scene.start(&NODES);
    end(scene.share);
    pause(3);
    server::start(scene.share);
    scene.wait_recovery(&NODES, event());
    let master = scene.site.wait_fenced(0);
    scene.check_one_master(&master);
}

/// The server's disk is full: mastership stays, nothing that was acknowledged is lost, and all goes
/// on once there is room.
fn disk_full(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&NODES);
    let filling = server::fill();
    pause(30);
    let now = scene.site.masters();
    let same = now.len() == 1 && now[0].term == master.term;
    scene.check(same, &format!("on a full disk, still one master: {now:?}"));
    fs::remove_file(filling).expect("it was made");
    scene.wait_recovery(&NODES, event());
    let master = scene.site.wait_fenced(0);
    scene.check_one_master(&master);
}

/// Nobody has the share for two minutes: nothing is forwarded past the lease.
fn all_cut(scene: &mut Scene) {
    scene.mount();
    scene.start(&NODES);
    for node in NODES {
        scene.cut(node, &[Link::Storage]);
    }
    pause(20);
    let begun: usize = NODES.iter().map(|node| scene.begun(node)).sum();
    let stalled = NODES.iter().filter(|node| says(scene, node, "share-stalled")).count();
    scene.check(stalled == 2, &format!("{stalled} of 2 nodes say share-stalled"));
    pause(100);
    let more = NODES.iter().map(|node| scene.begun(node)).sum::<usize>() - begun;
    scene.check(more == 0, &format!("{more} requests began without the share"));
    for node in NODES {
        scene.host(node).heal(Link::Storage);
    }
    scene.wait_recovery(&NODES, event());
    let master = scene.site.wait_fenced(0);
    scene.check_one_master(&master);
}

fn says(scene: &Scene, node: &str, condition: &str) -> bool {
    let status = scene.site.status(node).unwrap_or_default();
    status["conditions"].to_string().contains(condition)
}

fn frozen(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&NODES);
    let frozen_ns = event();
    scene.site.freeze(&master.node);
    let begun = scene.begun(&master.node);
    let next = scene.wait_takeover(frozen_ns, master.term);
    scene.site.thaw(&master.node);
    scene.check_one_master(&next);
    scene.wait_flow();
    let more = scene.begun(&master.node) - begun;
    scene.check(more == 0, &format!("the resumed master began {more} requests"));
}

/// Somebody on the file server puts another file in the lock file's place.
fn lock_replaced(scene: &mut Scene) {
    scene.mount();
    scene.start(&NODES);
    let lock = PathBuf::from(EXPORT).join(&scene.folder).join("edge.lock");
    let other = lock.with_extension("other");
    fs::copy(&lock, &other).expect("the lock file can be copied");
    let owner = Some(server::USER);
    std::os::unix::fs::chown(&other, owner, owner).expect("we are root");
    fs::rename(&other, &lock).expect("the copy can take its place");
    // whether and when the master can see it is the file system's affair: there is no time to measure
    pause(40);
    scene.wait_flow();
    let master = scene.site.wait_fenced(0);
    scene.check_one_master(&master);
}

/// The file server is a gateway too, and master: the other node sees that it lives, for longer
/// than silence is waited for.
///
/// Not on SMB: Samba does not tell its clients of what is written beside it, so that they keep
/// reading old slots and are granted the lock. A file server that is a gateway has to mount its
/// own share there, as the others do.
fn server_master(scene: &mut Scene) {
    scene.mount();
    let master = scene.start(&[SERVER, NODES[0]]);
    let mut silent_ms = 0;
    for _ in 0..75 {
        pause(1);
        let status = scene.site.status(NODES[0]).unwrap_or_default();
        silent_ms = silent_ms.max(status["master"]["silent_ms"].as_u64().unwrap_or(0));
    }
    let masters = scene.site.masters();
    let same = masters.len() == 1 && masters[0].term == master.term;
    scene.check(same, &format!("still one master: {masters:?}"));
    scene.say("NOTE", &format!("the standby saw no heartbeat for {silent_ms} ms at worst"));
}

/// Its node sees another class than the other.
fn server_killed(scene: &mut Scene) {
    mixed(scene, &[SERVER, NODES[0]]);
}

fn client_killed(scene: &mut Scene) {
    mixed(scene, &[NODES[0], SERVER]);
}

fn mixed(scene: &mut Scene, nodes: &[&str; 2]) {
    scene.mount();
    let master = scene.start(nodes);
    let classes: Vec<_> = nodes.iter().map(|node| class(scene, node)).collect();
    scene.check(classes[0] != classes[1], &format!("they see {} and {}", classes[0], classes[1]));
    let begin = event();
    scene.site.kill(&master.node, Part::Agent);
    scene.wait_takeover(begin, master.term);
}

fn class(scene: &Scene, node: &str) -> String {
    scene.site.status(node).unwrap_or_default()["share"]["class"].to_string()
}
