//! Printing: data to standard output, talk to standard error; colour and lines in place only on a terminal.

mod age;
mod columns;
pub(crate) mod jsonpath;
mod output;
mod structured;
mod table;
mod talk;

use std::io::{IsTerminal as _, Write};

pub(crate) use age::ago;
pub(crate) use output::{Output, without_managed_fields};
pub(crate) use structured::{json, yaml};
pub(crate) use table::{Printer, ServerTable, View, bare, plain};
pub(crate) use talk::Talk;

/// Where commands print. Tests hand in buffers.
pub(crate) struct Ui {
    out: Box<dyn Write + Send>,
    /// Standard output is a terminal that shows colour.
    colour_out: bool,
    talk: Talk,
}

/// Colours, by what they say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tone {
    Good,
    Bad,
    Strong,
}

/// Wraps the text in a colour, if colours are wanted.
pub(crate) fn paint(text: &str, tone: Tone, colour: bool) -> String {
    let code = match tone {
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Strong => "1",
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}

impl Ui {
    /// Prints to this process's standard output and error.
    pub(crate) fn for_process() -> Self {
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let (out_tty, err_tty) = (std::io::stdout().is_terminal(), std::io::stderr().is_terminal());
        let talk = Talk::new(Box::new(std::io::stderr()), err_tty && !dumb && !plain, err_tty && !dumb);
        Self { out: Box::new(std::io::stdout()), colour_out: out_tty && !dumb && !plain, talk }
    }

    /// Prints to the given places as to files.
    #[cfg(test)]
    pub(crate) fn for_test(out: Box<dyn Write + Send>, err: Box<dyn Write + Send>) -> Self {
        Self { out, colour_out: false, talk: Talk::new(err, false, false) }
    }

    /// Whether standard output takes colour.
    pub(crate) fn colour(&self) -> bool {
        self.colour_out
    }

    /// Prints a line of data.
    pub(crate) fn line(&mut self, text: &str) -> anyhow::Result<()> {
        self.data(format!("{text}\n").as_bytes())
    }

    /// Prints data as it is.
    pub(crate) fn data(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        self.settle();
        self.out.write_all(bytes)?;
        self.out.flush()?;
        Ok(())
    }

    /// Standard error, for those who talk beside the command.
    pub(crate) fn talker(&self) -> Talk {
        self.talk.clone()
    }

    /// Tells the person something. That nobody listens is no reason to fail.
    pub(crate) fn note(&mut self, text: &str) {
        self.talk.say(format!("{text}\n").as_bytes());
    }

    /// Passes on what another program says. That nobody listens is no reason to fail.
    pub(crate) fn talk(&mut self, bytes: &[u8]) {
        self.talk.say(bytes);
    }

    /// Shows how far something is: in place on a terminal, otherwise a line when it changed.
    pub(crate) fn progress(&mut self, text: &str) {
        self.talk.progress(text);
    }

    /// Ends the line shown in place, so that other text starts on its own.
    pub(crate) fn settle(&mut self) {
        self.talk.settle();
    }

    /// Prints an error with its causes, once.
    pub(crate) fn error(&mut self, error: &anyhow::Error) {
        if crate::exit::is_quiet(error) {
            return self.settle();
        }
        self.talk.labelled("error:", Tone::Bad, &format!("{error:#}"));
        if let Some(hint) = crate::client::refusal(error).and_then(crate::client::Refusal::hint) {
            self.note(&hint);
        }
    }
}
