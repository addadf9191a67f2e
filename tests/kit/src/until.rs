//! Waiting for a condition with a deadline, instead of sleeping and hoping.

use std::time::Duration;

use tokio::time::Instant;

/// Pause between two looks: short against what is waited for, long enough that looking is not the load.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `check` answers, and returns its answer.
///
/// # Panics
/// If it still does not after `within`: the message names `what` was waited for and why the last look failed.
pub async fn until<T>(what: &str, within: Duration, mut check: impl AsyncFnMut() -> anyhow::Result<T>) -> T {
    let deadline = Instant::now() + within;
    let mut last = "it was never looked at to the end".to_owned();
    loop {
        match tokio::time::timeout_at(deadline, check()).await {
            Ok(Ok(answer)) => return answer,
            Ok(Err(error)) => last = format!("{error:#}"),
            Err(_) => {}
        }
        assert!(Instant::now() < deadline, "waited {within:?} for: {what}\n  the last look: {last}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Looks again and again for as long as `during`: `check` must hold every time.
///
/// # Panics
/// If a look fails: the message names `what` and why.
pub async fn holds(what: &str, during: Duration, mut check: impl AsyncFnMut() -> anyhow::Result<()>) {
    let end = Instant::now() + during;
    while Instant::now() < end {
        if let Err(error) = check().await {
            panic!("did not hold for {during:?}: {what}\n  {error:#}");
        }
        tokio::time::sleep(PAUSE).await;
    }
}
