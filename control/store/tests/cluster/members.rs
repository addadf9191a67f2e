//! Who takes part.

use wk_store::{Expect, Limits, MemberChange, MemberError, MemberId, ReceiveError, Role, Start, WriteError};

use crate::harness::{Cluster, eventually, put, text};

#[tokio::test]
async fn a_learner_catches_up_votes_and_leaves_for_good() {
    let mut cluster = Cluster::alone(Limits::default());
    cluster.peer(1).write(put("a", Expect::Absent, "1")).await.expect("is written");
    cluster.start(2, Start::Join);
    let second = cluster.peer(2);
    let leader = cluster.peer(1);
    leader.change_members(MemberChange::AddLearner(MemberId(2))).await.expect("is added");
    leader.change_members(MemberChange::AddLearner(MemberId(2))).await.expect("is there already");
    eventually("the learner has the data", async || text(&second.view(), "a")).await;
    assert_eq!(second.status().borrow().role, Role::Learner);
    eventually("the leader knows how far it is", async || {
        let status = leader.status().borrow().clone();
        (status.lag.get(&MemberId(2)) == Some(&0) && status.active.contains(&MemberId(2))).then_some(())
    })
    .await;
    second.write(put("b", Expect::Absent, "2")).await.expect("a learner passes writes on");
    leader.change_members(MemberChange::promote(MemberId(2))).await.expect("is promoted");
    cluster.settled(&[1, 2]).await;

    let elsewhere = second.change_members(MemberChange::Remove(MemberId(1))).await;
    assert!(matches!(elsewhere, Err(MemberError::NotLeader { leader: Some(MemberId(1)) })), "{elsewhere:?}");
    let itself = leader.change_members(MemberChange::Remove(MemberId(1))).await;
    assert!(matches!(itself, Err(MemberError::Refused(_))), "{itself:?}");

    leader.change_members(MemberChange::Remove(MemberId(2))).await.expect("is removed");
    let back = leader.change_members(MemberChange::AddLearner(MemberId(2))).await;
    assert!(matches!(back, Err(MemberError::Refused(_))), "an id is given once");
    cluster.kill(2).await;
    leader.write(put("c", Expect::Absent, "3")).await.expect("is alone again");
}

#[tokio::test]
async fn leadership_is_handed_over_without_waiting_for_an_election() {
    let cluster = Cluster::three(Limits::default()).await;
    let first = cluster.leader(&[1, 2, 3]).await;
    cluster.peer(first).step_down().await;
    let second = eventually("another leads", async || {
        let leader = cluster.peer(first).status().borrow().leader?;
        (leader.0 != first).then_some(leader.0)
    })
    .await;
    cluster.peer(first).write(put("a", Expect::Absent, "1")).await.expect("is written");
    // Not the leader: nothing to hand over.
    cluster.peer(first).step_down().await;
    assert_eq!(cluster.leader(&[1, 2, 3]).await, second);
}

#[tokio::test]
async fn the_leader_leaves_after_handing_over_and_two_go_on() {
    let cluster = Cluster::three(Limits::default()).await;
    let old = cluster.leader(&[1, 2, 3]).await;
    cluster.peer(old).step_down().await;
    let others: Vec<u64> = (1..=3).filter(|&id| id != old).collect();
    cluster.leader(&others).await;
    cluster.kill(old).await;
    cluster.change(MemberChange::Remove(MemberId(old))).await;
    cluster.settled(&others).await;
    for id in others {
        cluster.peer(id).write(put("a", Expect::Any, "x")).await.expect("two of two are up");
    }
}

fn vote(promote: &[u64], demote: &[u64]) -> MemberChange {
    let ids = |ids: &[u64]| ids.iter().copied().map(MemberId).collect();
    MemberChange::Vote { promote: ids(promote), demote: ids(demote) }
}

#[tokio::test]
async fn voters_change_places_in_one_step() {
    let mut cluster = Cluster::three(Limits::default()).await;
    for id in [4, 5] {
        cluster.start(id, Start::Join);
        cluster.change(MemberChange::AddLearner(MemberId(id))).await;
    }
    let leader = cluster.leader(&[1, 2, 3]).await;
    let others: Vec<u64> = (1..=3).filter(|&id| id != leader).collect();
    let itself = cluster.peer(leader).change_members(vote(&[4, 5], &[leader])).await;
    assert!(matches!(itself, Err(MemberError::Refused(_))), "{itself:?}");
    cluster.kill(others[0]).await;
    cluster.peer(leader).change_members(vote(&[4, 5], &[others[0]])).await.expect("are promoted");
    cluster.peer(leader).change_members(MemberChange::Remove(MemberId(others[0]))).await.expect("is removed");
    cluster.settled(&[leader, others[1], 4, 5]).await;
    cluster.kill(leader).await;
    let next = cluster.leader(&[others[1], 4, 5]).await;
    cluster.peer(next).write(put("a", Expect::Absent, "1")).await.expect("three of four are a majority");
}

#[tokio::test]
async fn two_members_and_a_witness_survive_the_loss_of_either() {
    let mut cluster = Cluster::alone(Limits::default());
    cluster.witnesses.insert(3);
    cluster.start(2, Start::Join);
    cluster.start(3, Start::Join);
    cluster.change(MemberChange::AddLearner(MemberId(2))).await;
    cluster.change(MemberChange::AddWitness(MemberId(3))).await;
    cluster.change(vote(&[2, 3], &[])).await;
    cluster.settled(&[1, 2, 3]).await;
    let witness = cluster.peer(3);
    let refused = witness.write(put("a", Expect::Any, "x")).await;
    assert!(matches!(refused, Err(WriteError::Unavailable { .. })), "{refused:?}");
    for round in 0..3 {
        let leader = cluster.leader(&[1, 2]).await;
        let other = 3 - leader;
        let name = round.to_string();
        cluster.peer(other).write(put(&name, Expect::Absent, "secret")).await.expect("both are up");
        cluster.kill(leader).await;
        cluster.leader(&[other]).await;
        cluster.peer(other).write(put("a", Expect::Any, &name)).await.expect("one and the witness are up");
        cluster.resume(leader);
        eventually("it has caught up", async || {
            (text(&cluster.peer(leader).view(), "a") == Some(name.clone())).then_some(())
        })
        .await;
    }
    assert!(witness.view().is_empty("things"));
    assert!(cluster.has_on_disk(1, "secret") && !cluster.has_on_disk(3, "secret"));
    cluster.kill(3).await;
    cluster.peer(1).write(put("a", Expect::Any, "end")).await.expect("two of three are up");
}

#[tokio::test]
async fn a_failed_disk_takes_the_peer_out_and_not_the_cluster() {
    let cluster = Cluster::alone(Limits::default());
    let peer = cluster.peer(1);
    // A message that only a member whose disk lost its log can get.
    let lost_log = b"\x01\x08\x08\x10\x01\x18\x02\x20\x63\x40\xe7\x07";
    let message = bytes::Bytes::from_static(lost_log);
    let refused = peer.receive(MemberId(3), message.clone());
    assert!(matches!(refused, Err(ReceiveError::NotTheirs { claimed: MemberId(2), .. })), "{refused:?}");
    peer.receive(MemberId(2), message).expect("is taken");
    let mut status = peer.status();
    let gave_up = status.wait_for(|status| status.failure.is_some()).await.expect("reports").failure.clone();
    assert!(gave_up.expect("says why").contains("join again as a new member"));
}
