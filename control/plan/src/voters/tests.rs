//! Random clusters, judged after each step.

use super::*;

/// Xorshift (Marsaglia, 2003): enough to make clusters, and the same ones each time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }
}

const LIMIT: Duration = Duration::from_secs(30);

fn cluster(dice: &mut Dice) -> Input {
    let mut input = Input { leader: 1, limit: LIMIT, joint: true, ..Input::default() };
    let zones = dice.roll(4);
    for id in 1..=1 + dice.roll(9) {
        let vote = match dice.roll(10) {
            0 => Vote::None,
            1 => Vote::Witness,
            _ => Vote::Voter,
        };
        let zone = (zones > 0).then(|| format!("z{}", dice.roll(zones)));
        let member = Member { name: format!("n{id}"), zone, vote, level: 2, heard: true, ..Member::default() };
        input.members.insert(id, member);
        if dice.roll(2) == 0 && input.voters.len() < VOTERS_MAX {
            input.voters.insert(id);
        } else {
            input.learners.insert(id);
        }
        misfortune(&mut input, id, dice);
    }
    // The leader leads by a majority.
    input.members.get_mut(&1).expect("the leader").vote = Vote::Voter;
    input.learners.remove(&1);
    input.voters.insert(1);
    for id in input.voters.clone() {
        let (up, majority) = input.majority(&input.voters);
        if up < majority {
            input.silent.insert(id, Duration::ZERO);
            input.members.get_mut(&id).expect("a member").failure = None;
        }
    }
    input
}

fn misfortune(input: &mut Input, id: u64, dice: &mut Dice) {
    let silent = match dice.roll(6) {
        0 => Duration::from_secs(40),
        1 => Duration::from_secs(5),
        _ => Duration::ZERO,
    };
    input.silent.insert(id, silent);
    input.lag.insert(id, if dice.roll(5) == 0 { LAG_MAX + 1 } else { dice.roll(LAG_MAX) });
    let member = input.members.get_mut(&id).expect("a member");
    member.leaving = dice.roll(8) == 0;
    member.failure = (dice.roll(10) == 0).then(|| "no space left on device".to_owned());
}

/// Carries the order out, as the store would, and checks what must hold of every step.
fn step(input: &mut Input, seed: u64) -> bool {
    let plan = plan(input);
    assert!(plan.orders.len() <= 1, "seed {seed}: one change at a time\n{plan}");
    let Some(Order::Vote { promote, demote }) = plan.orders.first() else { return false };
    let before = input.voters.clone();
    let after: BTreeSet<u64> = before.union(promote).copied().filter(|id| !demote.contains(id)).collect();
    for voters in [&before, &after] {
        let (up, majority) = input.majority(voters);
        assert!(up >= majority, "seed {seed}: no majority of {voters:?} answers\n{plan}");
    }
    for id in promote {
        let member = &input.members[id];
        let is_fit = member.vote != Vote::None && !member.leaving && member.failure.is_none();
        assert!(is_fit && input.lag(*id) <= LAG_MAX, "seed {seed}: {} got a vote\n{plan}", member.name);
    }
    assert!((1..=VOTERS_MAX).contains(&after.len()), "seed {seed}: {} voters\n{plan}", after.len());
    input.learners = input.learners.union(demote).copied().filter(|id| !promote.contains(id)).collect();
    input.voters = after;
    if !input.voters.contains(&input.leader) {
        // It handed over first.
        input.leader = *input.voters.iter().find(|id| input.is_there(**id)).expect("a majority answers");
    }
    true
}

/// What holds when nothing is left to do.
fn judge(input: &Input, seed: u64) {
    let told = format!("seed {seed}: {:?} of\n{}", input.voters, plan(input));
    let is_witness = |id: &&u64| input.vote(**id) == Vote::Witness;
    let (data, witnesses) = (
        input.members.keys().filter(|id| !is_witness(id) && (input.is_good(**id) || input.is_ready(**id))).count(),
        input.voters.iter().filter(is_witness).count(),
    );
    assert!(data < 3 || witnesses == 0, "a witness votes though three others could: {told}");
    let is_misfit = input.voters.iter().any(|id| input.must_go(*id));
    assert!(data < 3 || !is_misfit, "a misfit votes though three others could: {told}");
    let usable = input.voters.iter().filter(|id| input.is_good(**id)).count();
    assert!(data < 3 || usable > input.voters.len() / 2 + 1, "one more loss could be borne: {told}");
    let all_well = input.members.keys().all(|id| input.silence(*id).is_zero() && !input.must_go(*id));
    if all_well {
        let ready = input.learners.iter().all(|id| input.is_ready(*id) || input.vote(*id) == Vote::None);
        assert!(!ready || !input.voters.len().is_multiple_of(2), "an even number: {told}");
    }
}

#[test]
fn votes_of_random_clusters_settle_with_a_majority_at_every_step() {
    let mut ended_odd = 0;
    for seed in 1..=500_u64 {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut input = cluster(&mut dice);
        // Luck changes a few times, and between two changes the votes settle.
        for _ in 0..3 {
            let steps = (0..20).take_while(|_| step(&mut input, seed)).count();
            assert!(steps < 20, "seed {seed}: the votes do not settle\n{}", plan(&input));
            let voters = input.voters.clone();
            if !blocked(&input) {
                judge(&input, seed);
            }
            assert_eq!(input.voters, voters);
            ended_odd += usize::from(!voters.len().is_multiple_of(2));
            let unlucky = 1 + dice.roll(input.members.len() as u64);
            let before = input.clone();
            misfortune(&mut input, unlucky, &mut dice);
            let (up, majority) = input.majority(&input.voters);
            if unlucky == input.leader || up < majority {
                input = before;
            }
        }
    }
    assert!(ended_odd > 1_000, "only {ended_odd} of 1,500 settled on an odd number");
}

/// Whether a change is wanted that too few voters answer for.
fn blocked(input: &Input) -> bool {
    plan(input).report.iter().any(|line| line.contains("cannot change now"))
}

#[test]
fn losses_are_told_with_zones() {
    let mut input = Input { leader: 1, limit: LIMIT, joint: true, ..Input::default() };
    for id in 1..=3 {
        let zone = Some(format!("z{id}"));
        input.members.insert(id, Member { name: format!("n{id}"), zone, heard: true, ..Member::default() });
        input.voters.insert(id);
        input.silent.insert(id, Duration::ZERO);
    }
    assert_eq!(survives(&input), "3 voters: any one of them may be lost, and any one zone with all its nodes");
    input.silent.insert(3, Duration::from_secs(2));
    assert_eq!(survives(&input), "2 of 3 voters answer: none of them may be lost");
    input.silent.insert(2, Duration::from_secs(2));
    assert_eq!(survives(&input), "1 of 3 voters answer: no majority, so nothing can be written");
    input.voters = BTreeSet::from([1]);
    assert_eq!(survives(&input), "1 voter: no other node can take over");
}
