//! `poll_oneoff`: waiting for a clock, for standard input, or for nothing, since files never make anybody wait.

use std::time::Duration;

use tokio::time::Instant;

use super::descriptors::{self, Entry, Preview1};
use super::errno::{Errno, Outcome, Stop};
use super::guest::Guest;
use super::process::Clock;

/// What one call waits for; a program that waits for more is not one that we have seen.
const SUBSCRIPTIONS_MAX: u32 = 1024;

const SUBSCRIPTION_BYTES: u32 = 48;
const EVENT_BYTES: u32 = 32;

/// The longest that is waited for, which nobody lives to see: a timer cannot be set to every number a guest may give.
const FOR_EVER: Duration = Duration::from_hours(24 * 365);

/// What a guest waits for.
enum Wait {
    Until(Instant),
    Input,
    /// It need not: it is so, or it is an error.
    Now(u16),
}

struct Subscription {
    userdata: [u8; 8],
    kind: u8,
    wait: Wait,
}

pub(super) async fn poll_oneoff(guest: &mut Guest<'_>, given: u32, events: u32, count: u32, done: u32) -> Outcome<()> {
    if count == 0 || count > SUBSCRIPTIONS_MAX {
        return Err(Errno::Inval.into());
    }
    guest.piece(events, count * EVENT_BYTES)?;
    let mut subscriptions = Vec::with_capacity(count as usize);
    for index in 0..count {
        let at = given.checked_add(index * SUBSCRIPTION_BYTES).ok_or(Errno::Fault)?;
        subscriptions.push(subscription(guest, at)?);
    }
    let input = wait(guest, &subscriptions).await;

    let now = Instant::now();
    let mut happened = 0;
    for subscription in &subscriptions {
        let (error, bytes) = match subscription.wait {
            Wait::Until(instant) if instant <= now => (0, 0),
            Wait::Input if input.is_some() => (0, input.unwrap_or_default()),
            Wait::Now(error) => (error, 1),
            Wait::Until(_) | Wait::Input => continue,
        };
        let mut event = [0; EVENT_BYTES as usize];
        event[..8].copy_from_slice(&subscription.userdata);
        event[8..10].copy_from_slice(&error.to_le_bytes());
        event[10] = subscription.kind;
        event[16..24].copy_from_slice(&bytes.to_le_bytes());
        guest.write(events + happened * EVENT_BYTES, &event)?;
        happened += 1;
    }
    guest.put_u32(done, happened)
}

/// Until the first of them happens. Says how many bytes of input are there, if that was asked and is so.
async fn wait(guest: &mut Guest<'_>, subscriptions: &[Subscription]) -> Option<u64> {
    let now = subscriptions.iter().any(|it| matches!(it.wait, Wait::Now(_)));
    let until = subscriptions.iter().filter_map(|it| match it.wait {
        Wait::Until(instant) => Some(instant),
        _ => None,
    });
    let until = if now { Some(Instant::now()) } else { until.min() };
    let until = until.unwrap_or_else(|| Instant::now() + FOR_EVER);
    if !subscriptions.iter().any(|it| matches!(it.wait, Wait::Input)) {
        tokio::time::sleep_until(until).await;
        return None;
    }
    tokio::select! {
        biased;
        input = descriptors::input(guest.host) => Some(input.map_or(0, |input| input.buffer().len() as u64)),
        () = tokio::time::sleep_until(until) => None,
    }
}

fn subscription(guest: &mut Guest<'_>, at: u32) -> Outcome<Subscription> {
    let bytes = guest.read::<{ SUBSCRIPTION_BYTES as usize }>(at)?;
    let u32_at = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    let mut userdata = [0; 8];
    userdata.copy_from_slice(&bytes[..8]);
    let kind = bytes[8];
    let wait = match kind {
        0 => {
            let timeout = u64::from(u32_at(28)) << 32 | u64::from(u32_at(24));
            clock(guest, u32_at(16), timeout, bytes[40] & 1 == 1)
        }
        1 | 2 => descriptor(guest, u32_at(16), kind == 1),
        _ => return Err(Errno::Inval.into()),
    };
    let wait = match wait {
        Ok(wait) => wait,
        Err(Stop::Errno(errno)) => Wait::Now(errno as u16),
        Err(trap) => return Err(trap),
    };
    Ok(Subscription { userdata, kind, wait })
}

fn clock(guest: &mut Guest<'_>, id: u32, nanoseconds: u64, absolute: bool) -> Outcome<Wait> {
    let clock = Clock::of(id).map_err(|_| Errno::Inval)?;
    let timeout = Duration::from_nanos(nanoseconds);
    let timeout = if absolute { timeout.saturating_sub(clock.now(guest)?) } else { timeout };
    Ok(Wait::Until(Instant::now() + timeout.min(FOR_EVER)))
}

fn descriptor(guest: &mut Guest<'_>, fd: u32, read: bool) -> Outcome<Wait> {
    match Preview1::of(guest.host)?.get(fd)? {
        Entry::Input if read => Ok(Wait::Input),
        Entry::Output(_) if !read => Ok(Wait::Now(0)),
        Entry::File(_) => Ok(Wait::Now(0)),
        _ => Err(Errno::Badf.into()),
    }
}
