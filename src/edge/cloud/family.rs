//! Which of a host's addresses are tried, in which order, and for how long each.
//!
//! An address family that swallows packets costs a request its time, so what became of one
//! request says how the next begins. It must outlive an uplink, which a deadline ends: the
//! [`Track`] is a word in memory that the agent's uplinks share.
//!
//! | what the last request left | the next begins with |
//! |---|---|
//! | nothing | the resolver's first address |
//! | an answer, by family F | F |
//! | no connection, F first | the other family |
//! | F, still connecting: it was ended | the other family |
//! | F, connected, no answer: once | F: the cloud may be slow |
//! | F, connected, no answer: twice in a row | the other family: large packets may be lost |
//!
//! # Invariants
//!
//! - A1: a request tries every address that it is given, if there is time: a family that fails at
//!   once (no route, refused) costs nothing.
//! - A2: the family that a request begins with has all its time to itself, so that a slow network
//!   gets a chance; at the very first request both share it.

use std::net::SocketAddr;

use crate::limits::{ADDRESSES_MAX, UNANSWERED_MAX};

/// An address family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl Family {
    /// That of an address.
    pub const fn of(address: &SocketAddr) -> Self {
        match address {
            SocketAddr::V4(_) => Self::V4,
            SocketAddr::V6(_) => Self::V6,
        }
    }

    /// The other one.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::V4 => Self::V6,
            Self::V6 => Self::V4,
        }
    }
}

/// How far a request came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// To its end.
    Over,
    /// Trying to connect.
    Connecting,
    /// Connected.
    Connected,
}

/// What requests leave to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Track {
    /// The family that the last request used or, once that is over, that the next begins with.
    family: Option<Family>,
    phase: Phase,
    /// Requests in a row that got a connection by `family` and no answer.
    unanswered: u8,
}

impl Track {
    /// From the shared word; 0: nothing is known.
    pub const fn from_word(word: u32) -> Self {
        let family = match word & 3 {
            1 => Some(Family::V4),
            2 => Some(Family::V6),
            _ => None,
        };
        let phase = match (word >> 2) & 3 {
            1 => Phase::Connecting,
            2 => Phase::Connected,
            _ => Phase::Over,
        };
        Self { family, phase, unanswered: (word >> 8).to_le_bytes()[0] }
    }

    /// For the shared word.
    pub const fn to_word(self) -> u32 {
        let family = match self.family {
            None => 0,
            Some(Family::V4) => 1,
            Some(Family::V6) => 2,
        };
        let phase = match self.phase {
            Phase::Over => 0,
            Phase::Connecting => 1,
            Phase::Connected => 2,
        };
        family | phase << 2 | (self.unanswered as u32) << 8
    }

    /// A request begins: what the last one left, judged; [`Self::family`] is what to begin with.
    #[must_use]
    pub fn begin(self) -> Self {
        let Some(family) = self.family else { return self };
        match self.phase {
            Phase::Over => self,
            Phase::Connecting => self.failed(family),
            Phase::Connected => match self.unanswered.saturating_add(1) {
                UNANSWERED_MAX.. => self.failed(family),
                unanswered => Self { phase: Phase::Over, unanswered, ..self },
            },
        }
    }

    /// The family to begin with; `None`: as the resolver orders.
    pub const fn family(self) -> Option<Family> {
        self.family
    }

    /// An address of this family is about to be tried.
    #[must_use]
    pub fn connecting(self, family: Family) -> Self {
        let unanswered = if self.family == Some(family) { self.unanswered } else { 0 };
        Self { family: Some(family), phase: Phase::Connecting, unanswered }
    }

    /// It could be connected to.
    #[must_use]
    pub const fn connected(self) -> Self {
        Self { phase: Phase::Connected, ..self }
    }

    /// Somebody answered.
    #[must_use]
    pub const fn answered(self) -> Self {
        Self { phase: Phase::Over, unanswered: 0, ..self }
    }

    /// There was no connection; addresses of this family were tried first.
    #[must_use]
    pub const fn failed(self, first: Family) -> Self {
        Self { family: Some(first.other()), phase: Phase::Over, unanswered: 0 }
    }
}

/// An address to try.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Attempt {
    /// The address.
    pub address: SocketAddr,
    /// How many attempts share what time is left: itself and some of those behind it.
    pub sharing: u32,
}

/// The attempts of a request that begins with `family`, if there are such addresses (A1, A2); at
/// most [`ADDRESSES_MAX`] of each family.
pub fn attempts(addresses: &[SocketAddr], family: Option<Family>) -> Vec<Attempt> {
    let of = |family| move |address: &&SocketAddr| Family::of(address) == family;
    let some = |family| addresses.iter().filter(of(family)).take(ADDRESSES_MAX).copied();
    let first = family.filter(|family| addresses.iter().any(|address| of(*family)(&address)));
    let rounds: [Vec<SocketAddr>; 2] = if let Some(family) = first {
        [some(family).collect(), some(family.other()).collect()]
    } else {
        let kept: Vec<_> = some(Family::V4).chain(some(Family::V6)).collect();
        let in_order = addresses.iter().filter(|address| kept.contains(address));
        [in_order.copied().collect(), Vec::new()]
    };
    let shared = |round: Vec<SocketAddr>| {
        let mut sharing = u32::try_from(round.len()).expect("a few");
        round.into_iter().map(move |address| {
            sharing -= 1;
            Attempt { address, sharing: sharing + 1 }
        })
    };
    rounds.into_iter().flat_map(shared).collect()
}

#[cfg(test)]
mod tests {
    use super::Family::{V4, V6};
    use super::*;

    const NOTHING: Track = Track { family: None, phase: Phase::Over, unanswered: 0 };

    fn track(family: Family, phase: Phase, unanswered: u8) -> Track {
        Track { family: Some(family), phase, unanswered }
    }

    #[test]
    fn the_next_request_begins_by_what_the_last_one_left() {
        for (left, expected) in [
            (NOTHING, None),
            (track(V4, Phase::Over, 0), Some(V4)),
            (track(V4, Phase::Connecting, 0), Some(V6)),
            (track(V6, Phase::Connecting, 1), Some(V4)),
            (track(V6, Phase::Connected, 0), Some(V6)),
            (track(V6, Phase::Connected, 1), Some(V4)),
            (track(V4, Phase::Connected, 1), Some(V6)),
            (track(V4, Phase::Connected, u8::MAX), Some(V6)),
        ] {
            assert_eq!(left.begin().family(), expected, "{left:?}");
            assert_eq!(left.begin().phase, Phase::Over, "{left:?}");
            assert_eq!(left.begin().begin(), left.begin(), "judged once: {left:?}");
        }
    }

    #[test]
    fn a_request_leaves_what_became_of_it() {
        let connected = NOTHING.begin().connecting(V6).connected();
        assert_eq!(connected.answered(), track(V6, Phase::Over, 0));
        let once = connected.begin();
        assert_eq!((once.family(), once.unanswered), (Some(V6), 1), "it may have been slow");
        assert_eq!(once.connecting(V6).connected().answered(), track(V6, Phase::Over, 0));
        let twice = once.connecting(V6).connected().begin();
        assert_eq!(twice, track(V4, Phase::Over, 0), "it counts anew for the other");
        assert_eq!(once.connecting(V4).unanswered, 0, "another family has its own count");
        assert_eq!(NOTHING.connecting(V6).connecting(V4).failed(V6), track(V4, Phase::Over, 0));
        let mut alternating = NOTHING;
        for expected in [V4, V6, V4, V6] {
            let first = alternating.begin().family().unwrap_or(V6);
            alternating = alternating.begin().connecting(first).failed(first);
            assert_eq!(alternating.begin().family(), Some(expected));
        }
    }

    #[test]
    fn a_track_reads_back_from_its_word() {
        assert_eq!(Track::from_word(0), NOTHING);
        for family in [V4, V6] {
            for phase in [Phase::Over, Phase::Connecting, Phase::Connected] {
                for unanswered in [0, 1, u8::MAX] {
                    let track = track(family, phase, unanswered);
                    assert_eq!(Track::from_word(track.to_word()), track);
                }
            }
        }
    }

    fn addresses(list: &[&str]) -> Vec<SocketAddr> {
        list.iter().map(|ip| SocketAddr::new(ip.parse().expect("an address"), 443)).collect()
    }

    #[test]
    fn attempts_begin_with_the_family_and_leave_none_out() {
        let both = ["fd00::1", "10.0.0.1", "fd00::2"];
        for (family, of, expected) in [
            (None, &both[..], &[("fd00::1", 3), ("10.0.0.1", 2), ("fd00::2", 1)][..]),
            (Some(V6), &both, &[("fd00::1", 2), ("fd00::2", 1), ("10.0.0.1", 1)]),
            (Some(V4), &both, &[("10.0.0.1", 1), ("fd00::1", 2), ("fd00::2", 1)]),
            (Some(V6), &["10.0.0.1", "10.0.0.2"], &[("10.0.0.1", 2), ("10.0.0.2", 1)]),
            (Some(V4), &["fd00::1"], &[("fd00::1", 1)]),
            (None, &[], &[]),
        ] {
            let found = attempts(&addresses(of), family);
            let found: Vec<_> =
                found.iter().map(|a| (a.address.ip().to_string(), a.sharing)).collect();
            let expected: Vec<_> = expected.iter().map(|(ip, n)| ((*ip).to_owned(), *n)).collect();
            assert_eq!(found, expected, "{family:?} of {of:?}");
        }
    }

    #[test]
    fn many_addresses_of_one_family_do_not_push_out_the_other() {
        let many: Vec<String> = (1..=100).map(|n| format!("fd00::{n:x}")).collect();
        let mut list: Vec<&str> = many.iter().map(String::as_str).collect();
        list.push("10.0.0.1");
        for family in [None, Some(V4), Some(V6)] {
            let found = attempts(&addresses(&list), family);
            assert_eq!(found.len(), ADDRESSES_MAX + 1, "{family:?}");
            assert!(found.iter().any(|attempt| attempt.address.is_ipv4()), "{family:?}");
        }
    }
}
