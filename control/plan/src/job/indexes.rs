//! Which of an indexed Job's indexes are done: `status.completedIndexes`, such as `0-3,5` (KEP-2214).

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Value, json};

/// Indexes, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Indexes(BTreeSet<usize>);

impl Indexes {
    /// Reads what [`fmt::Display`] writes; what is not of that form, or past `limit`, is left out.
    pub(super) fn parse(text: &str, limit: usize) -> Self {
        let mut indexes = BTreeSet::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) {
                indexes.extend(first..last.saturating_add(1).min(limit));
            }
        }
        Self(indexes)
    }

    pub(super) fn add(&mut self, index: usize) {
        self.0.insert(index);
    }

    pub(super) fn has(&self, index: usize) -> bool {
        self.0.contains(&index)
    }

    /// How many are in both.
    pub(super) fn common(&self, other: &Self) -> usize {
        self.0.intersection(&other.0).count()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for Indexes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for index in &self.0 {
            match runs.last_mut() {
                Some((_, last)) if *last + 1 == *index => *last = *index,
                _ => runs.push((*index, *index)),
            }
        }
        for (nth, (first, last)) in runs.iter().enumerate() {
            let comma = if nth == 0 { "" } else { "," };
            if first == last { write!(f, "{comma}{first}")? } else { write!(f, "{comma}{first}-{last}")? }
        }
        Ok(())
    }
}

/// Tells each container which index it works on, as `JOB_COMPLETION_INDEX`, unless the template does.
pub(super) fn tell(spec: &mut Value, annotation: &str) {
    const NAME: &str = "JOB_COMPLETION_INDEX";
    for field in ["initContainers", "containers"] {
        for container in spec.get_mut(field).and_then(Value::as_array_mut).into_iter().flatten() {
            let env = container.as_object_mut().map(|object| object.entry("env").or_insert(json!([])));
            let Some(env) = env.and_then(Value::as_array_mut) else { continue };
            if env.iter().any(|variable| variable["name"] == NAME) {
                continue;
            }
            let path = format!("metadata.annotations['{annotation}']");
            env.push(json!({"name": NAME, "valueFrom": {"fieldRef": {"fieldPath": path}}}));
        }
    }
}
