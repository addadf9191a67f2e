//! The downward API: what a pod can be told of itself, of its resources and of the node it runs on.
//!
//! Not here: whether it arrives as a variable (`env`) or as a file (a volume).

use std::net::IpAddr;

use k8s_openapi::api::core::v1 as core;
use serde_json::Value;
use wk_api::Object;
use wk_api::quantity::Quantity;

use super::{MEMORY_DEFAULT, SpecError, refuse};

/// What a field is read from, when a container starts.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The pod, as it is now.
    pub pod: &'a Object,
    /// The name of this node.
    pub node: &'a str,
    /// The node's address.
    pub host_ip: IpAddr,
    /// The pod's address.
    pub ip: IpAddr,
    /// `status.allocatable` of this node.
    pub allocatable: Option<&'a Value>,
}

/// A field that `fieldRef` may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Field {
    /// `metadata.name`.
    Name,
    /// `metadata.namespace`.
    Namespace,
    /// `metadata.uid`.
    Uid,
    /// `metadata.labels['KEY']`.
    Label(String),
    /// `metadata.annotations['KEY']`.
    Annotation(String),
    /// `metadata.labels`: all of them, for files only.
    Labels,
    /// `metadata.annotations`: all of them, for files only.
    Annotations,
    /// `spec.nodeName`.
    NodeName,
    /// `spec.serviceAccountName`.
    ServiceAccount,
    /// `status.hostIP`, and `status.hostIPs`: a node has one address.
    HostIp,
    /// `status.podIP`, and `status.podIPs`: a pod has one address.
    PodIp,
}

impl Field {
    /// Reads a `fieldPath`; None when there is no such field.
    pub fn parse(path: &str) -> Option<Self> {
        Some(match path {
            "metadata.name" => Self::Name,
            "metadata.namespace" => Self::Namespace,
            "metadata.uid" => Self::Uid,
            "metadata.labels" => Self::Labels,
            "metadata.annotations" => Self::Annotations,
            "spec.nodeName" => Self::NodeName,
            "spec.serviceAccountName" => Self::ServiceAccount,
            "status.hostIP" | "status.hostIPs" => Self::HostIp,
            "status.podIP" | "status.podIPs" => Self::PodIp,
            _ => {
                let (map, key) = path.strip_suffix("']")?.split_once("['")?;
                match map {
                    "metadata.labels" => Self::Label(key.to_owned()),
                    "metadata.annotations" => Self::Annotation(key.to_owned()),
                    _ => return None,
                }
            }
        })
    }

    /// Whether it may be a file: those of `metadata`.
    pub fn is_of_metadata(&self) -> bool {
        !matches!(self, Self::NodeName | Self::ServiceAccount | Self::HostIp | Self::PodIp)
    }

    /// Whether it may change while the pod lives.
    pub fn may_change(&self) -> bool {
        matches!(self, Self::Label(_) | Self::Annotation(_) | Self::Labels | Self::Annotations)
    }

    /// What the pod's metadata says now. A label or annotation that is not there is empty; all of them are lines of
    /// `KEY="VALUE"`. Empty for a field of something else.
    pub fn of_metadata(&self, pod: &Object) -> String {
        match self {
            Self::Name => pod.name().to_owned(),
            Self::Namespace => pod.namespace().to_owned(),
            Self::Uid => pod.uid().to_owned(),
            Self::Label(key) => pod.label(key).unwrap_or_default().to_owned(),
            Self::Annotation(key) => pod.annotation(key).unwrap_or_default().to_owned(),
            Self::Labels => lines(pod.labels()),
            Self::Annotations => lines(pod.annotations()),
            Self::NodeName | Self::ServiceAccount | Self::HostIp | Self::PodIp => String::new(),
        }
    }

    /// What it is now.
    pub fn value(&self, facts: &Facts<'_>) -> String {
        match self {
            Self::NodeName => facts.node.to_owned(),
            Self::ServiceAccount => facts.pod.text("/spec/serviceAccountName").to_owned(),
            Self::HostIp => facts.host_ip.to_string(),
            Self::PodIp => facts.ip.to_string(),
            Self::Name
            | Self::Namespace
            | Self::Uid
            | Self::Label(_)
            | Self::Annotation(_)
            | Self::Labels
            | Self::Annotations => self.of_metadata(facts.pod),
        }
    }
}

fn lines<'a>(map: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    map.into_iter().map(|(key, value)| format!("{key}={value:?}")).collect::<Vec<_>>().join("\n")
}

/// What `resourceFieldRef` names: a limit or a request of one of the pod's containers, in units of `divisor`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResourceField {
    container: String,
    /// `limits` or `requests`.
    bound: String,
    /// `cpu`, `memory`, …
    resource: String,
    divisor: Quantity,
}

impl ResourceField {
    /// Reads a reference made in the container `own`, found in the object at `field`.
    pub fn parse(reference: &core::ResourceFieldSelector, own: &str, field: &str) -> Result<Self, SpecError> {
        let parts = reference.resource.split_once('.');
        let known = |resource: &str| matches!(resource, "cpu" | "memory" | "ephemeral-storage");
        let Some((bound, resource)) =
            parts.filter(|(bound, resource)| matches!(*bound, "limits" | "requests") && known(resource))
        else {
            return refuse(field, format!("unknown resource {:?}", reference.resource));
        };
        let written = reference.divisor.as_ref().map_or("0", |divisor| divisor.0.as_str());
        let Ok(divisor) = Quantity::parse(written) else {
            return refuse(field, format!("{written:?} is not a divisor"));
        };
        let container = reference.container_name.clone().filter(|name| !name.is_empty());
        Ok(Self {
            container: container.unwrap_or_else(|| own.to_owned()),
            bound: bound.to_owned(),
            resource: resource.to_owned(),
            divisor,
        })
    }

    /// How many units, rounded up. A limit that the container does not set is what it can get on this node: all of
    /// the CPUs and of guests' disk, and of the memory what a guest without a limit may use.
    pub fn value(&self, pod: &Object, allocatable: Option<&Value>) -> String {
        let amount = self.amount(pod, allocatable).unwrap_or(Quantity::ZERO);
        // Nothing written means one CPU or one byte.
        let units = if self.resource == "cpu" {
            divide_up(amount.millis(), if self.divisor == Quantity::ZERO { 1000 } else { self.divisor.millis() })
        } else {
            divide_up(amount.value(), if self.divisor == Quantity::ZERO { 1 } else { self.divisor.value() })
        };
        units.to_string()
    }

    fn amount(&self, pod: &Object, allocatable: Option<&Value>) -> Option<Quantity> {
        let mut containers = pod.items("/spec/containers").iter().chain(pod.items("/spec/initContainers"));
        let container = containers.find(|container| container["name"] == self.container.as_str())?;
        let written = &container["resources"][self.bound.as_str()][self.resource.as_str()];
        let written = Quantity::from_value(written).ok().filter(|amount| amount.value() > 0);
        if written.is_some() || self.bound == "requests" {
            return written;
        }
        let most = allocatable.and_then(|all| Quantity::from_value(&all[self.resource.as_str()]).ok());
        match self.resource.as_str() {
            "memory" => {
                let default = i64::try_from(MEMORY_DEFAULT).unwrap_or(i64::MAX);
                Some(Quantity::from_bytes(most.map_or(default, |most| most.value().min(default))))
            }
            _ => most,
        }
    }
}

fn divide_up(amount: i64, unit: i64) -> i64 {
    let unit = unit.max(1);
    amount / unit + i64::from(amount % unit > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn pod() -> Object {
        Object(json!({
            "metadata": {"name": "web-1", "namespace": "shop", "uid": "u", "labels": {"app": "web", "a/b": "x\"y"}},
            "spec": {"serviceAccountName": "robot", "containers": [
                {"name": "app", "resources": {"limits": {"cpu": "1500m", "memory": "64Mi", "ephemeral-storage": "1Gi"}, "requests": {"cpu": "1m"}}},
                {"name": "bare"},
            ]},
        }))
    }

    fn facts<'a>(pod: &'a Object, allocatable: &'a Value) -> Facts<'a> {
        let (host_ip, ip) = (IpAddr::from([192, 168, 0, 7]), IpAddr::from([10, 128, 0, 5]));
        Facts { pod, node: "n1", host_ip, ip, allocatable: Some(allocatable) }
    }

    #[test]
    fn fields_tell_of_the_pod_and_its_node() {
        let (pod, none) = (pod(), Value::Null);
        for (path, value) in [
            ("metadata.name", "web-1"),
            ("metadata.namespace", "shop"),
            ("metadata.uid", "u"),
            ("metadata.labels['app']", "web"),
            ("metadata.labels['none']", ""),
            ("metadata.annotations['none']", ""),
            ("metadata.labels", "a/b=\"x\\\"y\"\napp=\"web\""),
            ("spec.nodeName", "n1"),
            ("spec.serviceAccountName", "robot"),
            ("status.hostIP", "192.168.0.7"),
            ("status.hostIPs", "192.168.0.7"),
            ("status.podIP", "10.128.0.5"),
            ("status.podIPs", "10.128.0.5"),
        ] {
            assert_eq!(Field::parse(path).expect(path).value(&facts(&pod, &none)), value, "{path}");
        }
        for path in ["spec.nope", "metadata.labels['app'", "status.podIP['x']", ""] {
            assert_eq!(Field::parse(path), None, "{path}");
        }
    }

    #[test]
    fn resources_are_divided_and_rounded_up_and_fall_back_to_what_the_node_has() {
        let (pod, node) = (pod(), json!({"cpu": "4", "memory": "8Gi", "ephemeral-storage": "100Gi"}));
        for (container, resource, divisor, value) in [
            (None, "limits.cpu", None, "2"),
            (None, "limits.cpu", Some("1m"), "1500"),
            (None, "requests.cpu", None, "1"),
            (None, "limits.memory", None, "67108864"),
            (None, "limits.memory", Some("1Mi"), "64"),
            (None, "requests.memory", Some("1Mi"), "0"),
            (Some("bare"), "limits.cpu", None, "4"),
            (Some("bare"), "limits.memory", Some("1Mi"), "256"),
            (Some("bare"), "requests.cpu", None, "0"),
            (None, "limits.ephemeral-storage", None, "1073741824"),
            (None, "requests.ephemeral-storage", Some("1Mi"), "0"),
            (Some("bare"), "limits.ephemeral-storage", Some("1Gi"), "100"),
        ] {
            let reference: core::ResourceFieldSelector =
                serde_json::from_value(json!({"containerName": container, "resource": resource, "divisor": divisor}))
                    .unwrap();
            let field = ResourceField::parse(&reference, "app", "f").unwrap();
            assert_eq!(field.value(&pod, Some(&node)), value, "{container:?} {resource} {divisor:?}");
        }
        let unknown = core::ResourceFieldSelector { resource: "limits.gpu".into(), ..Default::default() };
        assert_eq!(ResourceField::parse(&unknown, "app", "f").unwrap_err().field, "f");
    }
}
