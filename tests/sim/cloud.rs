//! The cloud: what it makes of a request, by its mood.

use edge_agent::edge::cloud::verdict::verdict;
use edge_agent::engine::cloud::Verdict;

use crate::dice::Dice;

/// How the cloud is at present.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mood {
    /// It takes everything.
    Good,
    /// It takes its time.
    Slow,
    /// It has it, half the time, and its answer never comes.
    AnswerLost,
    /// Requests do not get there.
    Away,
    /// It answers with this status.
    Says(u16),
    /// It will not have every seventh record.
    Picky,
    /// It takes no more than so many records at a time.
    Small(u64),
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Answer {
    pub(crate) verdict: Verdict,
    pub(crate) status: u16,
    pub(crate) retry_after_ms: Option<u32>,
    /// Whether the cloud has the records now.
    pub(crate) taken: bool,
    /// `None`: no answer ever comes.
    pub(crate) in_ms: Option<u64>,
}

impl Mood {
    /// What it makes of a request with so many records, some of them perhaps bad.
    pub(crate) fn answer(self, dice: &mut Dice, records: u64, bad: bool) -> Answer {
        let in_ms = Some(dice.below(if self == Self::Slow { 15_000 } else { 300 }));
        let says = |status: u16, in_ms| Answer {
            verdict: verdict(status),
            status,
            retry_after_ms: None,
            taken: verdict(status) == Verdict::Accepted,
            in_ms,
        };
        match self {
            Self::Picky if bad => says(400, in_ms),
            Self::Small(most) if records > most => says(413, in_ms),
            Self::Good | Self::Slow | Self::Picky | Self::Small(_) => says(200, in_ms),
            Self::AnswerLost => {
                let hangs = dice.one_in(2);
                let verdict = Verdict::Unknown;
                let in_ms = in_ms.filter(|_| !hangs);
                Answer { verdict, taken: dice.one_in(2), ..says(0, in_ms) }
            }
            Self::Away => Answer { verdict: Verdict::Retry, taken: false, ..says(0, in_ms) },
            Self::Says(status) => {
                let asked_ms = u32::try_from(dice.below(5_000)).expect("small");
                Answer { retry_after_ms: dice.one_in(3).then_some(asked_ms), ..says(status, in_ms) }
            }
        }
    }
}
