//! What a seed makes of a site: how many nodes, on what share, and what goes wrong.

use edge_agent::engine::ident::ShareClass;
use edge_agent::engine::notes::Level;
use edge_agent::engine::settings::Settings;

use crate::dice::Dice;

/// What can go wrong, each by itself. The table counts them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Fault {
    /// SIGKILL of all processes of a node.
    Killed,
    /// The keeper alone is killed.
    KeeperKilled,
    /// The uplink alone is killed.
    UplinkKilled,
    /// A host goes down; on a local share, all processes do.
    PowerLost,
    /// A write that was not synced is lost with its host.
    WriteLost,
    /// A write that was not synced leaves noise.
    WriteTorn,
    /// SIGSTOP of all processes of a node, SIGCONT later.
    Frozen,
    /// A node's share hangs, and goes on.
    Hung,
    /// Everybody's does.
    AllHung,
    /// A node is cut off from the share: the server may end its lock.
    Cut,
    /// And from the cloud.
    CutWhole,
    /// The server ends the lock of a host that it does not hear from.
    LockExpired,
    /// It never does.
    LockLingers,
    /// The server restarts and forgets all locks.
    LocksDropped,
    /// The lock is granted to two.
    LockLies,
    /// The lock file is replaced.
    LockReplaced,
    /// It is deleted.
    LockDeleted,
    /// A share is unmounted under its node, and mounted again.
    Unmounted,
    /// One operation fails by ESTALE, EIO or EBADF.
    Stale,
    /// One operation fails by something else.
    Failed,
    /// No space.
    Full,
    /// A write lands after its process is gone.
    LandsLate,
    /// An exclusive create does.
    ClaimLandsLate,
    /// Numbers are taken by claimers that died at once.
    Burnt,
    /// A slot is read as it was before.
    StaleRead,
    /// The page of an older term is noise: what it says is gone.
    SlotLost,
    /// A listing misses a name.
    NameUnseen,
    /// A slow share.
    Slow,
    /// A host's wall clock jumps.
    ClockJump,
    /// Clocks that run at different rates.
    Drift,
    /// The cloud took it, and its answer was lost.
    AnswerLost,
    /// A request that never got there.
    RequestLost,
    /// The cloud answers 5xx, 429 or 408.
    CloudFails,
    /// The cloud answers 401 to 410.
    CloudRefuses,
    /// The cloud will not have some records.
    CloudPicky,
    /// 413.
    CloudSmall,
    /// The cloud takes its time.
    CloudSlow,
    /// SIGTERM, and a start later.
    Stopped,
    /// An operator asks for another master.
    Switchover,
    /// And names a node, which may be down.
    SwitchoverTo,
    /// SIGHUP.
    Reload,
    /// An operator has the declined records sent again.
    Replay,
    /// Or deleted.
    Purge,
}

impl Fault {
    /// All of them.
    pub(crate) const ALL: [Self; 43] = [
        Self::Killed,
        Self::KeeperKilled,
        Self::UplinkKilled,
        Self::PowerLost,
        Self::WriteLost,
        Self::WriteTorn,
        Self::Frozen,
        Self::Hung,
        Self::AllHung,
        Self::Cut,
        Self::CutWhole,
        Self::LockExpired,
        Self::LockLingers,
        Self::LocksDropped,
        Self::LockLies,
        Self::LockReplaced,
        Self::LockDeleted,
        Self::Unmounted,
        Self::Stale,
        Self::Failed,
        Self::Full,
        Self::LandsLate,
        Self::ClaimLandsLate,
        Self::Burnt,
        Self::StaleRead,
        Self::SlotLost,
        Self::NameUnseen,
        Self::Slow,
        Self::ClockJump,
        Self::Drift,
        Self::AnswerLost,
        Self::RequestLost,
        Self::CloudFails,
        Self::CloudRefuses,
        Self::CloudPicky,
        Self::CloudSmall,
        Self::CloudSlow,
        Self::Stopped,
        Self::Switchover,
        Self::SwitchoverTo,
        Self::Reload,
        Self::Replay,
        Self::Purge,
    ];

    /// Those that are thrown; the others follow from them or from the share.
    const THROWN: [Self; 32] = [
        Self::Killed,
        Self::KeeperKilled,
        Self::UplinkKilled,
        Self::PowerLost,
        Self::Frozen,
        Self::Hung,
        Self::AllHung,
        Self::Cut,
        Self::CutWhole,
        Self::LocksDropped,
        Self::LockReplaced,
        Self::LockDeleted,
        Self::Unmounted,
        Self::Stale,
        Self::Failed,
        Self::Full,
        Self::Burnt,
        Self::SlotLost,
        Self::ClockJump,
        Self::RequestLost,
        Self::AnswerLost,
        Self::CloudFails,
        Self::CloudRefuses,
        Self::CloudPicky,
        Self::CloudSmall,
        Self::CloudSlow,
        Self::Stopped,
        Self::Switchover,
        Self::SwitchoverTo,
        Self::Reload,
        Self::Replay,
        Self::Purge,
    ];

    /// As the table names it.
    pub(crate) fn name(self) -> String {
        format!("{self:?}")
    }
}

/// A site and its faults.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) nodes: usize,
    pub(crate) class: ShareClass,
    /// Whoever asks for the lock is granted it.
    pub(crate) lies: bool,
    /// Its options tell that they do (`nobrl`).
    pub(crate) unsafe_mount: bool,
    /// Who lost the lock at the server is not told by its writes.
    pub(crate) loss_unseen: bool,
    /// How far each node's clock runs ahead, in millionths.
    pub(crate) drift: [i64; 5],
    pub(crate) settings: Settings,
    /// How long faults are thrown.
    pub(crate) faults_ms: u64,
    /// One about so often.
    pub(crate) fault_every_ms: u64,
    /// Which ones.
    pub(crate) thrown: Vec<Fault>,
    /// How long they last at most.
    pub(crate) fault_ms_max: u64,
    /// A step on the share takes so long at most.
    pub(crate) step_ms_max: u64,
    /// What was rewritten is seen by others within this.
    pub(crate) fresh_ms_max: u64,
    /// What is in the air when its process ends lands within this.
    pub(crate) late_ms_max: u64,
    /// The server ends a silent host's lock after this; never, if 0.
    pub(crate) expiry_ms: u64,
    /// An uplink outlives its agent by so much at most.
    pub(crate) orphan_ms_max: u64,
    /// So many numbers are taken at a time at least.
    pub(crate) burnt_min: u64,
    /// Somebody has a look once all is well, and has the configuration read again.
    pub(crate) has_operator: bool,
    /// A kill is aimed at these moments of the master.
    pub(crate) aim: Aim,
}

/// When a node is more likely to be hit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Aim {
    /// At any time.
    Anywhere,
    /// Right after it made a claim.
    Claim,
    /// Right after the cloud accepted a batch.
    Accepted,
    /// None is killed: a claimer's share hangs for so long, in ms, and then, for longer, that of
    /// the master that it claimed over.
    #[cfg_attr(not(debug_assertions), expect(dead_code, reason = "leads to rules left out"))]
    Overlap(u64),
}

impl Plan {
    /// What this seed makes.
    pub(crate) fn of(dice: &mut Dice) -> Self {
        use ShareClass::{Doubtful, Local, Nfs4};
        let class = dice.pick(&[Local, Local, Nfs4, Nfs4, Doubtful, Doubtful]);
        let (local, slow) = (class == Local, dice.one_in(8));
        let mut thrown: Vec<_> =
            Fault::THROWN.into_iter().filter(|fault| fault.fits(class)).collect();
        // Few kinds together show more than all at once.
        let kinds = dice.within(1, 8);
        while (thrown.len() as u64) > kinds {
            thrown.swap_remove(dice.place(thrown.len()));
        }
        let drifts = dice.one_in(2);
        let drift = [(); 5].map(|()| if drifts { drift(dice) } else { 0 });
        let mut plan = Self {
            nodes: dice.pick(&[2, 2, 2, 3, 3, 4, 5]),
            class,
            lies: class == Doubtful && dice.one_in(3),
            unsafe_mount: !local && dice.one_in(10),
            loss_unseen: !local && dice.one_in(4),
            drift,
            settings: settings(dice),
            faults_ms: dice.within(20_000, 120_000),
            fault_every_ms: dice.pick(&[500, 2_000, 5_000, 10_000]),
            thrown,
            fault_ms_max: match dice.below(24) {
                0 => 600_000,
                1 => 150_000,
                _ => dice.pick(&[3_000, 10_000, 40_000]),
            },
            step_ms_max: 1,
            fresh_ms_max: 0,
            late_ms_max: 0,
            expiry_ms: match class {
                Local => 0,
                Nfs4 => dice.pick(&[0, 15_000, 26_000]),
                Doubtful => dice.pick(&[0, 0, 2_000, 24_000]),
            },
            orphan_ms_max: 20,
            burnt_min: 1,
            has_operator: dice.one_in(2),
            aim: dice.pick(&[Aim::Anywhere, Aim::Claim, Aim::Accepted]),
        };
        plan.settle_on(class);
        if slow {
            plan.step_ms_max = 60;
        }
        plan
    }

    /// The times of such a share, as measured.
    pub(crate) fn settle_on(&mut self, class: ShareClass) {
        let local = class == ShareClass::Local;
        self.class = class;
        self.step_ms_max = if local { 1 } else { 10 };
        self.fresh_ms_max = if local { 0 } else { 150 };
        self.late_ms_max = if local { 50 } else { 44_000 };
    }

    /// Whether all nodes are processes of one host.
    pub(crate) fn is_local(&self) -> bool {
        self.class == ShareClass::Local
    }

    /// Whether a step takes longer than usual.
    pub(crate) fn is_slow(&self) -> bool {
        self.step_ms_max > 10
    }
}

/// A hundredth, either way: far more than any clock is off, and within what 200 ms cover.
fn drift(dice: &mut Dice) -> i64 {
    i64::try_from(dice.below(20_001)).expect("small") - 10_000
}

fn settings(dice: &mut Dice) -> Settings {
    let mut settings = Settings {
        configured: true,
        seize_ms: dice.pick(&[10_000, 15_000, 60_000]),
        batch_age_ms_max: dice.pick(&[100, 1_000, 10_000]),
        batch_records_max: dice.pick(&[20, 50, 500]),
        alerts: Some(Level::Info),
        ..Settings::default()
    };
    for _ in 0..dice.below(3) {
        settings.alive_every_ms.push(2_000).expect("room");
    }
    settings
}

impl Fault {
    /// Whether this can happen on such a share: one host's processes are not cut off, and what
    /// keeps its locks in memory forgets none.
    fn fits(self, class: ShareClass) -> bool {
        let remote = matches!(self, Self::Cut | Self::CutWhole | Self::LocksDropped);
        !remote || class != ShareClass::Local
    }
}
