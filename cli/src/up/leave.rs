//! A graceful stop: leadership goes to another member and this one's vote with it, so that its absence costs the others
//! nothing.
//!
//! Not here: who votes instead (the controller of voters on the leader, which hears by heartbeat that this node leaves).

use std::sync::atomic::Ordering;
use std::time::Duration;

use super::heartbeat::Heart;

/// Handing over takes an election and a change of votes. After this the node stops all the same: the others replace it
/// when it has been silent for long.
const LEAVE_MAX: Duration = Duration::from_secs(4);
/// Between two looks: a change of votes takes a few round trips and an fsync.
const PAUSE: Duration = Duration::from_millis(50);

/// Gives up leadership and vote, if somebody can do with them.
pub(crate) async fn leave(heart: &Heart) {
    heart.leaving.store(true, Ordering::Relaxed);
    let leaving = async {
        while !is_out(heart).await {
            tokio::time::sleep(PAUSE).await;
        }
    };
    if tokio::time::timeout(LEAVE_MAX, leaving).await.is_err() {
        tracing::warn!("this node stops with its vote: the others could not take it over in time");
    }
}

async fn is_out(heart: &Heart) -> bool {
    let status = heart.store.status().borrow().clone();
    let others = status.voters.iter().filter(|id| **id != status.member).count();
    if status.failure.is_some() || !status.voters.contains(&status.member) || heart.members.all().len() == 1 {
        return true;
    }
    if status.is_leader() && others > 0 {
        heart.store.step_down().await;
    }
    match heart.tell().await {
        Some(why) => {
            tracing::info!("this node {why}");
            true
        }
        None => false,
    }
}
