//! Recording Events: what happened to an object, for whoever asks `kubectl describe`.
//!
//! The same thing happening again raises `count` of the one Event, as client-go's recorder does: its name is made from
//! what it says.

use serde_json::json;
use wk_api::{Object, Status, kinds};
use wk_base::time::Timestamp;

use crate::{Cluster, Freshness, Subresource};

/// `type` of an Event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Things go as they should.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// Something that happened to an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Normal or Warning.
    pub severity: Severity,
    /// One word for machines.
    pub reason: String,
    /// A sentence for people.
    pub message: String,
    /// When it happened.
    pub at: Timestamp,
}

/// `message` of an Event holds at most this many characters (Kubernetes' API reference says 1 kB).
const MESSAGE_CHARS_MAX: usize = 1024;

/// `count` is an `int32`.
const COUNT_MAX: i64 = i32::MAX as i64;

/// Longest part of an Event's name that is the object's: a name has at most 253 characters, of which a dot and 16
/// hexadecimal digits are ours.
const NAME_BYTES_MAX: usize = 253 - 17;

impl Cluster {
    /// Records `note` about an object, in the name of `component` on `host` (empty for a controller).
    pub async fn record(&self, about: &Object, note: &Note, component: &str, host: &str) -> Result<(), Status> {
        let namespace = if about.namespace().is_empty() { "default" } else { about.namespace() };
        let message: String = note.message.chars().take(MESSAGE_CHARS_MAX).collect();
        let name = event_name(about.name(), fingerprint(&[about.uid(), component, host, &note.reason, &message]));
        let at = note.at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        if self.get(&kinds::EVENT, Some(namespace), &name, Freshness::Local).await.is_ok() {
            let again = |event: &Object| {
                let mut event = event.0.clone();
                event["count"] = json!(event["count"].as_i64().unwrap_or(1).saturating_add(1).min(COUNT_MAX));
                // One that could not be written at once may come after those that followed it.
                let of = |field: &str| event[field].as_str().unwrap_or(&at).to_owned();
                let (first, last) = (of("firstTimestamp"), of("lastTimestamp"));
                event["firstTimestamp"] = json!(first.min(at.clone()));
                event["lastTimestamp"] = json!(last.max(at.clone()));
                Ok(event)
            };
            return self.modify(&kinds::EVENT, Some(namespace), &name, Subresource::None, again).await.map(|_| ());
        }
        let severity = match note.severity {
            Severity::Normal => "Normal",
            Severity::Warning => "Warning",
        };
        let event = json!({
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": about.api_version(), "kind": about.kind(), "name": about.name(),
                "namespace": about.namespace(), "uid": about.uid(), "resourceVersion": about.resource_version(),
            },
            "type": severity, "reason": note.reason, "message": message,
            "source": {"component": component, "host": host},
            "reportingComponent": component, "reportingInstance": host,
            "firstTimestamp": at, "lastTimestamp": at, "count": 1,
        });
        self.create(&kinds::EVENT, Some(namespace), event).await.map(|_| ())
    }
}

/// The object's name, as much of it as fits, and what tells its events apart.
fn event_name(object: &str, fingerprint: u64) -> String {
    let fits = &object[..object.floor_char_boundary(NAME_BYTES_MAX)];
    // A label ends with a letter or a digit.
    format!("{}.{fingerprint:016x}", fits.trim_end_matches(['.', '-']))
}

/// FNV-1a over the parts, each ended by a zero byte: stable between versions and machines, and no secret.
fn fingerprint(parts: &[&str]) -> u64 {
    let bytes = parts.iter().flat_map(|part| part.bytes().chain([0]));
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_of_the_longest_name_has_a_valid_name() {
        assert_eq!(event_name("web-1", 0xab), "web-1.00000000000000ab");
        for name in ["a".repeat(253), format!("{}.-{}", "a".repeat(234), "b".repeat(17))] {
            let event = event_name(&name, u64::MAX);
            assert!(event.len() <= 253 && !event.contains("..") && !event.contains("-."), "{event}");
        }
    }
}
