//! Annotations of a pod that are ours: a word that means nothing is refused where it is written, since every pod made of the
//! template would be refused by its node.
//!
//! Not here: what they do, and the forms of `wk.dev/egress` (the node's): here are the words that are none of them.

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;

use crate::field::Errors;
use crate::json;

const HOUR: Duration = Duration::from_hours(1);
const DAY: Duration = Duration::from_hours(24);

/// What an annotation's value may be.
enum Form {
    OneOf(&'static [&'static str]),
    /// A duration of at most so much.
    Within(Duration),
    /// A number of at most so much.
    UpTo(u32),
    /// `configmap/NAME`, `secret/NAME`, separated by commas.
    Sources,
    Egress,
}

/// All that a pod may say.
const KNOWN: &[(&str, Form)] = &[
    ("wk.dev/ca-certificates", Form::Sources),
    ("wk.dev/config", Form::Sources),
    ("wk.dev/egress", Form::Egress),
    ("wk.dev/instance-age", Form::Within(DAY)),
    ("wk.dev/instance-requests", Form::UpTo(1_000_000)),
    ("wk.dev/instances", Form::OneOf(&["per-request", "pooled", "single"])),
    ("wk.dev/isolation", Form::OneOf(&["shared", "namespace", "pod"])),
    ("wk.dev/request-timeout", Form::Within(HOUR)),
];

/// Checks those annotations of a pod, or of a template of pods, that are ours.
pub(crate) fn check(errors: &mut Errors, annotations: &Value, path: &str) {
    for (key, form) in KNOWN {
        let text = json::text(annotations, &[key]);
        if text.is_empty() {
            continue;
        }
        let at = || format!("{path}[{key}]");
        match form {
            Form::OneOf(words) if words.contains(&text) => {}
            Form::OneOf(words) => errors.not_supported(at(), text, words),
            Form::Within(most) => {
                let duration = text.parse::<SignedDuration>().ok().and_then(|time| Duration::try_from(time).ok());
                if !duration.is_some_and(|time| !time.is_zero() && time <= *most) {
                    let detail = format!("must be a duration of at most {}h, such as 5s or 2m", most.as_secs() / 3600);
                    errors.invalid_str(at(), text, &detail);
                }
            }
            Form::UpTo(most) => {
                if !text.parse().is_ok_and(|number: u32| (1..=*most).contains(&number)) {
                    errors.invalid_str(at(), text, &format!("must be a number from 1 to {most}"));
                }
            }
            Form::Sources => {
                for word in words(text) {
                    let (kind, name) = word.split_once('/').unwrap_or((word, ""));
                    if !matches!(kind, "configmap" | "secret") || name.is_empty() {
                        let detail = format!("{word:?} is neither configmap/NAME nor secret/NAME");
                        errors.invalid_str(at(), text, &detail);
                    }
                }
            }
            Form::Egress => {
                // A name has a dot, a network a slash; what has neither is one of two words.
                let unknown = |word: &&str| !matches!(*word, "cluster" | "internet") && !word.contains(['.', '/', ':']);
                if let Some(word) = words(text).find(unknown) {
                    let detail = format!(
                        "{word:?} is none of cluster, internet, a host name such as api.example.com or \
                         *.example.com:443, and a network such as 10.0.0.0/8"
                    );
                    errors.invalid_str(at(), text, &detail);
                }
            }
        }
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn refused(annotations: &Value) -> Vec<String> {
        let mut errors = Errors::new();
        check(&mut errors, annotations, "metadata.annotations");
        errors.into_vec().iter().map(|error| format!("{}: {}", error.field, error.message)).collect()
    }

    #[test]
    fn words_that_mean_something_are_taken() {
        let good = json!({
            "wk.dev/egress": "cluster, internet, api.example.com:443, *.example.com, 10.0.0.0/8:5432, [2001:db8::]/32",
            "wk.dev/instances": "pooled", "wk.dev/instance-requests": "7", "wk.dev/instance-age": "90s",
            "wk.dev/isolation": "namespace", "wk.dev/request-timeout": "2m",
            "wk.dev/config": "configmap/settings, secret/keys", "example.com/other": "anything",
        });
        assert_eq!(refused(&good), [""; 0]);
    }

    #[test]
    fn words_that_mean_nothing_are_refused_with_those_that_do() {
        for (key, text, hint) in [
            ("wk.dev/egress", "clustr", "cluster, internet"),
            ("wk.dev/instances", "poold", "\"pooled\""),
            ("wk.dev/isolation", "process", "\"namespace\""),
            ("wk.dev/request-timeout", "5", "duration"),
            ("wk.dev/request-timeout", "2h", "at most 1h"),
            ("wk.dev/instance-requests", "0", "from 1 to 1000000"),
            ("wk.dev/config", "settings", "configmap/NAME"),
        ] {
            let told = refused(&json!({key: text}));
            assert!(told.len() == 1 && told[0].contains(key) && told[0].contains(hint), "{told:?}");
        }
    }
}
