//! Records on their way into the journal: sealed into groups, in memory, until they are synced.
//!
//! One for each lane. Groups fill while the ones before them are being written.
//!
//! 1. Seqs count from 1 in each term, without a gap, in the order of arrival.
//! 2. What flies keeps its bytes until it landed: a failed write is written again, elsewhere,
//!    as the same groups with the same seqs.
//! 3. Bounded: when a push does not fit, none of it is taken.
//!
//! It does not decide when to write: the engine does, by what `bytes` and `through_seq` say.

use crate::engine::segment::{GROUP_HEAD_BYTES, GroupHead, GroupOf};
use crate::limits::{GATHER_BYTES_MAX, GROUP_BYTES_MAX};

/// The groups of one lane.
#[derive(Debug, Default)]
pub struct Gather {
    filling: Vec<u8>,
    flying: Vec<u8>,
    /// Where the open group begins in `filling`.
    group_at: usize,
    group_count: u32,
    next_seq: u64,
    /// Whose records; `None` while nothing is collected.
    of: Option<GroupOf>,
}

/// There is no room, or nothing is collected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Full;

impl Gather {
    /// A new term: nothing is gathered, the next seq is 1.
    pub fn begin(&mut self, of: GroupOf) {
        self.clear();
        self.next_seq = 1;
        self.of = Some(of);
    }

    /// Drops everything, and the memory with it: a standby needs none.
    pub fn clear(&mut self) {
        *self = Self::default();
    }

    /// Takes whole records, each a line ended by `\n`; gives the seq of the last.
    pub fn push(&mut self, lines: &[u8]) -> Result<u64, Full> {
        // Heads: one for the group that is open, and one for every half group at worst.
        let heads = 2 + 2 * lines.len() / GROUP_BYTES_MAX;
        if self.of.is_none()
            || self.filling.len() + lines.len() + heads * GROUP_HEAD_BYTES > GATHER_BYTES_MAX
        {
            return Err(Full);
        }
        for line in lines.split_inclusive(|byte| *byte == b'\n') {
            self.push_line(line);
        }
        Ok(self.through_seq())
    }

    /// Bytes of all groups that are filling, heads included.
    pub fn bytes(&self) -> u32 {
        u32::try_from(self.filling.len()).expect("GATHER_BYTES_MAX fits u32")
    }

    /// Seq of the last record that was pushed; 0: none.
    pub fn through_seq(&self) -> u64 {
        self.next_seq.saturating_sub(1)
    }

    /// The groups to write: what flies already (a write that failed), else all that was filling.
    pub fn take(&mut self) -> &[u8] {
        if self.flying.is_empty() {
            self.seal();
            core::mem::swap(&mut self.filling, &mut self.flying);
        }
        &self.flying
    }

    /// What flew is durable.
    pub fn landed(&mut self) {
        self.flying.clear();
    }

    fn push_line(&mut self, line: &[u8]) {
        let payload = self.filling.len().saturating_sub(self.group_at + GROUP_HEAD_BYTES);
        if self.group_count > 0 && payload + line.len() > GROUP_BYTES_MAX {
            self.seal();
        }
        if self.group_count == 0 {
            self.group_at = self.filling.len();
            self.filling.resize(self.group_at + GROUP_HEAD_BYTES, 0);
        }
        self.filling.extend_from_slice(line);
        self.group_count += 1;
        self.next_seq += 1;
    }

    fn seal(&mut self) {
        let Some(of) = self.of.filter(|_| self.group_count > 0) else { return };
        let first_seq = self.next_seq - u64::from(self.group_count);
        GroupHead::seal(&mut self.filling[self.group_at..], of, first_seq, self.group_count);
        self.group_count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::ident::Lane;

    const OF: GroupOf = GroupOf { term: 3, lane: Lane::Readings };

    /// The (first seq, count, records) of each group, all of them whole.
    fn groups(mut bytes: &[u8]) -> Vec<(u64, u32, Vec<u8>)> {
        let mut found = Vec::new();
        while !bytes.is_empty() {
            let head = GroupHead::decode(bytes).expect("a head");
            let (group, rest) = bytes.split_at(head.group_bytes());
            assert!(head.matches(OF, group, &group[GROUP_HEAD_BYTES..]), "a whole group");
            found.push((head.first_seq, head.count, group[GROUP_HEAD_BYTES..].to_vec()));
            bytes = rest;
        }
        found
    }

    #[test]
    fn what_came_together_is_one_group_and_seqs_go_on() {
        let mut gather = Gather::default();
        gather.begin(OF);
        assert_eq!(gather.push(b"a\nb\n"), Ok(2));
        assert_eq!(gather.push(b"c\n"), Ok(3));
        assert_eq!(groups(gather.take()), [(1, 3, b"a\nb\nc\n".to_vec())]);
        assert_eq!(gather.push(b"d\n"), Ok(4));
        assert_eq!(groups(gather.take()).len(), 1, "2: what flies stays until it landed");
        gather.landed();
        assert_eq!(groups(gather.take()), [(4, 1, b"d\n".to_vec())]);
    }

    #[test]
    fn groups_stay_within_their_bound() {
        let mut gather = Gather::default();
        gather.begin(OF);
        let line = [b"x".repeat(999), b"\n".to_vec()].concat();
        for _ in 0..200 {
            gather.push(&line).expect("room for 200 kB");
        }
        let announced = gather.bytes() as usize;
        let bytes = gather.take();
        assert_eq!(bytes.len(), announced);
        let found = groups(bytes);
        assert_eq!(found.iter().map(|group| group.1).sum::<u32>(), 200);
        assert!(found.iter().all(|group| group.2.len() <= GROUP_BYTES_MAX));
        assert_eq!(found[1].0, u64::from(found[0].1) + 1);
    }

    #[test]
    fn what_does_not_fit_is_refused_whole() {
        let mut gather = Gather::default();
        gather.begin(OF);
        let lines = b"0123456789abcde\n".repeat(1_000);
        while gather.push(&lines).is_ok() {}
        let (bytes, through_seq) = (gather.bytes(), gather.through_seq());
        assert!(bytes as usize <= GATHER_BYTES_MAX);
        assert_eq!(gather.push(&lines), Err(Full));
        assert_eq!((gather.bytes(), gather.through_seq()), (bytes, through_seq));
    }
}
