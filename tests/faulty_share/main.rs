//! Real agents on a share that does, on command, what real shares do wrong.
//!
//! The share is a file system of this program: one folder, mounted at two points by FUSE, one for
//! each node. Its class is doubtful, as that of SMB. Nothing is cached by the kernel, so that every
//! operation of an agent comes to this program, which does with it what it was told:
//!
//! | command | what happens |
//! |---|---|
//! | `impose(side, fault)` | operations of that mount meet the fault: all of them, or chosen kinds (`of`), chosen paths (`below`), the first of each alone (`once`) |
//! | … `Deed::Hang` | they are done and answered once it is lifted; whoever waits cannot be killed, as on a hard mount |
//! | … `Deed::Fail(errno)` | they are not done |
//! | … `Deed::Late(time)` | they are done and answered so much later, exclusive creates too |
//! | `heal(side)` | all faults of a mount are lifted |
//! | `bury(side)` | the host is lost: its processes are let go, but what they asked for is still done in its time |
//! | `forget_locks(side, told)` | the server forgets a mount's locks; writes through the files that had them fail with `told`, or nobody says a word |
//! | `keep_locks(side)` | the server keeps them for good |
//! | `keep_all_locks(side)` | the same, of those that the mount gets later |
//! | `grant_locks_to_both()` | a lock excludes only the mount's own processes |
//! | `hide_names(side, time)` | a mount sees the names that the other makes so much later; an exclusive create finds them |
//! | `hide_bytes(side, time)` | a mount sees what the other writes so much later |
//! | `hide_only(part)` | both concern only what has this in its path |
//! | `give_hidden_names()` | an exclusive create gives a mount what it does not see |
//!
//! What real shares do is measured; contents that are rewritten in place are never hidden for longer
//! than the lease allows, for no real share does that.
//!
//! Each scenario runs in a process of its own (`runner`), and in the end judges what the receiver
//! has seen: no request of an older term after one of a newer (P1), nothing acknowledged lost (P2),
//! at most a batch repeated for each change of master (P3), one master once all is well. Wall clocks
//! that disagree need Debian's `faketime`; without it that scenario is left out.
//!
//! The fast run takes about a minute on two processors; `EDGE_LONG=1` hangs for three and ten minutes,
//! is late by 44 s, hides names for 30 s and changes masters a thousand times: an hour or more. Where
//! FUSE cannot be mounted all is left out (`support::left_out`). `EDGE_KEEP=1` keeps the scratch folders; those of
//! failed scenarios stay anyway.

mod answers;
mod bench;
mod clocks;
mod errors;
mod exclusion;
mod files;
mod gate;
mod gone;
mod hangs;
mod itself;
mod late;
mod locks;
mod mount;
mod peers;
mod runner;
mod server;
mod share;
mod stale;
mod switchovers;
mod views;

#[path = "../support/mod.rs"]
mod support;

use std::process::ExitCode;

use runner::Scenario;

macro_rules! fast {
    ($module:ident::$name:ident) => {
        Scenario { name: stringify!($name), run: $module::$name, is_long: false }
    };
}

macro_rules! long {
    ($module:ident::$name:ident) => {
        Scenario { name: stringify!($name), run: $module::$name, is_long: true }
    };
}

/// All of them; those of the long form alone are long.
const ALL: &[Scenario] = &[
    fast!(itself::the_share_is_one_folder_with_locks),
    fast!(itself::the_share_hangs_fails_and_is_late),
    fast!(itself::the_share_hides_names_and_bytes),
    fast!(itself::the_share_ends_though_it_hangs),
    fast!(hangs::all_io_of_the_master_hangs),
    long!(hangs::all_io_of_the_master_hangs_for_long),
    fast!(hangs::all_io_of_all_hangs),
    fast!(gone::a_share_that_is_gone_for_all_comes_back),
    fast!(gone::a_share_that_is_gone_for_one_comes_back),
    fast!(errors::a_master_whose_writes_fail_gives_way),
    fast!(errors::a_master_without_any_space_gives_way),
    fast!(errors::a_master_on_a_read_only_share_gives_way),
    fast!(errors::a_master_that_cannot_sync_gives_way),
    fast!(errors::a_master_that_is_denied_everything_gives_way),
    fast!(errors::a_master_whose_descriptors_go_bad_gives_way),
    fast!(errors::a_journal_without_space_refuses_readings_and_keeps_its_master),
    fast!(errors::a_standby_that_cannot_read_claims_nothing),
    fast!(errors::everything_is_stale_once_for_the_master),
    long!(errors::everything_is_stale_once_for_all),
    fast!(exclusion::a_lock_that_is_lost_silently_makes_no_second_master),
    fast!(exclusion::a_lock_that_is_granted_to_both_makes_no_second_master),
    fast!(exclusion::the_lock_of_a_lost_host_is_waited_for_no_longer_than_silence),
    fast!(exclusion::a_lock_that_is_lost_and_told_leaves_one_master),
    fast!(exclusion::a_deleted_lock_file_leaves_one_master),
    fast!(exclusion::a_replaced_lock_file_leaves_one_master),
    fast!(exclusion::a_standby_that_gets_no_locks_makes_no_second_master),
    fast!(exclusion::a_share_without_locks_goes_by_silence_and_says_so),
    fast!(stale::names_and_bytes_that_are_unseen_for_a_while_lose_nothing),
    fast!(late::a_dead_masters_slot_lands_late),
    fast!(late::a_dead_masters_group_lands_late),
    fast!(late::a_dead_claimants_create_lands_late),
    long!(late::a_dead_claimants_claim_holds_delivery_up_for_a_minute_at_most),
    fast!(late::agents_killed_with_a_busy_uplink_on_a_slow_share),
    fast!(switchovers::switchovers_with_kills_in_between),
    fast!(peers::a_good_share_is_certified),
    fast!(peers::a_page_that_is_seen_late_fails),
    fast!(peers::a_lock_that_is_granted_to_both_fails),
    fast!(peers::a_lock_that_never_comes_free_leaves_silence),
    fast!(peers::a_host_without_locks_fails_and_all_else_is_tried),
    fast!(peers::a_host_whose_locks_fail_for_now_is_not_certified),
    fast!(peers::a_name_that_is_given_to_both_fails),
    fast!(peers::a_name_that_is_hidden_for_a_while_is_told),
    long!(peers::a_name_that_is_hidden_for_too_long_fails),
    fast!(peers::a_sleeper_that_does_not_see_its_successor_fails),
    fast!(peers::a_host_that_cannot_write_ends_both),
    fast!(peers::a_host_whose_child_dies_ends_both),
    long!(peers::a_host_whose_share_hangs_ends_both),
    fast!(clocks::a_clock_that_is_set_under_its_master_changes_nothing),
    fast!(clocks::hosts_whose_clocks_are_hours_apart_and_drift_agree),
];

fn main() -> ExitCode {
    runner::run(ALL)
}
