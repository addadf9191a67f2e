//! What pods ask for and what nodes have, in whole numbers.

use crate::{Object, Quantity};
use serde_json::Value;

/// Amounts of what the scheduler counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Amounts {
    /// Thousandths of a CPU.
    pub cpu_millis: u64,
    /// Bytes of memory.
    pub memory_bytes: u64,
    /// Bytes of the node's own disk: logs, `emptyDir`s, what containers write.
    pub storage_bytes: u64,
    /// Pods.
    pub pods: u64,
}

impl Amounts {
    /// Adds what another asks for.
    pub fn add(&mut self, other: &Self) {
        self.cpu_millis = self.cpu_millis.saturating_add(other.cpu_millis);
        self.memory_bytes = self.memory_bytes.saturating_add(other.memory_bytes);
        self.storage_bytes = self.storage_bytes.saturating_add(other.storage_bytes);
        self.pods = self.pods.saturating_add(other.pods);
    }

    /// These without what another asks for.
    #[must_use]
    pub fn without(&self, other: &Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.saturating_sub(other.cpu_millis),
            memory_bytes: self.memory_bytes.saturating_sub(other.memory_bytes),
            storage_bytes: self.storage_bytes.saturating_sub(other.storage_bytes),
            pods: self.pods.saturating_sub(other.pods),
        }
    }

    fn at_least(self, other: Self) -> Self {
        Self {
            cpu_millis: self.cpu_millis.max(other.cpu_millis),
            memory_bytes: self.memory_bytes.max(other.memory_bytes),
            storage_bytes: self.storage_bytes.max(other.storage_bytes),
            pods: self.pods.max(other.pods),
        }
    }

    /// How full a node that has `has` would be with `asked` more: the sum of the three shares, each in millionths.
    /// Kubernetes' least allocated looks at CPU and memory; the number of pods spreads those that ask for nothing.
    pub fn load_with(&self, asked: &Self, has: &Self) -> u64 {
        let share = |promised: u64, asked: u64, has: u64| {
            let full = u128::from(promised) + u128::from(asked);
            u64::try_from(full * 1_000_000 / u128::from(has.max(1))).unwrap_or(u64::MAX)
        };
        share(self.cpu_millis, asked.cpu_millis, has.cpu_millis)
            .saturating_add(share(self.memory_bytes, asked.memory_bytes, has.memory_bytes))
            .saturating_add(share(self.pods, asked.pods, has.pods))
    }
}

/// What a pod asks for: the sum over its containers and sidecars, or what an init container needs beside the sidecars
/// before it if that is more, and its overhead (KEP-753).
pub fn of_pod(pod: &Object) -> Amounts {
    let (mut sum, mut beside, mut most) = (Amounts::default(), Amounts::default(), Amounts::default());
    for container in pod.items("/spec/initContainers") {
        let mut then = beside;
        then.add(&of_container(container));
        if container["restartPolicy"] == "Always" {
            beside = then;
        }
        most = most.at_least(then);
    }
    for container in pod.items("/spec/containers") {
        sum.add(&of_container(container));
    }
    sum.add(&beside);
    sum = sum.at_least(most);
    sum.add(&of_list(pod.at("/spec/overhead")));
    sum.pods = 1;
    sum
}

fn of_container(container: &Value) -> Amounts {
    of_list(container.pointer("/resources/requests"))
}

/// What a node can give to pods.
pub fn of_node(node: &Object) -> Amounts {
    let list = node.at("/status/allocatable").or_else(|| node.at("/status/capacity"));
    of_list(list)
}

fn of_list(list: Option<&Value>) -> Amounts {
    let quantity = |name: &str| Quantity::from_value(list?.get(name)?).ok();
    let whole = |quantity: Quantity| u64::try_from(quantity.value()).unwrap_or_default();
    Amounts {
        cpu_millis: quantity("cpu").map_or(0, |cpu| u64::try_from(cpu.millis()).unwrap_or_default()),
        memory_bytes: quantity("memory").map_or(0, whole),
        storage_bytes: quantity("ephemeral-storage").map_or(0, whole),
        pods: quantity("pods").map_or(0, whole),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn init_containers_count_by_the_largest_and_sidecars_with_the_others() {
        let asks = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let stays = |cpu: &str| json!({"restartPolicy": "Always", "resources": asks(cpu)});
        let goes = |cpu: &str| json!({"resources": asks(cpu)});
        for (inits, cpu_millis) in [
            (json!([]), 100),
            (json!([goes("300m"), goes("200m")]), 300),
            (json!([stays("50m")]), 150),
            (json!([stays("50m"), goes("300m")]), 350),
            (json!([goes("300m"), stays("50m")]), 300),
        ] {
            let pod = Object::new(json!({"spec": {"initContainers": inits, "containers": [goes("100m")]}}));
            assert_eq!(of_pod(&pod).cpu_millis, cpu_millis, "{inits}");
        }
    }
}
