//! Which updates of a pod are judged again. A pod that is older than its namespace's level stays, and may be labelled and
//! scheduled; what it may not have is more of what breaks the level.
//!
//! Source: `isSignificantPodUpdate` of `k8s.io/pod-security-admission`.

use serde_json::Value;

use super::Pod;

/// Where profiles of seccomp and AppArmor stood before there were fields. Kubernetes lets nobody change the latter.
const PROFILES: [&str; 3] = [
    "seccomp.security.alpha.kubernetes.io/pod",
    "container.seccomp.security.alpha.kubernetes.io/",
    "container.apparmor.security.beta.kubernetes.io/",
];

/// Whether `new` has containers, images or profiles that `old` has not: of what may change in a pod that is there,
/// levels look at nothing else.
pub(super) fn may_break_a_level(old: &Pod<'_>, new: &Pod<'_>) -> bool {
    let same = |list| images(old, list).eq(images(new, list));
    let debugged = |(name, image)| !images(old, "ephemeralContainers").any(|known| known == (name, image));
    !same("containers")
        || !same("initContainers")
        || images(new, "ephemeralContainers").any(debugged)
        || !profiles(old).eq(profiles(new))
}

/// Names and images of a list of containers.
fn images<'a>(pod: &Pod<'a>, list: &str) -> impl Iterator<Item = (&'a str, &'a str)> {
    let containers = pod.spec.get(list).and_then(Value::as_array).into_iter().flatten();
    let text = |container: &'a Value, field: &str| container.get(field).and_then(Value::as_str).unwrap_or_default();
    containers.map(move |container| (text(container, "name"), text(container, "image")))
}

fn profiles<'a>(pod: &Pod<'a>) -> impl Iterator<Item = (&'a String, &'a Value)> {
    let annotations = pod.annotations.as_object().into_iter().flatten();
    annotations.filter(|(key, _)| PROFILES.iter().any(|prefix| key.starts_with(prefix)))
}
