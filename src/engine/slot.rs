//! A master's own page in `edge.terms`: what it holds, and what a successor may conclude.
//!
//! # Format
//!
//! `edge.terms` is a header page and [`SLOTS`](crate::limits::SLOTS) slots, a page of 4096
//! bytes each. Slot `term % 256` is page `1 + term % 256`. A page holds two copies of 2048
//! bytes, written in turn: never the one that holds the newest slot. The valid one of the
//! highest (term, heartbeat) counts.
//!
//! | bytes of a copy | what |
//! |---|---|
//! | 0..4 | magic `SLOT` |
//! | 4..8 | format version, [`FORMAT`] |
//! | 8..12 | length of the whole copy, in bytes |
//! | 12..16 | CRC-32C of bytes 0..12 and 16..length |
//! | 16.. | the fields of [`Slot`], in their order, little-endian |
//!
//! | bytes of the header page | what |
//! |---|---|
//! | 0..8 | magic `EDGETERM` (`EDGELOCK` in `edge.lock`) |
//! | 8..12 | format version |
//! | 12..28 | site id |
//! | 28..32 | CRC-32C of bytes 0..28 |
//!
//! # Invariants
//!
//! - S1: only the master of `term` writes slot `term % 256` with that term.
//! - S2: a damaged copy is never read as released: it is not read at all. Whatever
//!   [`Slot::encode`] does not write is damage, its sum right or not.
//! - S3: `heartbeat` grows with every write of a term.
//! - S4: formats count from 1: a header of format 0 is damaged, not of some older version.

use serde::{Deserialize, Serialize};

use super::codec::{CRC_32C, Reader, Writer};
use super::ident::{Cursor, NodeName, ShareClass, SiteId, Term};
use crate::limits::{SLOT_BYTES, SLOTS};

/// The version of everything on the share; a higher one is refused, never rewritten.
pub const FORMAT: u32 = 1;
/// Bytes of one copy of a slot.
pub const COPY_BYTES: usize = SLOT_BYTES / 2;
/// Bytes of a file header.
pub const HEADER_BYTES: usize = 32;
const SLOT_MAGIC: [u8; 4] = *b"SLOT";

/// Why a term was released.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ReleaseReason {
    /// SIGTERM.
    Stopped,
    /// `switchover`.
    Switchover,
    /// Another term, another file or a lost lock was found.
    Lost,
    /// It could not do its work.
    Unable,
}

impl ReleaseReason {
    /// As alerts and status name it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stopped => "stopped",
            Self::Switchover => "switchover",
            Self::Lost => "lost",
            Self::Unable => "unable",
        }
    }
}

/// How far a term has come.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub enum SlotState {
    /// Claimed, not yet seen to be the newest. Others treat it as active.
    Claiming,
    /// Its master collects and proves itself.
    Active,
    /// Ended by its own master.
    Released {
        /// Why.
        reason: ReleaseReason,
        /// Who shall have the lock first.
        successor: Option<NodeName>,
    },
}

impl SlotState {
    /// As status names it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Claiming => "claiming",
            Self::Active => "active",
            Self::Released { .. } => "released",
        }
    }
}

/// What a slot says of one lane.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default, Serialize, Deserialize)]
pub struct LaneMark {
    /// The next record to forward, of whatever term.
    pub cursor: Cursor,
    /// Number of this term's newest segment; 0: none.
    pub newest_segment: u32,
    /// Seq of this term's last record, once released; 0: none.
    pub last_seq: u64,
}

/// A term, as its master last wrote it.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Slot {
    /// Its number.
    pub term: Term,
    /// Its master.
    pub node: NodeName,
    /// Random number of the master's process.
    pub nonce: u64,
    /// Counts the writes of this slot.
    pub heartbeat: u64,
    /// How far it has come.
    pub state: SlotState,
    /// Inode of the lock file that it holds; 0: it holds none.
    pub locked: u64,
    /// Whether it was itself free to forward.
    pub fenced: bool,
    /// The share's class as its master sees it.
    pub class: ShareClass,
    /// The master's own setting.
    pub heartbeat_ms: u32,
    /// The master's own setting.
    pub fence_ms: u32,
    /// By [`Lane::index`](super::ident::Lane::index).
    pub lanes: [LaneMark; 2],
    /// Wall clock, ms since the Unix epoch, for people only.
    pub started_wall_ms: u64,
    /// Wall clock, ms since the Unix epoch, for people only; 0: not ended.
    pub ended_wall_ms: u64,
}

impl Slot {
    /// Whether its master ended it.
    pub fn is_released(&self) -> bool {
        matches!(self.state, SlotState::Released { .. })
    }

    /// The offset in `edge.terms` of the page of `term`.
    pub fn page_offset(term: Term) -> u64 {
        (1 + u64::from(term % SLOTS)) * SLOT_BYTES as u64
    }

    /// Writes one whole copy; the rest of it is zeroed.
    pub fn encode(&self, copy: &mut [u8; COPY_BYTES]) {
        copy.fill(0);
        let mut out = Writer::new(&mut copy[16..]);
        out.u32(self.term);
        out.text(self.node.as_str());
        out.u64(self.nonce);
        out.u64(self.heartbeat);
        encode_state(&self.state, &mut out);
        out.u64(self.locked);
        out.u8(u8::from(self.fenced));
        out.u8(encode_class(self.class));
        out.u32(self.heartbeat_ms);
        out.u32(self.fence_ms);
        for lane in &self.lanes {
            encode_lane(lane, &mut out);
        }
        out.u64(self.started_wall_ms);
        out.u64(self.ended_wall_ms);
        let length = 16 + out.finish().expect("S: every slot fits its copy");
        let mut head = Writer::new(&mut copy[..12]);
        head.raw(&SLOT_MAGIC);
        head.u32(FORMAT);
        head.u32(u32::try_from(length).expect("a copy is 2048 bytes"));
        let sum = sum_of_copy(copy, length);
        copy[12..16].copy_from_slice(&sum.to_le_bytes());
    }

    /// Reads one copy; `None` if it is empty, damaged or of a newer format (S2).
    pub fn decode(copy: &[u8]) -> Option<Self> {
        let mut head = Reader::new(copy);
        let magic: [u8; 4] = head.raw();
        let format = head.u32();
        let length = usize::try_from(head.u32()).ok()?;
        let sum = head.u32();
        let fits = (16..=copy.len()).contains(&length);
        if magic != SLOT_MAGIC || format != FORMAT || !fits || sum != sum_of_copy(copy, length) {
            return None;
        }
        let mut fields = Reader::new(&copy[16..length]);
        let slot = Self {
            term: fields.u32(),
            node: NodeName::parse(fields.text())?,
            nonce: fields.u64(),
            heartbeat: fields.u64(),
            state: decode_state(&mut fields)?,
            locked: fields.u64(),
            fenced: decode_flag(fields.u8())?,
            class: decode_class(fields.u8())?,
            heartbeat_ms: fields.u32(),
            fence_ms: fields.u32(),
            lanes: [decode_lane(&mut fields), decode_lane(&mut fields)],
            started_wall_ms: fields.u64(),
            ended_wall_ms: fields.u64(),
        };
        (fields.is_done() && slot.term > 0).then_some(slot)
    }

    /// Reads a page: the newer of its two valid copies.
    pub fn decode_page(page: &[u8; SLOT_BYTES]) -> Option<Self> {
        let (first, second) = page.split_at(COPY_BYTES);
        match (Self::decode(first), Self::decode(second)) {
            (Some(a), Some(b)) if (b.term, b.heartbeat) > (a.term, a.heartbeat) => Some(b),
            (Some(a), _) => Some(a),
            (None, b) => b,
        }
    }
}

fn sum_of_copy(copy: &[u8], length: usize) -> u32 {
    let mut digest = CRC_32C.digest();
    digest.update(&copy[..12]);
    digest.update(copy.get(16..length).unwrap_or_default());
    digest.finalize()
}

fn encode_state(state: &SlotState, out: &mut Writer<'_>) {
    match state {
        SlotState::Claiming => out.u8(1),
        SlotState::Active => out.u8(2),
        SlotState::Released { reason, successor } => {
            out.u8(3);
            out.u8(match reason {
                ReleaseReason::Stopped => 1,
                ReleaseReason::Switchover => 2,
                ReleaseReason::Lost => 3,
                ReleaseReason::Unable => 4,
            });
            out.text(successor.as_ref().map_or("", NodeName::as_str));
        }
    }
}

fn decode_state(fields: &mut Reader<'_>) -> Option<SlotState> {
    match fields.u8() {
        1 => Some(SlotState::Claiming),
        2 => Some(SlotState::Active),
        3 => {
            let reason = match fields.u8() {
                1 => ReleaseReason::Stopped,
                2 => ReleaseReason::Switchover,
                3 => ReleaseReason::Lost,
                4 => ReleaseReason::Unable,
                _ => return None,
            };
            let successor = match fields.text() {
                "" => None,
                name => Some(NodeName::parse(name)?),
            };
            Some(SlotState::Released { reason, successor })
        }
        _ => None,
    }
}

const fn decode_flag(byte: u8) -> Option<bool> {
    match byte {
        0 => Some(false),
        1 => Some(true),
        _ => None,
    }
}

const fn encode_class(class: ShareClass) -> u8 {
    match class {
        ShareClass::Local => 1,
        ShareClass::Nfs4 => 2,
        ShareClass::Doubtful => 3,
    }
}

const fn decode_class(byte: u8) -> Option<ShareClass> {
    match byte {
        1 => Some(ShareClass::Local),
        2 => Some(ShareClass::Nfs4),
        3 => Some(ShareClass::Doubtful),
        _ => None,
    }
}

fn encode_lane(lane: &LaneMark, out: &mut Writer<'_>) {
    out.u32(lane.cursor.term);
    out.u32(lane.cursor.segment);
    out.u32(lane.cursor.offset);
    out.u64(lane.cursor.seq);
    out.u32(lane.newest_segment);
    out.u64(lane.last_seq);
}

fn decode_lane(fields: &mut Reader<'_>) -> LaneMark {
    let cursor = Cursor {
        term: fields.u32(),
        segment: fields.u32(),
        offset: fields.u32(),
        seq: fields.u64(),
    };
    LaneMark { cursor, newest_segment: fields.u32(), last_seq: fields.u64() }
}

/// What the header of `edge.terms` or `edge.lock` turned out to be.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Header {
    /// Whole, of this site.
    Good(SiteId),
    /// Whole, written by a newer version of this program.
    Newer(u32),
    /// Anything else.
    Damaged,
}

/// The file that a header begins.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum HeaderOf {
    /// `edge.terms`.
    Terms,
    /// `edge.lock`.
    Lock,
}

impl HeaderOf {
    const fn magic(self) -> [u8; 8] {
        match self {
            Self::Terms => *b"EDGETERM",
            Self::Lock => *b"EDGELOCK",
        }
    }

    /// Writes the header of a new file.
    pub fn encode(self, site: SiteId) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let mut out = Writer::new(&mut bytes);
        out.raw(&self.magic());
        out.u32(FORMAT);
        out.raw(&site.0);
        let sum = CRC_32C.checksum(&bytes[..28]);
        bytes[28..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// Reads a header.
    pub fn decode(self, bytes: &[u8]) -> Header {
        let mut fields = Reader::new(bytes);
        let magic: [u8; 8] = fields.raw();
        let format = fields.u32();
        let site = SiteId(fields.raw());
        let sum = fields.u32();
        if !fields.is_whole() || magic != self.magic() || sum != CRC_32C.checksum(&bytes[..28]) {
            return Header::Damaged;
        }
        match format {
            0 => Header::Damaged,
            1..=FORMAT => Header::Good(site),
            _ => Header::Newer(format),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(term: Term, heartbeat: u64, state: SlotState) -> Slot {
        Slot {
            term,
            node: NodeName::parse("gw-1").expect("a valid name"),
            nonce: 0xfeed_beef,
            heartbeat,
            state,
            locked: 77,
            fenced: true,
            class: ShareClass::Nfs4,
            heartbeat_ms: 1_000,
            fence_ms: 5_000,
            lanes: [
                LaneMark {
                    cursor: Cursor { term: 2, segment: 3, offset: 64, seq: 9 },
                    newest_segment: 4,
                    last_seq: 0,
                },
                LaneMark::default(),
            ],
            started_wall_ms: 1_600_000_000_000,
            ended_wall_ms: 0,
        }
    }

    fn page_of(slots: &[Slot]) -> [u8; SLOT_BYTES] {
        let mut page = [0; SLOT_BYTES];
        for (slot, room) in slots.iter().zip(page.chunks_exact_mut(COPY_BYTES)) {
            let mut copy = [0; COPY_BYTES];
            slot.encode(&mut copy);
            room.copy_from_slice(&copy);
        }
        page
    }

    #[test]
    fn a_slot_reads_back_as_it_was_written() {
        let released = SlotState::Released {
            reason: ReleaseReason::Switchover,
            successor: NodeName::parse("gw-2"),
        };
        for state in [SlotState::Claiming, SlotState::Active, released] {
            let written = slot(7, 3, state);
            assert_eq!(Slot::decode_page(&page_of(std::slice::from_ref(&written))), Some(written));
        }
    }

    #[test]
    fn the_newer_copy_counts_and_a_damaged_one_does_not() {
        let active = slot(7, 3, SlotState::Active);
        let released =
            slot(7, 4, SlotState::Released { reason: ReleaseReason::Stopped, successor: None });
        let mut page = page_of(&[active.clone(), released.clone()]);
        assert_eq!(Slot::decode_page(&page), Some(released));
        page[COPY_BYTES + 40] ^= 1;
        assert_eq!(Slot::decode_page(&page), Some(active), "S2: damage is not a release");
    }

    #[test]
    fn every_damaged_bit_of_a_copy_is_seen() {
        let mut copy = [0; COPY_BYTES];
        slot(7, 3, SlotState::Active).encode(&mut copy);
        let length = u32::from_le_bytes([copy[8], copy[9], copy[10], copy[11]]) as usize;
        for bit in 0..length * 8 {
            let mut damaged = copy;
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Slot::decode(&damaged), None, "bit {bit}");
        }
    }

    #[test]
    fn what_is_never_written_is_damage_though_its_sum_is_right() {
        let released =
            SlotState::Released { reason: ReleaseReason::Stopped, successor: NodeName::parse("b") };
        let mut copy = [0; COPY_BYTES];
        slot(7, 3, released).encode(&mut copy);
        let length = usize::from(copy[8]);
        // the successor's name, the flag, bytes that follow
        for (at, byte) in [(16 + 28, b'B'), (16 + 37, 2), (8, copy[8] + 1)] {
            let mut odd = copy;
            odd[at] = byte;
            let length = usize::from(odd[8]).max(length);
            let sum = sum_of_copy(&odd, length);
            odd[12..16].copy_from_slice(&sum.to_le_bytes());
            assert_eq!(Slot::decode(&odd), None, "S2: byte {at}");
        }
    }

    #[test]
    fn headers_tell_good_newer_and_damaged_apart() {
        let site = SiteId([9; 16]);
        let good = HeaderOf::Terms.encode(site);
        assert_eq!(HeaderOf::Terms.decode(&good), Header::Good(site));
        assert_eq!(HeaderOf::Lock.decode(&good), Header::Damaged);
        assert_eq!(HeaderOf::Terms.decode(&good[..20]), Header::Damaged);
        let of_format = |format: u8| {
            let mut header = good;
            header[8] = format;
            let sum = CRC_32C.checksum(&header[..28]);
            header[28..].copy_from_slice(&sum.to_le_bytes());
            HeaderOf::Terms.decode(&header)
        };
        assert_eq!(of_format(2), Header::Newer(2));
        assert_eq!(of_format(0), Header::Damaged, "S4");
    }
}
