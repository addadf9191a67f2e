//! Raft's own log lines, as events of `tracing`.

use std::fmt::{self, Write as _};

use slog::{Drain, KV, Key, Level, Never, OwnedKVList, Record, Serializer};

/// A logger for Raft. What it calls information is ours to debug: elections are reported by the status.
pub(crate) fn logger() -> slog::Logger {
    slog::Logger::root(ToTracing, slog::o!())
}

struct ToTracing;

impl Drain for ToTracing {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let text = || {
            let mut fields = Fields(String::new());
            let _ = record.kv().serialize(record, &mut fields);
            format!("{}{}", record.msg(), fields.0)
        };
        match record.level() {
            Level::Critical | Level::Error => tracing::error!(target: "raft", "{}", text()),
            Level::Warning | Level::Info => {
                if tracing::enabled!(target: "raft", tracing::Level::DEBUG) {
                    tracing::debug!(target: "raft", "{}", text());
                }
            }
            Level::Debug | Level::Trace => {}
        }
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(Level::Info)
    }
}

struct Fields(String);

impl Serializer for Fields {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        write!(self.0, ", {key}: {value}").map_err(|_| slog::Error::Other)
    }
}
