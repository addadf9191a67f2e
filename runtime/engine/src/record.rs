//! One message of `wasi:logging`, and how it looks as lines of a log.

use std::fmt;
use std::str::FromStr;

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a fault.
    Debug,
    /// What happens.
    Info,
    /// Look at it today.
    Warn,
    /// Something was not done.
    Error,
    /// Nothing works any more.
    Critical,
}

impl Level {
    const ALL: [Self; 6] = [Self::Trace, Self::Debug, Self::Info, Self::Warn, Self::Error, Self::Critical];

    /// The word of the interface: `warn`.
    pub fn word(self) -> &'static str {
        match self {
            Self::Trace => "trace",
            Self::Debug => "debug",
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
            Self::Critical => "critical",
        }
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// There is no such level.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no level: trace, debug, info, warn, error or critical")]
pub struct NoSuchLevel(String);

impl FromStr for Level {
    type Err = NoSuchLevel;

    fn from_str(word: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|level| level.word() == word).ok_or_else(|| NoSuchLevel(word.to_owned()))
    }
}

/// The longest context shown: it is the name of a part of the program.
const CONTEXT_BYTES_MAX: usize = 128;
/// The longest message kept: as much as one write to standard output.
const MESSAGE_BYTES_MAX: usize = 64 << 10;

/// A message with its level and its context.
///
/// As text it is `LEVEL context: message` and a line end, for instance `WARN billing: card refused`; without a context
/// `WARN card refused`. Further lines of a message are indented by two spaces, so that none of them looks like a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// How much it matters.
    pub level: Level,
    /// Which part of the program says it; may be empty.
    pub context: &'a str,
    /// What it says.
    pub message: &'a str,
}

impl fmt::Display for Record<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.level.word().to_uppercase())?;
        let context = start(self.context, CONTEXT_BYTES_MAX);
        if !context.is_empty() {
            let shown: String = context.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
            write!(f, " {shown}:")?;
        }
        let message = start(self.message.trim_end_matches(['\r', '\n']), MESSAGE_BYTES_MAX);
        let mut lines = message.lines();
        writeln!(f, " {}", lines.next().unwrap_or_default())?;
        lines.try_for_each(|line| writeln!(f, "  {line}"))
    }
}

/// As much of `text` as fits, whole characters only.
fn start(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn record_is_a_line_and_no_message_can_look_like_two() {
        fn text(context: &str, message: &str) -> String {
            Record { level: Level::Warn, context, message }.to_string()
        }
        assert_eq!(text("billing", "card refused"), "WARN billing: card refused\n");
        assert_eq!(text("", "card refused\n"), "WARN card refused\n");
        assert_eq!(text("a\nERROR b", "one\r\nERROR two\n\n"), "WARN a ERROR b: one\n  ERROR two\n");
        assert_eq!(text(&"ä".repeat(100), ""), format!("WARN {}: \n", "ä".repeat(64)));
        assert!(text("", &"x".repeat(1 << 20)).len() < MESSAGE_BYTES_MAX + 10);
    }

    #[test]
    fn levels_are_ordered_and_read_back() {
        assert!(Level::Trace < Level::Critical && Level::Error > Level::Warn);
        for level in Level::ALL {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!("loud".parse::<Level>().unwrap_err().to_string().contains("\"loud\""));
    }
}
