//! Exit codes: one table, shown by `wk --help`, and the error type that carries them to `main`.

use std::fmt;

/// Why `wk` ended, as its exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Code {
    /// Something failed, or the server refused.
    General,
    /// The command line or a file given on it makes no sense.
    Usage,
    /// No such object, kind or file.
    NotFound,
    /// No peer of the cluster could be reached.
    Unreachable,
    /// The object exists already, or somebody changed it meanwhile.
    Conflict,
    /// What was waited for did not happen in time.
    TimedOut,
    /// `wk diff`: something would change.
    Differs,
    /// `wk exec`: what the program ended with.
    Program(u8),
    /// `wk up`: another node uses the data directory.
    DataDirInUse,
    /// `wk up`: another program listens on the port.
    PortTaken,
    /// `wk up`: the cluster does not know the token.
    WrongToken,
    /// `wk up`: the peer to join does not answer.
    PeerUnreachable,
    /// `wk up`: a newer `wk` wrote the data directory.
    DataDirNewer,
    /// `wk up`: the cluster removed this node.
    Removed,
}

/// Every code with its number and what it means; the order is the one shown.
const TABLE: &[(Code, u8, &str)] = &[
    (Code::General, 1, "failed, or refused by the server"),
    (Code::Usage, 2, "wrong usage, or a file that cannot be understood"),
    (Code::NotFound, 3, "not found"),
    (Code::Unreachable, 4, "the cluster cannot be reached"),
    (Code::Conflict, 5, "conflict, or it already exists"),
    (Code::TimedOut, 6, "timed out waiting"),
    (Code::Differs, 7, "diff: there are differences"),
    (Code::DataDirInUse, 10, "up: the data directory is in use"),
    (Code::PortTaken, 11, "up: a port is taken"),
    (Code::WrongToken, 12, "up: wrong token"),
    (Code::PeerUnreachable, 13, "up: the peer to join cannot be reached"),
    (Code::DataDirNewer, 14, "up: the data directory is of a newer version"),
    (Code::Removed, 15, "up: the cluster removed this node; starting it again changes nothing"),
];

impl Code {
    /// The number the process exits with.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Program(code) => code,
            known => TABLE.iter().find(|row| row.0 == known).map_or(1, |row| row.1),
        }
    }
}

/// The table as the help shows it.
pub(crate) fn help() -> String {
    let rows: Vec<String> = TABLE.iter().map(|(_, number, meaning)| format!("  {number:>2}  {meaning}")).collect();
    format!(
        "Exit codes:\n   0  done\n{}\n`wk exec` ends with the code of the program.\n\nThe cluster is found through --kubeconfig, $KUBECONFIG, \
         $WK_HOME/admin.kubeconfig or ~/.wk/admin.kubeconfig, in that order.",
        rows.join("\n")
    )
}

/// An error that knows the exit code it ends the process with.
#[derive(Debug)]
pub(crate) struct ExitError {
    /// The exit code.
    pub(crate) code: Code,
    /// What happened, to what, and what to do about it.
    pub(crate) message: String,
    /// The cause, printed after the message.
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl ExitError {
    /// An error that needs no further cause.
    pub(crate) fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), source: None }
    }

    /// An end that is no mistake: what there is to say was printed as data.
    pub(crate) fn quiet(code: Code) -> Self {
        Self::new(code, "")
    }

    /// The same with the cause that the message does not repeat.
    pub(crate) fn because(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }
}

impl fmt::Display for ExitError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for ExitError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn std::error::Error + 'static))
    }
}

/// A usage error found after the command line was parsed.
pub(crate) fn usage(message: impl Into<String>) -> ExitError {
    ExitError::new(Code::Usage, message)
}

/// The code an error ends the process with: that of the outermost error in its chain that knows one.
pub(crate) fn code_of(error: &anyhow::Error) -> Code {
    let known = |cause: &(dyn std::error::Error + 'static)| {
        let exit = cause.downcast_ref::<ExitError>().map(|exit| exit.code);
        exit.or_else(|| cause.downcast_ref::<crate::client::Refusal>().map(crate::client::Refusal::code))
    };
    error.chain().find_map(known).unwrap_or(Code::General)
}

/// Whether the error has nothing to tell but its code.
pub(crate) fn is_quiet(error: &anyhow::Error) -> bool {
    error.downcast_ref::<ExitError>().is_some_and(|exit| exit.message.is_empty())
}

/// Whether the error is only that nobody reads our output any more.
pub(crate) fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .chain()
        .filter_map(|cause| cause.downcast_ref::<std::io::Error>())
        .any(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes_are_distinct_and_documented() {
        let mut numbers: Vec<u8> = TABLE.iter().map(|row| row.1).collect();
        numbers.dedup();
        assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 10, 11, 12, 13, 14, 15]);
        assert!(help().contains("12  up: wrong token"));
    }

    #[test]
    fn code_survives_added_context_and_the_cause_is_printed_once() {
        let error = anyhow::Error::from(
            ExitError::new(Code::PortTaken, "listen on 127.0.0.1:6443")
                .because(std::io::Error::other("address in use")),
        )
        .context("start node");
        assert_eq!(code_of(&error), Code::PortTaken);
        assert_eq!(format!("{error:#}"), "start node: listen on 127.0.0.1:6443: address in use");
    }

    #[test]
    fn broken_pipe_is_recognised_below_other_errors() {
        let error = anyhow::Error::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe)).context("print");
        assert!(is_broken_pipe(&error));
    }
}
