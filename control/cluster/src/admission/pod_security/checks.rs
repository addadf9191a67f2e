//! Which checks a level has in which version of Kubernetes, and the order in which they are told.
//!
//! Source: `MinimumVersion` and `OverrideCheckIDs` of the checks in `k8s.io/pod-security-admission/policy`, as of 1.33.

use std::ops::Range;

use super::{Level, Pod, Version, Violation, baseline, restricted};

type Check = fn(&Pod<'_>) -> Option<Violation>;

const ALWAYS: Range<u32> = 0..u32::MAX;
const NEVER: Range<u32> = 0..0;

const fn from(minor: u32) -> Range<u32> {
    minor..u32::MAX
}

/// The minor versions in which `baseline` asks something, those in which `restricted` does, and what. Where `restricted`
/// asks it more strictly it has a check of its own.
const CHECKS: [(Range<u32>, Range<u32>, Check); 18] = [
    (ALWAYS, ALWAYS, baseline::app_armor),
    (ALWAYS, 0..22, baseline::capabilities),
    (ALWAYS, ALWAYS, baseline::host_namespaces),
    (ALWAYS, NEVER, baseline::host_path),
    (ALWAYS, ALWAYS, baseline::host_ports),
    (ALWAYS, ALWAYS, baseline::privileged),
    (ALWAYS, ALWAYS, baseline::proc_mount),
    (ALWAYS, ALWAYS, baseline::se_linux),
    (0..19, 0..19, baseline::seccomp_annotations),
    (from(19), NEVER, baseline::seccomp),
    (ALWAYS, ALWAYS, baseline::sysctls),
    (ALWAYS, ALWAYS, baseline::host_process),
    (NEVER, from(8), restricted::escalation),
    (NEVER, from(22), restricted::capabilities),
    (NEVER, ALWAYS, restricted::volumes),
    (NEVER, ALWAYS, restricted::run_as_non_root),
    (NEVER, from(23), restricted::run_as_user),
    (NEVER, from(19), restricted::seccomp),
];

/// What all pods may set, and since which minor version.
pub(super) const SELINUX_TYPES: [(u32, &str); 5] =
    [(0, ""), (0, "container_t"), (0, "container_init_t"), (0, "container_kvm_t"), (31, "container_engine_t")];

/// The same of sysctls.
pub(super) const SAFE_SYSCTLS: [(u32, &str); 12] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

/// From here on pods for Windows need not say what only Linux has.
pub(super) const WINDOWS_IS_TOLD_APART: Version = Version(25);

/// Everything in which the pod breaks `level`.
pub(super) fn broken(level: Level, pod: &Pod<'_>) -> Vec<Violation> {
    let asked = |(baseline, restricted, _): &&(Range<u32>, Range<u32>, Check)| match level {
        Level::Privileged => false,
        Level::Baseline => baseline.contains(&pod.version.0),
        Level::Restricted => restricted.contains(&pod.version.0),
    };
    CHECKS.iter().filter(asked).filter_map(|(_, _, check)| check(pod)).collect()
}

/// Whether `table` has `name` for pods of this version.
pub(super) fn has(table: &[(u32, &str)], version: Version, name: &str) -> bool {
    table.iter().any(|(since, known)| *known == name && version.0 >= *since)
}
