//! Logs a line each second, to have something to read with `wk logs -f`. Plain standard library, nothing of wk.
//!
//! Settings, as an argument `NAME=VALUE` or as an environment variable, the argument first:
//! `INTERVAL_MS` (default 1000), `COUNT` (ticks until it ends with success; without it, it goes on).

use std::io::Write as _;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

fn main() -> ExitCode {
    let (interval, count) = match (number("INTERVAL_MS"), number("COUNT")) {
        (Ok(interval), Ok(count)) => (Duration::from_millis(interval.unwrap_or(1000)), count),
        (Err(message), _) | (_, Err(message)) => {
            eprintln!("ticker: {message}");
            return ExitCode::from(2);
        }
    };
    let pod = std::env::var("WK_POD_NAME").unwrap_or_else(|_| "nobody".to_owned());
    let mut tick: u64 = 0;
    while count.is_none_or(|count| tick < count) {
        tick += 1;
        if writeln!(std::io::stdout(), "tick {tick} from {pod}").is_err() {
            return ExitCode::FAILURE;
        }
        thread::sleep(interval);
    }
    ExitCode::SUCCESS
}

fn number(name: &str) -> Result<Option<u64>, String> {
    let argument = std::env::args().skip(1).find_map(|argument| {
        let (key, value) = argument.split_once('=')?;
        (key == name).then(|| value.to_owned())
    });
    let Some(value) = argument.or_else(|| std::env::var(name).ok()) else { return Ok(None) };
    value.parse().map(Some).map_err(|error| format!("{name} is \"{value}\": {error}"))
}
