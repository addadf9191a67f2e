//! What a planner answers with: orders that name what they relied on, and a report that says why.
//!
//! Not here: carrying them out. `Display` is the form of the golden tests: one order a paragraph, one line of report
//! after `#`.

use std::collections::BTreeSet;
use std::fmt;

use serde_json::Value;
use wk_api::strategy::{Disruption, Propagation};
use wk_api::{Kind, Object};
use wk_base::time::Timestamp;

/// The outcome of one look at the facts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// What to do. Orders of one plan do not depend on each other: they may be carried out at once, in any order, and
    /// some of them may be refused. Only an event belongs to the order before it, and is recorded if that succeeds.
    pub orders: Vec<Order>,
    /// Why, and what is waited for, in sentences for people.
    pub report: Vec<String>,
    /// When the same facts would give another plan, although nothing happens until then.
    pub due: Option<Timestamp>,
}

impl Plan {
    /// Adds the orders and the report of `other`; the earlier of both due times counts.
    pub fn extend(&mut self, other: Plan) {
        self.orders.extend(other.orders);
        self.report.extend(other.report);
        if let Some(due) = other.due {
            self.due_by(due);
        }
    }

    /// Look again at `when`, or before.
    pub(crate) fn due_by(&mut self, when: Timestamp) {
        self.due = Some(self.due.map_or(when, |due| due.min(when)));
    }

    pub(crate) fn say(&mut self, line: impl Into<String>) {
        self.report.push(line.into());
    }
}

/// The object an order is about, as it was when the plan was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its kind.
    pub kind: &'static Kind,
    /// Its namespace; `None` for a cluster-wide kind.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
    /// The order is about this incarnation and no other of the same name.
    pub uid: String,
    /// The order holds only while the object is at this version. `None`: at any version of this incarnation.
    pub resource_version: Option<String>,
}

impl Target {
    /// This very version of `object`.
    pub fn version(kind: &'static Kind, object: &Object) -> Self {
        let resource_version = Some(object.resource_version().to_owned()).filter(|version| !version.is_empty());
        Self { resource_version, ..Self::incarnation(kind, object) }
    }

    /// Any version of this incarnation of `object`.
    pub fn incarnation(kind: &'static Kind, object: &Object) -> Self {
        Self {
            kind,
            namespace: Some(object.namespace().to_owned()).filter(|namespace| !namespace.is_empty()),
            name: object.name().to_owned(),
            uid: object.uid().to_owned(),
            resource_version: None,
        }
    }
}

impl Target {
    /// Delete it, with the grace that it asks for itself and as its kind has it.
    pub fn delete(self) -> Order {
        Order::Delete { target: self, grace_period_seconds: None, propagation: None }
    }
}

/// `type` of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventType {
    /// Things go as they should.
    Normal,
    /// Somebody may want to look.
    Warning,
}

/// Something to tell whoever asks `kubectl describe`.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// What it happened to.
    pub regarding: Target,
    /// Normal or Warning.
    pub kind: EventType,
    /// One word for machines, as Kubernetes has it.
    pub reason: &'static str,
    /// A sentence for people.
    pub message: String,
    /// Which planner says so (`source.component`).
    pub component: &'static str,
}

/// One write. The store is the referee: what no longer holds is refused, and that is an ordinary answer.
#[derive(Debug, Clone, PartialEq)]
pub enum Order {
    /// Create `object`; it has no uid yet, and a `generateName` in place of a name where the name does not matter.
    Create {
        /// Its kind.
        kind: &'static Kind,
        /// Where to.
        namespace: Option<String>,
        /// The body.
        object: Value,
        /// Recorded once it exists, with its name at the end of the message.
        announce: Option<Event>,
    },
    /// Change everything but the status.
    Update {
        /// What to change.
        target: Target,
        /// A JSON merge patch (RFC 7386).
        change: Value,
    },
    /// Change the status (and those annotations that a status write may carry).
    Status {
        /// What to change.
        target: Target,
        /// A JSON merge patch (RFC 7386) of the whole object.
        change: Value,
    },
    /// Put a pod on a node and say so in its PodScheduled condition.
    Bind {
        /// The pod.
        target: Target,
        /// The node's name.
        node: String,
    },
    /// Delete, or mark as to be deleted, as the kind has it.
    Delete {
        /// What to delete.
        target: Target,
        /// Zero: now, whatever its node says. `None`: the grace that the object itself asks for.
        grace_period_seconds: Option<i64>,
        /// `None`: the kind's own.
        propagation: Option<Propagation>,
    },
    /// Delete a pod for the sake of others, with the condition that says so (`DisruptionTarget`).
    Evict {
        /// The pod.
        target: Target,
        /// As for [`Order::Delete`].
        grace_period_seconds: Option<i64>,
        /// What the condition says.
        why: Disruption,
    },
    /// Record an event.
    Event(Event),
    /// Change who votes, in one joint step. Numbers are the store's member ids.
    Vote {
        /// Learners that become voters.
        promote: BTreeSet<u64>,
        /// Voters that become learners.
        demote: BTreeSet<u64>,
    },
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for order in &self.orders {
            write!(f, "{order}")?;
        }
        for line in &self.report {
            writeln!(f, "# {line}")?;
        }
        match self.due {
            Some(due) => writeln!(f, "# due {due}"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.kind.resource())?;
        if let Some(namespace) = &self.namespace {
            write!(f, "{namespace}/")?;
        }
        write!(f, "{} uid={}", self.name, self.uid)?;
        match &self.resource_version {
            Some(version) => write!(f, " at={version}"),
            None => Ok(()),
        }
    }
}

impl Order {
    /// What it does to what, in one line without the details.
    pub fn headline(&self) -> String {
        match self {
            Self::Create { kind, namespace, .. } => {
                format!("create {} in {}", kind.resource(), namespace.as_deref().unwrap_or("the cluster"))
            }
            Self::Update { target, .. } => format!("update {target}"),
            Self::Status { target, .. } => format!("status {target}"),
            Self::Bind { target, node } => format!("bind {target} to {node}"),
            Self::Delete { target, grace_period_seconds, propagation } => {
                let grace = grace_period_seconds.map(|seconds| format!(" grace={seconds}")).unwrap_or_default();
                let propagation = propagation.map(|propagation| format!(" {propagation:?}")).unwrap_or_default();
                format!("delete {target}{grace}{propagation}")
            }
            Self::Evict { target, grace_period_seconds, why } => {
                let grace = grace_period_seconds.map(|seconds| format!(" grace={seconds}")).unwrap_or_default();
                format!("evict {target}{grace}: {}", why.reason)
            }
            Self::Event(event) => event.to_string(),
            Self::Vote { promote, demote } => format!("vote +{promote:?} -{demote:?}"),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.headline())?;
        match self {
            Self::Create { object, announce, .. } => {
                tree(f, object, 1)?;
                announce.iter().try_for_each(|event| writeln!(f, "  then {event}"))
            }
            Self::Update { change, .. } | Self::Status { change, .. } => tree(f, change, 1),
            Self::Bind { .. } | Self::Delete { .. } | Self::Evict { .. } | Self::Event(_) | Self::Vote { .. } => Ok(()),
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { regarding, kind, reason, message, component: _ } = self;
        write!(f, "event {kind:?} {reason} about {} {}: {message}", regarding.kind.kind, regarding.name)
    }
}

/// `value` as indented lines, keys in their order: close to YAML, for reading only.
fn tree(f: &mut fmt::Formatter<'_>, value: &Value, depth: usize) -> fmt::Result {
    let indent = "  ".repeat(depth);
    let nested = |value: &Value| {
        matches!(value, Value::Object(map) if !map.is_empty())
            || matches!(value, Value::Array(list) if !list.is_empty())
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                if nested(value) {
                    writeln!(f, "{indent}{key}:")?;
                    tree(f, value, depth + 1)?;
                } else {
                    writeln!(f, "{indent}{key}: {value}")?;
                }
            }
            Ok(())
        }
        Value::Array(list) => {
            for value in list {
                if nested(value) {
                    writeln!(f, "{indent}-")?;
                    tree(f, value, depth + 1)?;
                } else {
                    writeln!(f, "{indent}- {value}")?;
                }
            }
            Ok(())
        }
        scalar => writeln!(f, "{indent}{scalar}"),
    }
}
