//! Every capacity and every time of the program, and how they hang together.
//!
//! # Failure timeline, at the default times
//!
//! The master's host goes silent at 0 s. Times are the standby's own.
//!
//! | at | what happens |
//! |---|---|
//! | 0.0 s | the last proof that the master began; its lease runs 5 s from there |
//! | 0.5 s | the lock came free with its process: a standby's poll is granted it and claims |
//! | 1.0 s | the proof that the master misses |
//! | 5.0 s | the old lease ends; the timer in the old uplink has ended it |
//! | 0.5 s + 6.25 s + 0.2 s | a claimant that must wait for the old lease forwards |
//! | 60.0 s | the lock never came free: a standby claims without it |
//! | 60.0 s + 6.25 s + 0.2 s | and forwards |
//!
//! A millisecond count is `u64` where it is a moment (`CLOCK_BOOTTIME`) and `u32` where
//! it is a span.

// --- time -------------------------------------------------------------------------------

/// How often a standby tries the lock and reads the slots.
pub const POLL_MS_DEFAULT: u32 = 500;
/// How often a master proves itself.
pub const HEARTBEAT_MS_DEFAULT: u32 = 1_000;
/// How long a lease runs from the start of the proof that gave it.
pub const FENCE_MS_DEFAULT: u32 = 5_000;
/// Silence after which a standby claims without the lock.
pub const SEIZE_MS_DEFAULT: u32 = 60_000;
/// Added to 5/4 of `fence_ms`: a request that was about to connect has connected by then.
pub const FENCE_MARGIN_MS: u32 = 200;
/// Polls for which nodes other than a named successor leave a released lock alone.
pub const SUCCESSOR_POLLS: u32 = 3;
/// Heartbeats of silence before a lock granted on a doubtful share is believed.
pub const DOUBTFUL_HEARTBEATS: u32 = 3;
/// Advances of a slot, seen while we hold its lock, which show that the lock does not exclude.
pub const ADVANCES_MAX: u32 = 2;
/// How often all slots are read.
pub const SURVEY_EVERY_MS: u32 = 10_000;
/// How often a node rewrites its own record.
pub const NODE_RECORD_EVERY_MS: u32 = 5_000;
/// A live node has written its record again by then, whoever deleted it.
pub const NODE_REWRITTEN_MS: u32 = NODE_RECORD_EVERY_MS + 2_000;
/// A node whose record stayed unchanged for so long is not live: two records and a second.
pub const NODE_SILENT_MS: u32 = 11_000;
/// How often the master lists the folder of nodes; in between it reads those it knows.
pub const NODE_LIST_EVERY_MS: u32 = 10_000;
/// A node that was not seen for so long is forgotten: 30 days.
pub const NODE_FORGET_MS: u32 = 2_592_000_000;
/// A node that was not seen for so long makes room, where there are too many.
pub const NODE_CROWDED_MS: u32 = 3_600_000;
/// A node's wall clock that is off by more than this is told of.
pub const CLOCK_SKEW_MS: u32 = 30_000;
/// Two observations further apart than this do not show silence between them.
pub const SIGHT_GAP_MS_MAX: u32 = 3_500;
/// A share operation outstanding for so long is a stalled share.
pub const STALL_MS: u32 = 2_000;
/// First and longest wait after a share could not be opened, or after resigning for a
/// reason of our own.
pub const RESIGN_WAIT_MS_MIN: u32 = 1_000;
/// See [`RESIGN_WAIT_MS_MIN`].
pub const RESIGN_WAIT_MS_MAX: u32 = 60_000;
/// A request in flight at a clean stop is given so long to end.
pub const STOP_REQUEST_MS_MAX: u32 = 5_000;
/// A clean stop takes no longer than this.
pub const STOP_MS_MAX: u32 = 8_000;
/// First and longest back-off of the uplink (before jitter).
pub const BACKOFF_MS_MIN: u32 = 1_000;
/// See [`BACKOFF_MS_MIN`].
pub const BACKOFF_MS_MAX: u32 = 60_000;
/// First and longest pause of the uplink after the cloud refused our credentials.
pub const PAUSE_MS_MIN: u32 = 60_000;
/// See [`PAUSE_MS_MIN`].
pub const PAUSE_MS_MAX: u32 = 3_600_000;
/// While the uplink pauses so, the files that credentials stand in are read again so often.
pub const REREAD_EVERY_MS: u32 = 10_000;
/// A cloud that refused records is said to decline until it has refused none for so long.
pub const DECLINING_MS: u32 = 600_000;
/// `Retry-After` is honoured up to an hour.
pub const RETRY_AFTER_MS_MAX: u32 = 3_600_000;
/// So many 500s in a row make a batch suspect of bad content.
pub const SERVER_ERRORS_MAX: u32 = 8;
/// So many time-outs in a row halve a batch.
pub const TIMEOUTS_MAX: u32 = 2;
/// First and longest stay below a batch size that failed, in accepted batches.
pub const SIZE_PATIENCE_MIN: u32 = 4;
/// See [`SIZE_PATIENCE_MIN`].
pub const SIZE_PATIENCE_MAX: u32 = 64;
/// So many single records refused in a row end a replay.
pub const REPLAY_REFUSED_MAX: u32 = 64;
/// So many tries in a row without an answer that decides end a replay: enough to find one record
/// among many that is never answered.
pub const REPLAY_UNANSWERED_MAX: u32 = 24;
/// An uplink with nothing to send for so long is ended.
pub const UPLINK_IDLE_MS: u32 = 60_000;
/// First and longest wait before a child that died is started again.
pub const CHILD_WAIT_MS_MIN: u32 = 100;
/// See [`CHILD_WAIT_MS_MIN`].
pub const CHILD_WAIT_MS_MAX: u32 = 10_000;
/// First and longest wait of `run --supervise` before it starts the agent again.
pub const SUPERVISE_WAIT_MS_MIN: u32 = 1_000;
/// See [`SUPERVISE_WAIT_MS_MIN`].
pub const SUPERVISE_WAIT_MS_MAX: u32 = 30_000;
/// An agent that lived so long is started again after the first wait.
pub const SUPERVISE_CALM_MS: u32 = 60_000;
/// A lease whose end lies further ahead was never given: it is one of long ago, seen
/// through a 32-bit count that has wrapped.
pub const LEASE_MS_MAX: u32 = 86_400_000;
/// In alone mode a slot is written at least so often.
pub const ALONE_SLOT_MS: u32 = 60_000;
/// A segment that a slot names and that is not seen is looked for so often.
pub const SEGMENT_WAIT_MS: u32 = 500;
/// No share hides a name that exists for longer (NFS: 30 s, measured): a named segment that
/// is still not seen is gone.
pub const SEGMENT_HIDDEN_MS_MAX: u32 = 60_000;
/// An NFS 4 lease beyond this, in s, is told: a lost host's lock comes free after one to two.
pub const NFS_LEASE_S_MAX: u32 = 25;
/// Things are registered after the first batch, or this long after forwarding began.
pub const REGISTER_WAIT_MS: u32 = 10_000;

// --- what people are told ---------------------------------------------------------------

/// The init system is told what the agent does no more often than this.
pub const SERVICE_STATUS_MS: u32 = 1_000;

/// A condition of a node's own is told once it has lasted so long beyond its own threshold: a
/// share that was remounted, or that stalled for a second, is nothing for people.
pub const DISTRESS_HOLD_MS: u32 = 3_000;
/// The same for `name-taken`: longer than a record of the same name can stay fresh after its
/// node was moved to another machine.
pub const DISTRESS_NAME_HOLD_MS: u32 = NODE_SILENT_MS + DISTRESS_HOLD_MS;
/// From one telling of a condition to the next: what comes and goes is no storm.
pub const TELL_EVERY_MS: u32 = 600_000;
/// First and longest back-off of distress (before jitter). Nobody waits for it: it is slower
/// than that of records.
pub const DISTRESS_BACKOFF_MS_MIN: u32 = 2_000;
/// See [`DISTRESS_BACKOFF_MS_MIN`].
pub const DISTRESS_BACKOFF_MS_MAX: u32 = 300_000;
/// `lock-file-replaced` is over once that has not happened again for so long.
pub const REPLACED_SHOWN_MS: u32 = 600_000;
/// A source that fails is told of once it has failed for so long: a reading or two that are
/// missing are no failure.
pub const SOURCE_TELL_HOLD_MS: u32 = 3_000;
/// Sources that are told of as failed at a time; the log names all.
pub const SOURCES_TOLD_MAX: usize = 16;
/// A clock that is not set is told of after so long: a gateway without a battery is given the
/// time to ask for the time at every start.
pub const CLOCK_TELL_HOLD_MS: u32 = 30_000;
/// Alerts that wait in memory for a clock that is set; later ones are only logged.
pub const ALERTS_UNSTAMPED_MAX: usize = 16;
/// Certificates that expire within this time are told of: 30 days.
pub const CERTIFICATE_WARN_MS: u64 = 30 * 86_400_000;
/// How often certificates are looked at.
pub const CERTIFICATE_LOOK_MS: u32 = 3_600_000;
/// Certificates of `ca_file` whose end is known; what follows is not looked at.
pub const CERTIFICATES_MAX: usize = 512;

// --- the site ---------------------------------------------------------------------------

/// Nodes of a site.
pub const NODES_MAX: usize = 32;
/// Files in the folder of nodes that are looked into at a listing, beside those of known nodes.
pub const NODES_TRIED_MAX: usize = 128;
/// Bytes of a node's name.
pub const NODE_NAME_MAX: usize = 32;
/// Bytes of a host's name: `HOST_NAME_MAX` of Linux.
pub const HOST_NAME_MAX: usize = 64;
/// Bytes of an advertised URL.
pub const ADVERTISE_MAX: usize = 96;
/// Bytes of a data directory's path, as a node's record shows it.
pub const PATH_MAX: usize = 128;
/// Things of a configuration.
pub const THINGS_MAX: usize = 256;
/// Sources of a configuration, of all things together.
pub const SOURCES_MAX: usize = 1_024;
/// Terms that a status names: what a page shows without scrolling far.
pub const TERMS_SHOWN_MAX: usize = 16;
/// Sources that a status shows, those that fail first.
pub const SOURCES_SHOWN_MAX: usize = 32;
/// Bytes of the reason for which a source fails, as a status shows it.
pub const SOURCE_FAULT_MAX: usize = 120;
/// The journal's depth is noted so often,
pub const DEPTH_EVERY_MS: u32 = 60_000;
/// and shown for so many times: an hour.
pub const DEPTHS_SHOWN_MAX: usize = 60;
/// Conditions that a status names.
pub const CONDITIONS_MAX: usize = 32;
/// Bytes of `edge.json`.
pub const CONFIG_BYTES_MAX: usize = 1 << 20;
/// Bytes of a secret or CA file.
pub const SECRET_BYTES_MAX: usize = 256 << 10;
/// Bytes of the file of a proxy's password.
pub const PASSWORD_FILE_BYTES_MAX: usize = 4 << 10;

/// Bytes of what is said of a mount, and remarks that are told.
pub const MOUNT_TEXT_MAX: usize = 200;
/// See [`MOUNT_TEXT_MAX`].
pub const MOUNT_REMARKS_MAX: usize = 5;

// --- the configuration's texts ----------------------------------------------------------

/// Bytes of a site's or a thing's name, for people.
pub const CONFIG_NAME_MAX: usize = 128;
/// Bytes of a path.
pub const CONFIG_PATH_MAX: usize = 255;
/// Bytes of a thing's key.
pub const THING_KEY_MAX: usize = 64;
/// Bytes of an access key, a secret key, or a user or password of a proxy.
pub const CLOUD_KEY_MAX: usize = 256;
/// Bytes of the cloud's or a proxy's URL.
pub const URL_MAX: usize = 255;
/// Bytes of a metric's name.
pub const METRIC_MAX: usize = 64;
/// Bytes of the console's token.
pub const TOKEN_MAX: usize = 256;
/// Bytes of a socket address.
pub const LISTEN_MAX: usize = 64;

// --- on the share -----------------------------------------------------------------------

/// Slots in `edge.terms`.
pub const SLOTS: u32 = 256;
/// A slot is a page of its own: two hosts never share one.
pub const SLOT_BYTES: usize = 4_096;
/// The offset in `edge.lock` of the one byte that is the share lock.
pub const LOCK_OFFSET: u64 = 4_096;
/// A segment is closed at this size.
pub const SEGMENT_BYTES_MAX: u32 = 4 << 20;
/// Nothing is read of a segment beyond this: no writer of ours goes further.
pub const SEGMENT_READ_BYTES_MAX: u32 = 2 * SEGMENT_BYTES_MAX;
/// Bytes of one damaged stretch that are copied to `declined/`.
pub const DAMAGED_COPY_BYTES_MAX: u32 = 1 << 20;
/// Damaged stretches that are kept in `declined/`; later ones are counted only.
pub const DAMAGED_FILES_MAX: usize = 16;
/// Bytes of records in one group.
pub const GROUP_BYTES_MAX: usize = 64 << 10;
/// Bytes of one record; a longer one is refused (413).
pub const RECORD_BYTES_MAX: usize = 32 << 10;
/// Groups gathered in memory before intake is refused (429), in bytes with their heads.
pub const GATHER_BYTES_MAX: usize = 1 << 20;
/// What came within this time is synced together.
pub const SYNC_MS_DEFAULT: u32 = 200;
/// The reserve file: room for the claims, slots and records of some takeovers on a full share.
pub const RESERVE_BYTES: usize = 256 << 10;
/// It is made only while so many bytes are free, so that it never takes the last of them.
pub const RESERVE_ROOM_BYTES: u64 = 4 * RESERVE_BYTES as u64;
/// How often a missing reserve is tried to be made.
pub const RESERVE_WAIT_MS: u32 = 2_000;
/// Bytes of the journal; never above half of the free space at start.
pub const JOURNAL_BYTES_MAX_DEFAULT: u64 = 1 << 30;
/// Bytes of the declined store.
pub const DECLINED_BYTES_MAX_DEFAULT: u64 = 16 << 20;
/// A file of the declined store is closed at this size, or at a quarter of the store's bound.
pub const DECLINED_FILE_BYTES_MAX: usize = 1 << 20;
/// Bytes of one entry of the declined store: any record that fits in a group fits in it.
pub const DECLINED_ENTRY_BYTES_MAX: usize = GROUP_BYTES_MAX + 4_096;
/// Files of the declined store; the oldest makes room.
pub const DECLINED_FILES_MAX: usize = 1_024;
/// How much of the declined store's end is looked through for records that are there already,
pub const DECLINED_TAIL_BYTES_MAX: u64 = 2 << 20;
/// in so many files.
pub const DECLINED_TAIL_FILES_MAX: usize = 8;
/// Runs of records without a gap that are known to be in the declined store; later ones push
/// the oldest out.
pub const DECLINED_RUNS_MAX: usize = 1_024;

/// While the declined store is counted, a file of it is read so often;
pub const DECLINED_COUNT_MS: u32 = 100;
/// once that is complete, it is looked at so often while it changes.
pub const DECLINED_LOOK_MS: u32 = 1_000;
/// What failed of a replay or a purge is tried again after this,
pub const DECLINED_RETRY_MS: u32 = 1_000;
/// and a count after this: nobody waits for it.
pub const DECLINED_RECOUNT_MS: u32 = 60_000;

// --- the cloud --------------------------------------------------------------------------

/// A request's whole time, from name resolution to the end of its answer.
pub const CLOUD_TIMEOUT_MS_DEFAULT: u32 = 10_000;
/// Records of one batch.
pub const BATCH_RECORDS_DEFAULT: u32 = 500;
/// Bytes of one batch.
pub const BATCH_BYTES_DEFAULT: u32 = 64 << 10;
/// The most that `batch_bytes_max` can be.
pub const BATCH_BYTES_MAX: u32 = 1 << 20;
/// The oldest record of a batch waits no longer than this.
pub const BATCH_AGE_MS_DEFAULT: u32 = 10_000;
/// Ranges of records that one request names.
pub const RECORD_RANGES_MAX: usize = 16;
/// Bytes of an answer's body that are read; the rest is left unread.
pub const ANSWER_BYTES_MAX: usize = 16 << 10;
/// Of a request's time, the eighths within which its connection stands or is given up: what is
/// left is for the uplink to tell of it before its deadline ends it.
pub const CONNECT_EIGHTHS: u32 = 7;
/// Addresses of one family that a request tries.
pub const ADDRESSES_MAX: usize = 4;
/// Requests in a row by one address family that got a connection and no answer, after which the
/// other family is tried.
pub const UNANSWERED_MAX: u8 = 2;
/// Heartbeats of things.
pub const ALIVE_EVERY_MS_DEFAULT: u32 = 120_000;

// --- frames and the console ---------------------------------------------------------------

/// The head of a frame between our processes.
pub const FRAME_HEAD_MAX: usize = 16 << 10;
/// What follows a frame's head: groups, batches, configuration.
pub const FRAME_BODY_MAX: usize = 2 << 20;
/// Connections of the console, TCP and Unix socket together.
pub const CONNECTIONS_MAX: usize = 16;
/// Bytes of a request's head.
pub const REQUEST_HEAD_MAX: usize = 4 << 10;
/// Bytes of a request's body.
pub const REQUEST_BODY_MAX: usize = 256 << 10;
/// Bytes of an answer.
pub const REPLY_BYTES_MAX: usize = 48 << 10;
/// A connection that neither sends nor takes anything for so long is dropped.
pub const CONNECTION_IDLE_MS: u32 = 10_000;
/// A request is answered within this time or its connection is dropped.
pub const REQUEST_MS_MAX: u32 = 30_000;
/// Connections of the console over TCP: the Unix socket always has room.
pub const CONNECTIONS_TCP_MAX: usize = 12;
/// A client without a request keeps its place for so long though others want it.
pub const CONNECTION_SPARE_MS: u32 = 100;
/// Request bodies held at once; a producer beyond them is told to come again (429).
pub const BODIES_MAX: usize = 8;
/// A connection that we end is read, and what is read dropped, for so long, so that the answer
/// is not lost to a reset (RFC 9112 9.6),
pub const LINGER_MS: u32 = 1_000;
/// and for so many bytes.
pub const LINGER_BYTES_MAX: usize = 2 * REQUEST_BODY_MAX;
/// How often an address or socket that could not be listened on is tried again.
pub const LISTEN_WAIT_MS: u32 = 5_000;
/// A one-shot command waits so long for an agent's answer.
pub const COMMAND_MS_MAX: u32 = 5_000;
/// `status --watch` prints so often.
pub const WATCH_EVERY_MS: u32 = 2_000;
/// A one-shot command looks at the share for so long.
pub const SURVEY_MS_MAX: u32 = 10_000;
/// `check` fails if less is free on the share, in bytes: a few segments.
pub const PROBE_SPACE_MIN: u64 = 4 * SEGMENT_BYTES_MAX as u64;
/// Pages that `check` writes and syncs.
pub const PROBE_SYNCS: usize = 5;
/// `check` warns of a share that takes longer for one of them.
pub const PROBE_SYNC_MS_MAX: u32 = HEARTBEAT_MS_DEFAULT / 2;
/// `check --peer` waits so long for the other host to begin,
pub const PEER_WAIT_MS_MAX: u32 = 600_000;
/// shows that it does as often as this,
pub const PEER_BEAT_MS: u32 = 500;
/// and takes a host that showed nothing for so long for one that is gone.
pub const PEER_DEAD_MS: u32 = 10 * PEER_BEAT_MS;
/// Once two hosts have met, one takes the other for gone that showed nothing for so long,
pub const PEER_SILENT_MS_MAX: u32 = 30_000;
/// and waits no longer than this for one that is there: it may be waiting for a hidden name.
pub const PEER_STEP_MS_MAX: u32 = SEGMENT_HIDDEN_MS_MAX + PEER_SILENT_MS_MAX;
/// `check` gives its child up that has met the other host and then tells nothing for so long.
pub const PEER_QUIET_MS_MAX: u32 = PEER_STEP_MS_MAX + SURVEY_MS_MAX;
/// They look as often as this.
pub const PEER_LOOK_MS: u32 = 20;
/// Times that one rewrites a page and the other answers,
pub const PEER_ROUNDS: u32 = 25;
/// but none is begun after this,
pub const PEER_ROUNDS_MS_MAX: u32 = 10_000;
/// and a page that is not answered for so long is not seen. Real shares take 0.15 s.
pub const PEER_STALE_MS_MAX: u32 = 10_000;
/// Times that both try to create 64 names, which fit into one value that they exchange.
pub const PEER_RACES: u32 = 4;
/// A lock that was given up, or whose holder was killed, must be granted to the other within this.
pub const PEER_LOCK_MS_MAX: u32 = 10_000;
/// A host that slept through a takeover writes so long after it: longer than a tick of any server's
/// clock (a second at worst), so that the two writes are told apart, and shorter than NFS clients
/// take what they have seen for true (3 s).
pub const PEER_SLEEP_MS: u32 = 2_000;
/// `journal verify` waits so long for each segment.
pub const VERIFY_MS_MAX: u32 = 120_000;
/// `declined replay` and `purge` give an agent up that does not answer for so long.
pub const DECLINED_SILENT_MS_MAX: u32 = 30_000;
/// `switchover` waits so long for the next master.
pub const SWITCHOVER_MS_MAX: u32 = 10_000;
/// Bytes of a log line; no more than `PIPE_BUF`, so that lines do not mix.
pub const LOG_LINE_MAX: usize = 1_024;
/// Bytes of a source's file that are looked at.
pub const SOURCE_BYTES_MAX: usize = 64 << 10;
/// Bytes of a source's value.
pub const SOURCE_VALUE_MAX: usize = 48;
/// A source that keeps the collector for so long is stuck: the collector is killed.
pub const SOURCE_MS_MAX: u32 = 5_000;
/// First and longest time for which a stuck source is left alone: each try costs the others
/// [`SOURCE_MS_MAX`].
pub const SOURCE_WAIT_MS_MIN: u32 = 10_000;
/// See [`SOURCE_WAIT_MS_MIN`].
pub const SOURCE_WAIT_MS_MAX: u32 = 600_000;
/// Collectors that were killed and are not yet reaped; with so many, none is started.
pub const COLLECTORS_ABANDONED_MAX: usize = 2;
/// Bytes of a source's pattern.
pub const PATTERN_MAX: usize = 255;
/// Bytes of memory that a compiled pattern may take.
pub const PATTERN_PROGRAM_BYTES_MAX: usize = 64 << 10;
/// Bytes of a unit's name.
pub const UNIT_MAX: usize = 32;
/// Bytes of values of sources that wait in memory: for a sane clock, or for room in the journal.
pub const HELD_BYTES_MAX: usize = 256 << 10;
/// A wall clock before this, in ms since 1970, is not set: 2026-01-01T00:00:00Z. Each release
/// moves it on; a constant, so that the same source gives the same binary.
pub const WALL_MS_MIN: u64 = 1_767_225_600_000;
/// Nesting of any JSON that we read.
pub const JSON_DEPTH_MAX: usize = 16;

const _: () = assert!(DISTRESS_NAME_HOLD_MS < TELL_EVERY_MS);
const _: () = assert!(CLOUD_TIMEOUT_MS_DEFAULT < DISTRESS_BACKOFF_MS_MAX);
const _: () = assert!(2 * RESERVE_BYTES as u64 <= RESERVE_ROOM_BYTES);
const _: () = assert!(SOURCE_MS_MAX < SOURCE_WAIT_MS_MIN);
const _: () = assert!(POLL_MS_DEFAULT <= HEARTBEAT_MS_DEFAULT);
const _: () = assert!(2 * PEER_LOOK_MS < PEER_BEAT_MS);
const _: () = assert!(2 * PEER_BEAT_MS < PEER_DEAD_MS);
const _: () = assert!(PEER_DEAD_MS < PEER_SILENT_MS_MAX);
const _: () = assert!(PEER_ROUNDS_MS_MAX + 3 * PEER_STALE_MS_MAX < PEER_STEP_MS_MAX);
const _: () = assert!(PEER_LOCK_MS_MAX < PEER_STEP_MS_MAX);
const _: () = assert!(FENCE_MS_DEFAULT / 4 < PEER_STALE_MS_MAX);
const _: () = assert!(3 * HEARTBEAT_MS_DEFAULT <= FENCE_MS_DEFAULT);
const _: () = assert!(FENCE_MS_DEFAULT < SEIZE_MS_DEFAULT);
const _: () = assert!(NODE_SILENT_MS > 2 * NODE_RECORD_EVERY_MS);
const _: () = assert!(REREAD_EVERY_MS < PAUSE_MS_MIN);
const _: () = assert!(NODE_SILENT_MS < NODE_CROWDED_MS);
const _: () = assert!(NODE_CROWDED_MS < NODE_FORGET_MS);
const _: () = assert!(NODES_TRIED_MAX >= NODES_MAX);
const _: () = assert!(STOP_REQUEST_MS_MAX < STOP_MS_MAX);
const _: () = assert!(RECORD_BYTES_MAX < GROUP_BYTES_MAX);
const _: () = assert!(GROUP_BYTES_MAX < GATHER_BYTES_MAX);
const _: () = assert!(GATHER_BYTES_MAX <= FRAME_BODY_MAX);
const _: () =
    assert!(SEGMENT_BYTES_MAX as usize + GATHER_BYTES_MAX <= SEGMENT_READ_BYTES_MAX as usize);
const _: () =
    assert!(CONFIG_BYTES_MAX + 3 * SECRET_BYTES_MAX + PASSWORD_FILE_BYTES_MAX <= FRAME_BODY_MAX);
const _: () = assert!(CONNECT_EIGHTHS < 8);
const _: () = assert!(THING_KEY_MAX <= CONFIG_NAME_MAX);
const _: () = assert!(LOG_LINE_MAX <= 4_096);
const _: () = assert!(CONNECTIONS_TCP_MAX < CONNECTIONS_MAX);
const _: () = assert!(BODIES_MAX <= CONNECTIONS_MAX);
const _: () = assert!(RECORD_BYTES_MAX <= REQUEST_BODY_MAX);
const _: () = assert!(BATCH_BYTES_MAX as usize + 4_096 <= FRAME_BODY_MAX);
const _: () = assert!(DECLINED_ENTRY_BYTES_MAX + 4_096 <= DECLINED_FILE_BYTES_MAX);
