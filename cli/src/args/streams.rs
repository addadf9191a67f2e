//! The commands that hold a connection to a pod, as typed: `logs`, `exec`, `attach`, `port-forward`, `cp`.

use std::net::IpAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

use super::deploy::duration;
use super::objects::StructuredFormat;

/// Options of `wk logs`.
#[derive(Debug, Clone, Args)]
pub(crate) struct LogsArgs {
    /// POD, or deploy/NAME for all its pods
    #[arg(value_name = "POD", required_unless_present = "selector")]
    pub(crate) target: Option<String>,
    /// A container of the pod
    #[arg(value_name = "CONTAINER", conflicts_with = "container")]
    pub(crate) second: Option<String>,
    /// Of all pods whose labels match
    #[arg(short = 'l', long, value_name = "LABELS", conflicts_with = "target")]
    pub(crate) selector: Option<String>,
    /// Go on printing what is written
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Which container [default: the first]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Of all containers
    #[arg(long, conflicts_with = "container")]
    pub(crate) all_containers: bool,
    /// Only the last lines; -1 for all [default: all, with -l the last 10]
    #[arg(long, value_name = "LINES", allow_negative_numbers = true, value_parser = clap::value_parser!(i64).range(-1..))]
    pub(crate) tail: Option<i64>,
    /// Of the run before the last restart
    #[arg(short, long)]
    pub(crate) previous: bool,
    /// With the time of each line
    #[arg(long)]
    pub(crate) timestamps: bool,
    /// Only what is younger, such as 10m
    #[arg(long, value_name = "DURATION", value_parser = duration, conflicts_with = "since_time")]
    pub(crate) since: Option<Duration>,
    /// Only what was written after this time, such as 2026-01-02T03:04:05Z
    #[arg(long, value_name = "TIME")]
    pub(crate) since_time: Option<String>,
    /// At most so many bytes of each
    #[arg(long, value_name = "BYTES")]
    pub(crate) limit_bytes: Option<u64>,
    /// Only what the pods said with `wasi:logging`, of this level or graver
    #[arg(long, value_name = "LEVEL", value_parser = wk_apiserver::LOG_LEVELS)]
    pub(crate) level: Option<String>,
    /// With the name of pod and container before each line; always so if there are several
    #[arg(long)]
    pub(crate) prefix: bool,
    /// How many logs are read at once
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) max_log_requests: usize,
}

/// Options of `wk debug`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DebugArgs {
    /// POD, or deploy/NAME for one of its pods
    #[arg(value_name = "POD")]
    pub(crate) target: String,
    /// Only this container
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// As the server tells it
    #[arg(short, long, value_enum, value_name = "FORMAT")]
    pub(crate) output: Option<StructuredFormat>,
}

/// Options of `wk exec`.
#[derive(Debug, Clone, Args)]
pub(crate) struct ExecArgs {
    #[command(flatten)]
    pub(crate) attach: AttachArgs,
    /// The program and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<String>,
}

/// Options of `wk attach`.
#[derive(Debug, Clone, Args)]
pub(crate) struct AttachArgs {
    /// POD, or deploy/NAME for one of its pods
    #[arg(value_name = "POD")]
    pub(crate) target: String,
    /// Which container [default: the first]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
    /// Pass standard input on
    #[arg(short = 'i', long)]
    pub(crate) stdin: bool,
    /// The program's side is a terminal
    #[arg(short = 't', long)]
    pub(crate) tty: bool,
    /// Say nothing but what the program says
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// Options of `wk port-forward`.
#[derive(Debug, Clone, Args)]
pub(crate) struct PortForwardArgs {
    /// POD, or deploy/NAME or svc/NAME for one of its pods
    #[arg(value_name = "POD")]
    pub(crate) target: String,
    /// Ports here and there: 8080:80, 80 for both, :80 for any free one here
    #[arg(value_name = "[LOCAL:]REMOTE", required = true)]
    pub(crate) ports: Vec<PortPair>,
    /// Where to listen
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1", value_delimiter = ',')]
    pub(crate) address: Vec<IpAddr>,
}

/// A port here and one there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PortPair {
    /// 0 for any; `None` for the same as there.
    pub(crate) local: Option<u16>,
    /// A number or a name.
    pub(crate) remote: String,
}

impl FromStr for PortPair {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not [LOCAL:]REMOTE, such as 8080:80");
        let (local, remote) = match text.split_once(':') {
            Some(("", remote)) => (Some(0), remote),
            Some((local, remote)) => (Some(local.parse().map_err(|_| wrong())?), remote),
            None => (None, text),
        };
        if remote.is_empty() || remote.contains(':') {
            Err(wrong())
        } else {
            Ok(Self { local, remote: remote.to_owned() })
        }
    }
}

/// Options of `wk cp`.
#[derive(Debug, Clone, Args)]
pub(crate) struct CpArgs {
    /// What: a path here, or POD:PATH
    #[arg(value_name = "FROM")]
    pub(crate) from: Place,
    /// Where to: a path here, or POD:PATH
    #[arg(value_name = "TO")]
    pub(crate) to: Place,
    /// Which container [default: the first]
    #[arg(short, long, value_name = "NAME")]
    pub(crate) container: Option<String>,
}

/// A path here or in a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Place {
    Here(PathBuf),
    Pod { namespace: Option<String>, pod: String, path: String },
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        // `./a:b` is a file; so is what has a slash before the colon in more than one place.
        let pod = text
            .split_once(':')
            .filter(|(pod, _)| !pod.starts_with('.') && !pod.starts_with('/') && pod.matches('/').count() <= 1);
        match pod {
            Some((_, "")) => Err(format!("{text:?} has no path after the colon")),
            Some((pod, path)) => {
                let (namespace, pod) =
                    pod.split_once('/').map_or((None, pod), |(namespace, pod)| (Some(namespace.to_owned()), pod));
                if pod.is_empty() {
                    return Err(format!("{text:?} names no pod"));
                }
                Ok(Self::Pod { namespace, pod: pod.to_owned(), path: path.to_owned() })
            }
            None if text.is_empty() => Err("a path is empty".to_owned()),
            None => Ok(Self::Here(PathBuf::from(text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_here_or_in_a_pod() {
        let pod = |namespace: Option<&str>, pod: &str, path: &str| Place::Pod {
            namespace: namespace.map(str::to_owned),
            pod: pod.into(),
            path: path.into(),
        };
        assert_eq!("web:/a/b".parse(), Ok(pod(None, "web", "/a/b")));
        assert_eq!("shop/web:a".parse(), Ok(pod(Some("shop"), "web", "a")));
        assert_eq!("./a:b".parse(), Ok(Place::Here("./a:b".into())));
        assert_eq!("/x/a:b".parse(), Ok(Place::Here("/x/a:b".into())));
        assert!("web:".parse::<Place>().is_err() && ":a".parse::<Place>().is_err());
    }

    #[test]
    fn ports_are_pairs() {
        let pair = |local, remote: &str| Ok(PortPair { local, remote: remote.into() });
        assert_eq!("8080:80".parse(), pair(Some(8080), "80"));
        assert_eq!(":http".parse(), pair(Some(0), "http"));
        assert_eq!("80".parse(), pair(None, "80"));
        assert!("a:80".parse::<PortPair>().is_err() && "1:2:3".parse::<PortPair>().is_err());
    }
}
