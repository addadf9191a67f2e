//! `wk deploy` as typed.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;

/// Options of `wk deploy`.
#[derive(Debug, Clone, Args)]
pub(crate) struct DeployArgs {
    /// A WebAssembly component (wasi:http or wasi:cli/command) or a preview-1 module
    #[arg(value_name = "FILE.wasm")]
    pub(crate) file: PathBuf,
    /// Name of the app, a DNS label [default: the file's name]
    #[arg(long)]
    pub(crate) name: Option<String>,
    /// How many pods [default: 1, and what it has when deployed again]
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<u16>,
    /// Where the ingress answers for it [default: NAME.localhost]
    #[arg(long, value_name = "HOST[/PATH]")]
    pub(crate) route: Option<Route>,
    /// Set an environment variable, or with a trailing dash (K-) remove it
    #[arg(long = "env", short = 'e', value_name = "K=V")]
    pub(crate) env: Vec<EnvChange>,
    /// Memory one pod may use, such as 64Mi
    #[arg(long, value_name = "QUANTITY", value_parser = quantity)]
    pub(crate) memory: Option<String>,
    /// CPU that one pod asks for, such as 100m or 1: its weight where cores are short, and what `wk autoscale` reckons with
    #[arg(long, value_name = "QUANTITY", value_parser = cores)]
    pub(crate) cpu: Option<String>,
    /// What it may connect to: cluster, internet, hosts (api.example.com:443, *.example.com), networks (10.0.0.0/8),
    /// separated by commas; nothing for an empty text [default: nothing, and what it has when deployed again]
    #[arg(long, value_name = "WHAT", value_parser = egress)]
    pub(crate) egress: Option<String>,
    /// How long to wait until every replica is ready
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = duration)]
    pub(crate) timeout: Duration,
    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS")]
    pub(crate) args: Vec<String>,
}

/// What the nodes understand in the annotation, as it was typed.
fn egress(text: &str) -> Result<String, wk_network::EgressError> {
    text.parse::<wk_network::Egress>().map(|_| text.to_owned())
}

/// Where the ingress answers for an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Route {
    /// A host name in lower case, perhaps with a leading `*.`.
    pub(crate) host: String,
    /// Starts with a slash.
    pub(crate) path: String,
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.contains("://") {
            return Err("expected HOST[/PATH], without http://".to_owned());
        }
        let (host, path) = match text.find('/') {
            Some(slash) => text.split_at(slash),
            None => (text, "/"),
        };
        if host.contains(':') {
            return Err("a route has no port: every node's ingress answers for it".to_owned());
        }
        let host = host.to_ascii_lowercase();
        let labels = host.strip_prefix("*.").unwrap_or(&host);
        if host.len() > 253 || !labels.split('.').all(is_dns_label) {
            return Err(format!("{host:?} is not a host name"));
        }
        if host.parse::<std::net::IpAddr>().is_ok() {
            return Err(format!("{host} is an address; a route is for a host name"));
        }
        if path.contains(['?', '#', ' ']) || path.contains("//") {
            return Err(format!("{path:?} is not a path"));
        }
        Ok(Self { host, path: path.to_owned() })
    }
}

impl fmt::Display for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.host, self.path)
    }
}

/// Whether the text is a DNS label in lower case (RFC 1123), as object names are.
pub(crate) fn is_dns_label(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 63
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

/// A change to the environment of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EnvChange {
    /// `NAME=VALUE`.
    Set(String, String),
    /// `NAME-`.
    Remove(String),
}

impl FromStr for EnvChange {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let change = match text.split_once('=') {
            Some((name, value)) => Self::Set(name.to_owned(), value.to_owned()),
            None => match text.strip_suffix('-') {
                Some(name) => Self::Remove(name.to_owned()),
                None => return Err("expected NAME=VALUE to set or NAME- to remove".to_owned()),
            },
        };
        let (Self::Set(name, _) | Self::Remove(name)) = &change;
        if name.is_empty() || name.contains(['\0', ' ']) {
            return Err(format!("{name:?} is not a variable's name"));
        }
        Ok(change)
    }
}

/// Checks that a quantity looks like one (`64Mi`, `1G`, `5e7`); the server has the last word.
fn quantity(text: &str) -> Result<String, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit() || c == '.').len();
    let suffix = &text[digits..];
    let known = ["", "k", "M", "G", "T", "Ki", "Mi", "Gi", "Ti"].contains(&suffix)
        || suffix.strip_prefix(['e', 'E']).is_some_and(|power| power.parse::<u8>().is_ok());
    if digits == 0 || !known {
        return Err("expected bytes such as 64Mi, 1Gi or 100M".to_owned());
    }
    Ok(text.to_owned())
}

/// Checks that a number of cores looks like one (`100m`, `0.5`, `2`); the server has the last word.
fn cores(text: &str) -> Result<String, String> {
    let number = text.strip_suffix('m').unwrap_or(text);
    match number.parse::<f64>() {
        Ok(cores) if cores > 0.0 && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') => {
            Ok(text.to_owned())
        }
        _ => Err("expected cores such as 100m, 0.5 or 2".to_owned()),
    }
}

/// Parses `90`, `90s`, `1500ms`, `2m`, `1h` and sums such as `1h30m`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a duration such as 90s, 2m, 1h30m or 30d");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number: u32 = rest[..digits].parse().map_err(|_| wrong())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let step = match &rest[..unit] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_mins(1),
            "h" => Duration::from_hours(1),
            "d" => Duration::from_hours(24),
            _ => return Err(wrong()),
        };
        total = total.checked_add(step.checked_mul(number).ok_or_else(wrong)?).ok_or_else(wrong)?;
        rest = &rest[unit..];
    }
    if text.is_empty() { Err(wrong()) } else { Ok(total) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn routes_are_a_host_and_a_path() {
        let route: Route = "Shop.Example/cart".parse().expect("route");
        assert_eq!((route.host.as_str(), route.path.as_str()), ("shop.example", "/cart"));
        assert_eq!("a.localhost".parse::<Route>().expect("route").to_string(), "a.localhost/");
        assert!("*.example/".parse::<Route>().is_ok());
        for (wrong, why) in [
            ("http://a.example", "without http://"),
            ("a.example:8080", "no port"),
            ("/only", "not a host name"),
            ("a..b", "not a host name"),
            ("a.example/x?y", "not a path"),
        ] {
            let error = wrong.parse::<Route>().expect_err(wrong);
            assert!(error.contains(why), "{wrong}: {error}");
        }
    }

    #[test]
    fn environment_is_set_or_removed() {
        assert_eq!("A=b=c".parse(), Ok(EnvChange::Set("A".into(), "b=c".into())));
        assert_eq!("A=".parse(), Ok(EnvChange::Set("A".into(), String::new())));
        assert_eq!("A-".parse(), Ok(EnvChange::Remove("A".into())));
        assert!("A".parse::<EnvChange>().is_err());
        assert!("=x".parse::<EnvChange>().is_err());
    }

    #[test]
    fn durations_and_quantities_are_checked_early() {
        assert_eq!(duration("90"), Ok(Duration::from_secs(90)));
        assert_eq!(duration("1h30m"), Ok(Duration::from_mins(90)));
        assert_eq!(duration("1500ms"), Ok(Duration::from_millis(1500)));
        for wrong in ["", "s", "5x", "-1s", "99999999999s"] {
            assert!(duration(wrong).is_err(), "{wrong}");
        }
        assert!(quantity("64Mi").is_ok() && quantity("1e6").is_ok() && quantity("1.5Gi").is_ok());
        assert!(quantity("64MB").is_err() && quantity("Mi").is_err());
        assert!(cores("100m").is_ok() && cores("0.5").is_ok() && cores("2").is_ok());
        assert!(cores("0").is_err() && cores("64Mi").is_err() && cores("m").is_err() && cores("-1").is_err());
    }
}
