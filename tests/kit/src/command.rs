//! Running a program to its end, or following what it prints.

use std::ffi::OsStr;
use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

/// No command of these tests takes this long, unless it hangs.
const COMMAND_MAX: Duration = Duration::from_mins(2);

/// What a program did.
#[derive(Clone)]
pub struct Output {
    /// The command line, for messages.
    pub line: String,
    /// The exit code; `None` if a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Output {
    /// What it printed, given that it succeeded.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn ok(&self) -> &str {
        assert_eq!(self.code, Some(0), "{self:?}");
        &self.stdout
    }

    /// What it said, given that it failed with the code.
    ///
    /// # Panics
    /// If it did not.
    #[track_caller]
    pub fn failed(&self, code: i32) -> &str {
        assert_eq!(self.code, Some(code), "{self:?}");
        &self.stderr
    }

    /// What it printed, as JSON.
    ///
    /// # Panics
    /// If it failed or printed something else.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.ok()).unwrap_or_else(|error| panic!("no JSON: {error}\n{self:?}"))
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, code, stdout, stderr } = self;
        write!(f, "`{line}` ended with {code:?}\n--- stdout\n{stdout}\n--- stderr\n{stderr}\n---")
    }
}

/// Runs a command to its end.
///
/// # Panics
/// If it cannot be started, or does not end.
pub async fn run(command: Command) -> Output {
    run_with_input(command, "").await
}

/// Runs a command to its end, with a text on its standard input.
///
/// # Panics
/// If it cannot be started, or does not end.
pub async fn run_with_input(mut command: Command, input: &str) -> Output {
    let line = line_of(&command);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().unwrap_or_else(|error| panic!("start `{line}`: {error}"));
    let mut stdin = child.stdin.take().expect("piped above");
    let write = async {
        // It need not read what it is given.
        let _ = stdin.write_all(input.as_bytes()).await;
        drop(stdin);
    };
    let both = async { tokio::join!(write, child.wait_with_output()).1 };
    let output = tokio::time::timeout(COMMAND_MAX, both).await;
    let output = output.unwrap_or_else(|_| panic!("`{line}` did not end within {COMMAND_MAX:?}"));
    let output = output.unwrap_or_else(|error| panic!("run `{line}`: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Output { line, code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
}

fn line_of(command: &Command) -> String {
    let command = command.as_std();
    let name = std::path::Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(name).chain(command.get_args()).map(OsStr::to_string_lossy);
    words.collect::<Vec<_>>().join(" ")
}

/// A command that goes on, read line by line. It is ended when this is dropped.
#[derive(Debug)]
pub struct Followed {
    line: String,
    child: Child,
    stdout: Lines<BufReader<ChildStdout>>,
    seen: Vec<String>,
}

impl Followed {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(mut command: Command) -> Self {
        let line = line_of(&command);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).kill_on_drop(true);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start `{line}`: {error}"));
        let stdout = BufReader::new(child.stdout.take().expect("piped above")).lines();
        Self { line, child, stdout, seen: Vec::new() }
    }

    /// Reads on to the first line for which `wanted` holds.
    ///
    /// # Panics
    /// If none comes `within` the time, or the command ends.
    pub async fn line(&mut self, what: &str, within: Duration, wanted: impl Fn(&str) -> bool) -> String {
        let deadline = tokio::time::Instant::now() + within;
        loop {
            let next = tokio::time::timeout_at(deadline, self.stdout.next_line()).await;
            let Ok(next) = next else {
                panic!("`{}` did not print within {within:?}: {what}\n{}", self.line, self.seen.join("\n"));
            };
            let Ok(Some(line)) = next else {
                panic!("`{}` ended ({next:?}) before: {what}\n{}", self.line, self.seen.join("\n"));
            };
            self.seen.push(line.clone());
            if wanted(&line) {
                return line;
            }
        }
    }

    /// Waits until it ends by itself, and says how.
    ///
    /// # Panics
    /// If it does not end `within` the time.
    pub async fn end(mut self, within: Duration) -> Output {
        let rest = async {
            while let Ok(Some(line)) = self.stdout.next_line().await {
                self.seen.push(line);
            }
            self.child.wait().await
        };
        let status = tokio::time::timeout(within, rest).await;
        let status = status.unwrap_or_else(|_| panic!("`{}` did not end within {within:?}", self.line));
        let status = status.unwrap_or_else(|error| panic!("wait for `{}`: {error}", self.line));
        Output { line: self.line, code: status.code(), stdout: self.seen.join("\n"), stderr: String::new() }
    }
}
