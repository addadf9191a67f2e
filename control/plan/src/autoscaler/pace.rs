//! How fast replicas may come and go: the stabilization windows and the policies of `spec.behavior`.

use std::cmp::Ordering;

use jiff::SignedDuration;
use serde_json::{Value, json};
use wk_api::Object;
use wk_base::time::Timestamp;

use super::{Bounds, condition};
use crate::conditions::Condition;
use crate::read;

/// Before replicas go, for so long none more must have been wanted. Kubernetes' default.
const DOWN_WINDOW_SECONDS: i64 = 300;
/// The longest window and period that validation lets through: what is older is forgotten.
const KEPT: SignedDuration = SignedDuration::from_secs(3600);
/// Recommendations kept: an hour of looks, one in fifteen seconds, and as many again for changes between.
const KEPT_MAX: usize = 480;

/// What was recommended and done, for one autoscaler.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Memory {
    recommended: Vec<(Timestamp, i64)>,
    /// Changes of the number of replicas.
    changes: Vec<(Timestamp, i64)>,
}

/// The outcome.
pub(super) struct Paced {
    pub(super) replicas: i64,
    /// `ScalingLimited`.
    pub(super) limited: Condition,
    /// `AbleToScale`, when the window holds back.
    pub(super) able: Option<Condition>,
}

impl Memory {
    /// Notes that the number was changed.
    pub(super) fn scaled(&mut self, from: i64, to: i64, now: Timestamp) {
        self.changes.push((now, to - from));
    }

    /// The number for now, on the way from `current` to `wanted`.
    pub(super) fn pace(
        &mut self,
        autoscaler: &Object,
        current: i64,
        wanted: i64,
        bounds: &Bounds,
        now: Timestamp,
    ) -> Paced {
        self.forget(now);
        if self.recommended.is_empty() {
            // A leader that has only just begun knows of no wish before, and what there is was somebody's.
            self.recommended.push((now, current));
        }
        self.recommended.push((now, wanted));
        let behavior = autoscaler.at("/spec/behavior").unwrap_or(&Value::Null);
        let (up, down) = (&behavior["scaleUp"], &behavior["scaleDown"]);
        let stable = self.stabilized(current, wanted, window(up, 0), window(down, DOWN_WINDOW_SECONDS), now);
        let able = (stable != wanted).then(|| {
            let message =
                "recent recommendations were higher than current one, applying the highest recent recommendation";
            if stable > wanted {
                condition("AbleToScale", "True", "ScaleDownStabilized", message)
            } else {
                let message =
                    "recent recommendations were lower than current one, applying the lowest recent recommendation";
                condition("AbleToScale", "True", "ScaleUpStabilized", message)
            }
        });
        let allowed = match stable.cmp(&current) {
            Ordering::Greater => stable.min(self.limit(up, current, now, Way::Up)),
            Ordering::Less => stable.max(self.limit(down, current, now, Way::Down)),
            Ordering::Equal => stable,
        };
        let replicas = bounds.keep(allowed);
        let limited = if allowed > bounds.max {
            condition(
                "ScalingLimited",
                "True",
                "TooManyReplicas",
                "the desired replica count is more than the maximum replica count",
            )
        } else if allowed < bounds.min {
            condition(
                "ScalingLimited",
                "True",
                "TooFewReplicas",
                "the desired replica count is less than the minimum replica count",
            )
        } else if allowed < stable {
            condition(
                "ScalingLimited",
                "True",
                "ScaleUpLimit",
                "the desired replica count is increasing faster than the maximum scale rate",
            )
        } else if allowed > stable {
            condition(
                "ScalingLimited",
                "True",
                "ScaleDownLimit",
                "the desired replica count is decreasing faster than the maximum scale rate",
            )
        } else {
            condition(
                "ScalingLimited",
                "False",
                "DesiredWithinRange",
                "the desired count is within the acceptable range",
            )
        };
        Paced { replicas, limited, able }
    }

    fn forget(&mut self, now: Timestamp) {
        for list in [&mut self.recommended, &mut self.changes] {
            list.retain(|(at, _)| now.duration_since(*at) <= KEPT);
            let surplus = list.len().saturating_sub(KEPT_MAX);
            list.drain(..surplus);
        }
    }

    /// Up to the least that was wanted within the one window, down to the most within the other.
    fn stabilized(&self, current: i64, wanted: i64, up: SignedDuration, down: SignedDuration, now: Timestamp) -> i64 {
        let within = |window: SignedDuration| {
            self.recommended.iter().filter(move |(at, _)| now.duration_since(*at) < window).map(|(_, it)| *it)
        };
        let least = within(up).min().unwrap_or(wanted).min(wanted);
        let most = within(down).max().unwrap_or(wanted).max(wanted);
        current.max(least).min(most)
    }

    /// How far the policies let it go.
    fn limit(&self, rules: &Value, current: i64, now: Timestamp, way: Way) -> i64 {
        if read::text(rules, "selectPolicy") == "Disabled" {
            return current;
        }
        let given = rules["policies"].as_array().cloned().filter(|policies| !policies.is_empty());
        let policies = given.unwrap_or_else(|| way.policies());
        let limits = policies.iter().map(|policy| {
            let period = SignedDuration::from_secs(policy["periodSeconds"].as_i64().unwrap_or(15));
            let recent = self.changes.iter().filter(|(at, _)| now.duration_since(*at) < period).map(|(_, by)| *by);
            let value = policy["value"].as_i64().unwrap_or(0);
            let is_percent = read::text(policy, "type") == "Percent";
            match way {
                Way::Up => {
                    let start = current - recent.filter(|by| *by > 0).sum::<i64>();
                    if is_percent { percent_up(start, 100 + value) } else { start + value }
                }
                Way::Down => {
                    let start = current - recent.filter(|by| *by < 0).sum::<i64>();
                    if is_percent { start * (100 - value).max(0) / 100 } else { start - value }
                }
            }
        });
        let is_min = read::text(rules, "selectPolicy") == "Min";
        let chosen = match (way, is_min) {
            (Way::Up, false) | (Way::Down, true) => limits.max(),
            (Way::Up, true) | (Way::Down, false) => limits.min(),
        };
        match way {
            Way::Up => chosen.unwrap_or(current).max(current),
            Way::Down => chosen.unwrap_or(current).min(current),
        }
    }
}

#[derive(Clone, Copy)]
enum Way {
    Up,
    Down,
}

impl Way {
    /// Kubernetes' defaults: twice as many, or four more; and down all at once, after the window.
    fn policies(self) -> Vec<Value> {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        match self {
            Self::Up => vec![percent, json!({"type": "Pods", "value": 4, "periodSeconds": 15})],
            Self::Down => vec![percent],
        }
    }
}

fn percent_up(whole: i64, percent: i64) -> i64 {
    (whole * percent + 99) / 100
}

fn window(rules: &Value, default: i64) -> SignedDuration {
    SignedDuration::from_secs(rules["stabilizationWindowSeconds"].as_i64().unwrap_or(default))
}
