//! What is said of each member, and of the whole: for `wk cluster status` and the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::{AWAY_AFTER, Input, LAG_MAX, Vote, choice, zones};

/// Why a member votes, or why it does not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It votes, and all is well.
    Votes,
    /// It votes and is not heard; the time until another takes its place, if one would.
    SilentVoter {
        /// For how long.
        silent: Duration,
        /// Until it is replaced. Zero: now, but nobody is ready.
        left: Duration,
    },
    /// It should not vote, and too few others could.
    Kept {
        /// Why it should not.
        because: String,
    },
    /// It is about to get a vote.
    Promoted,
    /// It is about to lose its vote.
    Demoted {
        /// Why.
        because: String,
    },
    /// It was admitted and is not in Raft yet.
    New,
    /// It does not want a vote.
    NoVote,
    /// Its disk failed.
    Failed {
        /// How.
        reason: String,
    },
    /// It is stopping, or has stopped.
    Leaving {
        /// Whether it is gone.
        gone: bool,
    },
    /// It has no vote and is not heard.
    Silent {
        /// For how long; nothing if it never was.
        silent: Option<Duration>,
    },
    /// Its log is too far behind for a vote.
    CatchingUp {
        /// Entries that it lacks.
        behind: u64,
    },
    /// It is a witness, and not needed.
    SpareWitness,
    /// It could vote and is not needed.
    Enough {
        /// How many vote.
        voters: usize,
        /// How many members could.
        candidates: usize,
    },
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Votes => f.write_str("votes"),
            Self::SilentVoter { silent, left } if left.is_zero() => {
                write!(f, "silent for {}; keeps its vote, nobody is ready to replace it", seconds(*silent))
            }
            Self::SilentVoter { silent, left } => {
                write!(f, "silent for {}; replaced in {}", seconds(*silent), seconds(*left))
            }
            Self::Kept { because } => write!(f, "{because}; keeps its vote, too few others could vote"),
            Self::Promoted => f.write_str("gets a vote"),
            Self::Demoted { because } => write!(f, "loses its vote: {because}"),
            Self::New => f.write_str("is being added"),
            Self::NoVote => f.write_str("does not vote: --no-vote"),
            Self::Failed { reason } => write!(f, "does not vote: its disk failed: {reason}"),
            Self::Leaving { gone: false } => f.write_str("is stopping and has given up its vote"),
            Self::Leaving { gone: true } => f.write_str("was stopped"),
            Self::Silent { silent: Some(silent) } => write!(f, "silent for {}", seconds(*silent)),
            Self::Silent { silent: None } => f.write_str("not heard yet"),
            Self::CatchingUp { behind } => write!(f, "catching up: {} behind", grouped(*behind)),
            Self::SpareWitness => f.write_str("waits: a witness votes beside exactly two nodes that may vote"),
            Self::Enough { voters: 1, candidates: 0..=2 } => {
                f.write_str("waits: two votes bear no loss either; a third node or a witness would make three")
            }
            Self::Enough { voters: 1, .. } => f.write_str("waits: 1 voter is enough until two more are ready"),
            Self::Enough { voters, .. } => write!(f, "waits: {voters} voters are enough"),
        }
    }
}

/// Why each member votes or not, by id.
pub fn explain(input: &Input) -> BTreeMap<u64, Why> {
    let wanted = if input.joint { choice::wanted(input) } else { choice::one_more(input) };
    let ids = input.members.keys().chain(&input.voters).chain(&input.learners);
    ids.map(|id| (*id, why(input, *id, &wanted))).collect()
}

fn why(input: &Input, id: u64, wanted: &BTreeSet<u64>) -> Why {
    let silent = input.silence(id);
    match (input.voters.contains(&id), wanted.contains(&id)) {
        (true, true) => match misfit(input, id) {
            Some(because) => Why::Kept { because },
            None if silent >= AWAY_AFTER => Why::SilentVoter { silent, left: input.limit.saturating_sub(silent) },
            None => Why::Votes,
        },
        (true, false) => {
            let because = misfit(input, id).unwrap_or_else(|| {
                let away = silent > input.limit;
                if away { format!("silent for {}", seconds(silent)) } else { "others are better placed".to_owned() }
            });
            Why::Demoted { because }
        }
        (false, true) => Why::Promoted,
        (false, false) => learner(input, id, silent, wanted.len()),
    }
}

fn learner(input: &Input, id: u64, silent: Duration, voters: usize) -> Why {
    let Some(member) = input.members.get(&id).filter(|_| input.learners.contains(&id)) else { return Why::New };
    let candidates = input.members.values().filter(|member| member.vote == Vote::Voter).count();
    match () {
        () if member.failure.is_some() => Why::Failed { reason: member.failure.clone().unwrap_or_default() },
        () if member.leaving => Why::Leaving { gone: silent >= AWAY_AFTER },
        () if silent >= AWAY_AFTER => Why::Silent { silent: (silent < Duration::MAX).then_some(silent) },
        () if member.vote == Vote::None => Why::NoVote,
        () if input.lag(id) > LAG_MAX => Why::CatchingUp { behind: input.lag(id) },
        () if !member.heard => Why::Silent { silent: None },
        () if member.vote == Vote::Witness => Why::SpareWitness,
        () => Why::Enough { voters, candidates },
    }
}

/// Why a voter should not be one, whether it is heard or not.
fn misfit(input: &Input, id: u64) -> Option<String> {
    let member = input.members.get(&id)?;
    match member.vote {
        Vote::None => Some("--no-vote".to_owned()),
        _ if member.leaving => Some("is stopping".to_owned()),
        Vote::Voter | Vote::Witness => member.failure.as_ref().map(|reason| format!("its disk failed: {reason}")),
    }
}

/// How many losses the voters bear now, in one line.
pub fn survives(input: &Input) -> String {
    let voters = input.voters.len();
    let (up, majority) = input.majority(&input.voters);
    let there = match (voters, up) {
        (1, _) => "1 voter".to_owned(),
        (voters, up) if voters == up => format!("{voters} voters"),
        (voters, up) => format!("{up} of {voters} voters answer"),
    };
    let nodes = match up.checked_sub(majority) {
        None => "no majority, so nothing can be written",
        Some(0) if voters == 1 => "no other node can take over",
        Some(0) => "none of them may be lost",
        Some(1) => "any one of them may be lost",
        Some(_) => "any two of them may be lost",
    };
    match zones::may_be_lost(input, &input.voters) {
        // With some silent, a zone more is not promised.
        zones if zones > 0 && voters == up => {
            let zones = if zones == 1 { "any one zone".to_owned() } else { format!("any {zones} zones") };
            format!("{there}: {nodes}, and {zones} with all its nodes")
        }
        _ => format!("{there}: {nodes}"),
    }
}

fn seconds(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds < 120 => format!("{seconds} s"),
        seconds if seconds < 2 * 60 * 60 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / (60 * 60)),
    }
}

/// `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
