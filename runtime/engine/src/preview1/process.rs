//! Arguments, environment, clocks, random numbers, and the end.

use std::time::{Duration, SystemTime};

use wasmtime_wasi::p2::bindings::random::random::Host as _;
use wasmtime_wasi::random::WasiRandomView as _;

use super::descriptors::Preview1;
use super::errno::{Errno, Outcome};
use super::guest::Guest;

/// Random bytes of one call; the host makes them in memory.
const RANDOM_BYTES_MAX: u32 = 1 << 20;

/// Which clock.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Clock {
    Realtime,
    Monotonic,
}

impl Clock {
    pub(super) fn of(id: u32) -> Outcome<Self> {
        match id {
            0 => Ok(Self::Realtime),
            1 => Ok(Self::Monotonic),
            // Time on a core is for the node to know.
            _ => Err(Errno::Badf.into()),
        }
    }

    /// Since 1970, or since the guest's first look at its descriptors.
    pub(super) fn now(self, guest: &mut Guest<'_>) -> Outcome<Duration> {
        match self {
            Self::Realtime => {
                let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
                since.map_err(|_| Errno::Overflow.into())
            }
            Self::Monotonic => Ok(Preview1::of(guest.host)?.born.elapsed()),
        }
    }
}

pub(super) fn nanoseconds(duration: Duration) -> Outcome<u64> {
    u64::try_from(duration.as_nanos()).map_err(|_| Errno::Overflow.into())
}

pub(super) fn clock_res_get(guest: &mut Guest<'_>, id: u32, at: u32) -> Outcome<()> {
    Clock::of(id)?;
    guest.put_u64(at, 1)
}

pub(super) fn clock_time_get(guest: &mut Guest<'_>, id: u32, at: u32) -> Outcome<()> {
    let now = Clock::of(id)?.now(guest)?;
    guest.put_u64(at, nanoseconds(now)?)
}

fn arguments(guest: &Guest<'_>) -> Vec<Vec<u8>> {
    guest.host.sandbox.args.iter().map(|text| text.clone().into_bytes()).collect()
}

fn environment(guest: &Guest<'_>) -> Vec<Vec<u8>> {
    guest.host.sandbox.env.iter().map(|(name, value)| format!("{name}={value}").into_bytes()).collect()
}

pub(super) fn args_sizes_get(guest: &mut Guest<'_>, count: u32, size: u32) -> Outcome<()> {
    sizes(guest, &arguments(guest), count, size)
}

pub(super) fn args_get(guest: &mut Guest<'_>, pointers: u32, buffer: u32) -> Outcome<()> {
    let texts = arguments(guest);
    texts_get(guest, texts, pointers, buffer)
}

pub(super) fn environ_sizes_get(guest: &mut Guest<'_>, count: u32, size: u32) -> Outcome<()> {
    sizes(guest, &environment(guest), count, size)
}

pub(super) fn environ_get(guest: &mut Guest<'_>, pointers: u32, buffer: u32) -> Outcome<()> {
    let texts = environment(guest);
    texts_get(guest, texts, pointers, buffer)
}

fn sizes(guest: &mut Guest<'_>, texts: &[Vec<u8>], count: u32, size: u32) -> Outcome<()> {
    let bytes: usize = texts.iter().map(|text| text.len() + 1).sum();
    guest.put_u32(count, u32::try_from(texts.len()).map_err(|_| Errno::Overflow)?)?;
    guest.put_u32(size, u32::try_from(bytes).map_err(|_| Errno::Overflow)?)
}

/// Each text with a zero at its end, one after another in `buffer`, and where each begins.
fn texts_get(guest: &mut Guest<'_>, texts: Vec<Vec<u8>>, mut pointers: u32, mut buffer: u32) -> Outcome<()> {
    for mut text in texts {
        text.push(0);
        guest.put_u32(pointers, buffer)?;
        guest.write(buffer, &text)?;
        let len = u32::try_from(text.len()).map_err(|_| Errno::Overflow)?;
        buffer = buffer.checked_add(len).ok_or(Errno::Fault)?;
        pointers = pointers.checked_add(4).ok_or(Errno::Fault)?;
    }
    Ok(())
}

pub(super) async fn random_get(guest: &mut Guest<'_>, at: u32, len: u32) -> Outcome<()> {
    guest.piece(at, len)?;
    let mut filled = 0;
    while filled < len {
        let next = (len - filled).min(RANDOM_BYTES_MAX);
        let bytes = guest.host.random().get_random_bytes(u64::from(next))?;
        guest.write(at + filled, &bytes)?;
        filled += next;
        // All of a guest's memory takes seconds, which others want to work in too.
        tokio::task::yield_now().await;
    }
    Ok(())
}
