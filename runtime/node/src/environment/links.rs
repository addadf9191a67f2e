//! The variables that tell a container where its namespace's Services are, made once for all containers that see the same
//! Services: a hundred Services are some eight hundred variables, and a node may run ten thousand pods.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use serde_json::Value;
use wk_api::{Object, kinds};
use wk_cluster::{Cluster, object};
use wk_store::{Part, View};

/// The namespace whose `kubernetes` Service every pod hears of.
const KUBERNETES: (&str, &str) = ("default", "kubernetes");
/// Namespaces whose variables are remembered. Past this all are made anew once, which costs a start some milliseconds.
const NAMESPACES_MAX: usize = 1024;

/// What was made last for each namespace, for as long as a container has it. Clones share it.
#[derive(Clone, Default)]
pub struct ServiceLinks(Arc<Mutex<HashMap<(String, bool), Made>>>);

struct Made {
    from: Part,
    variables: Weak<[(String, String)]>,
}

impl ServiceLinks {
    /// The variables of the Services of `namespace`, sorted by name; with `all` false only where the API is.
    pub(super) fn of(&self, cluster: &Cluster, namespace: &str, all: bool) -> Arc<[(String, String)]> {
        let view = cluster.store().view();
        let from = view.part(kinds::SERVICE.collection());
        let mut made = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (namespace.to_owned(), all);
        let last = made.get(&key).filter(|made| made.from == from);
        if let Some(variables) = last.and_then(|made| made.variables.upgrade()) {
            return variables;
        }
        let variables: Arc<[_]> = services(&view, namespace, all).into_iter().collect();
        if made.len() >= NAMESPACES_MAX {
            made.clear();
        }
        made.insert(key, Made { from, variables: Arc::downgrade(&variables) });
        variables
    }
}

impl std::fmt::Debug for ServiceLinks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ServiceLinks")
    }
}

/// The value of the variable `name` among sorted ones.
pub(super) fn get<'v>(variables: &'v [(String, String)], name: &str) -> Option<&'v str> {
    let found = variables.binary_search_by(|(known, _)| known.as_str().cmp(name)).ok()?;
    Some(&variables[found].1)
}

/// Where the services of a namespace are (*Accessing the Service: environment variables*).
fn services(view: &View, namespace: &str, all: bool) -> BTreeMap<String, String> {
    let (home, name) = KUBERNETES;
    let mut variables = BTreeMap::new();
    // Its own namespace last: a service of that name there hides the API's.
    if let Some(service) = view.get(&wk_cluster::key(&kinds::SERVICE, Some(home), name)) {
        service_variables(&object(&service), &mut variables);
    }
    if all {
        for service in view.list(kinds::SERVICE.collection(), &format!("{namespace}/")) {
            service_variables(&object(&service), &mut variables);
        }
    }
    variables
}

fn service_variables(service: &Object, variables: &mut BTreeMap<String, String>) {
    let host = service.text("/spec/clusterIP");
    let ports = service.items("/spec/ports");
    let (false, Some(first)) = (host.is_empty() || host == "None", ports.first()) else { return };
    let spelled = |name: &str| name.to_uppercase().replace('-', "_");
    let name = spelled(service.name());
    let number = |port: &Value| port["port"].as_i64().unwrap_or_default();
    let around = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    let mut set = |name: String, value: String| variables.insert(name, value);
    set(format!("{name}_SERVICE_HOST"), host.to_owned());
    set(format!("{name}_SERVICE_PORT"), number(first).to_string());
    for (index, port) in ports.iter().enumerate() {
        let number = number(port);
        if let Some(port_name) = port["name"].as_str().filter(|name| !name.is_empty()) {
            set(format!("{name}_SERVICE_PORT_{}", spelled(port_name)), number.to_string());
        }
        let protocol = port["protocol"].as_str().unwrap_or("TCP");
        let lower = protocol.to_lowercase();
        let address = format!("{lower}://{around}:{number}");
        if index == 0 {
            set(format!("{name}_PORT"), address.clone());
        }
        let port_name = format!("{name}_PORT_{number}_{}", protocol.to_uppercase());
        set(format!("{port_name}_PROTO"), lower);
        set(format!("{port_name}_PORT"), number.to_string());
        set(format!("{port_name}_ADDR"), host.to_owned());
        set(port_name, address);
    }
}
