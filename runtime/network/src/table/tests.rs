//! What a table promises.

use std::sync::Arc;

use super::{Endpoint, EndpointState, Service, ServiceName, ServicePort, Table};

fn endpoint(pod: &str, state: EndpointState) -> Endpoint {
    Endpoint {
        pod: pod.into(),
        node: "n1".into(),
        address: "10.128.0.1".parse().expect("ip"),
        port: 8080,
        state,
        hostname: None,
    }
}

fn service(name: &str, address: Option<&str>, endpoints: Vec<Endpoint>) -> Service {
    Service {
        name: ServiceName::new("default", name),
        cluster_ip: address.map(|address| address.parse().expect("ip")),
        ports: vec![ServicePort { name: "http".into(), port: 80, endpoints, written: vec![] }],
        elsewhere: None,
        node_ports: Vec::new(),
        local_traffic: false,
    }
}

fn usable(endpoints: Vec<Endpoint>) -> Vec<String> {
    let table = Table::new([service("web", None, endpoints)]);
    let web = table.service(&ServiceName::new("default", "web")).expect("web");
    web.port(80).expect("port").usable().map(|endpoint| endpoint.pod.to_string()).collect()
}

#[test]
fn only_ready_endpoints_are_called() {
    use EndpointState::{NotReady, Ready, Terminating};
    assert_eq!(usable(vec![endpoint("a", Ready), endpoint("b", Terminating), endpoint("c", NotReady)]), ["a"]);
}

#[test]
fn terminating_endpoints_are_called_while_nobody_is_ready() {
    use EndpointState::{NotReady, Terminating};
    assert_eq!(usable(vec![endpoint("b", Terminating), endpoint("c", NotReady)]), ["b"]);
}

#[test]
fn service_is_found_by_name_and_by_address() {
    let table = Table::new([service("web", Some("10.96.0.7"), vec![]), service("headless", None, vec![])]);
    let web = table.service(&ServiceName::new("default", "web")).expect("by name");
    assert!(Arc::ptr_eq(web, table.at("10.96.0.7".parse().expect("ip")).expect("by address")));
    assert!(table.at("10.96.0.8".parse().expect("ip")).is_none());
    assert!(table.service(&ServiceName::new("other", "web")).is_none());
    assert_eq!(table.services().map(|s| s.name.to_string()).collect::<Vec<_>>(), ["default/headless", "default/web"]);
}

#[test]
fn port_is_found_by_number_and_by_name() {
    let web = service("web", None, vec![]);
    assert_eq!(web.port(80), web.port_named("http"));
    assert!(web.port(81).is_none());
}

#[test]
fn first_of_two_services_with_one_address_keeps_it() {
    let table = Table::new([service("one", Some("10.96.0.7"), vec![]), service("two", Some("10.96.0.7"), vec![])]);
    assert_eq!(table.at("10.96.0.7".parse().expect("ip")).expect("one").name.name, "one");
    assert!(table.service(&ServiceName::new("default", "two")).is_some());
}

#[test]
fn reader_keeps_its_table_while_another_is_swapped_in() {
    let shared = Table::new([service("web", None, vec![])]).shared();
    let before = shared.load_full();
    shared.store(Arc::new(Table::default()));
    assert_eq!(before.services().count(), 1);
    assert_eq!(shared.load().services().count(), 0);
}
