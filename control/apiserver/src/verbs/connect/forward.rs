//! `pods/portforward`, in its three dialects.

use std::sync::Arc;

use async_trait::async_trait;
use http::header::SEC_WEBSOCKET_PROTOCOL;
use wk_api::{Object, Status};
use wk_base::body::Body;
use wk_cluster::Freshness;
use wk_streams::forward::{self, CHANNELS_PROTOCOLS, Dial, PORTS_MAX, SPDY_PROTOCOL, TUNNEL_PROTOCOL};
use wk_streams::relay::Wanted;
use wk_streams::websocket;

use super::{Way, accept_spdy, accept_websocket, no_protocol, node, spdy_version, switch, way};
use crate::query::Query;
use crate::respond::Reply;
use crate::seams::Pods;
use crate::server::ApiServer;
use crate::verbs::Call;

pub(in crate::verbs) async fn run(server: &ApiServer, call: &Call) -> Result<Reply, Status> {
    let pod = server.cluster.get(call.kind(), call.namespace(), call.name(), Freshness::Linearizable).await?;
    stream(server, call, &pod, "ports")
}

/// `parameter` names the ports: a kubelet is asked for `port`.
pub(in crate::verbs) fn stream(
    server: &ApiServer,
    call: &Call,
    pod: &Object,
    parameter: &str,
) -> Result<Reply, Status> {
    let (node, uid, name) = (node(pod)?.to_owned(), pod.uid().to_owned(), pod.name().to_owned());
    let pod: Arc<dyn Dial> = Arc::new(Pod { pods: Arc::clone(&server.pods), node, uid, name });
    match way(call)? {
        Way::Spdy => {
            if let Err(refusal) = spdy_version(call, &[SPDY_PROTOCOL], SPDY_PROTOCOL) {
                return Ok(*refusal);
            }
            let taken = accept_spdy(server, call, SPDY_PROTOCOL)?;
            Ok(switch(server, taken, move |io| async move {
                let (reader, writer) = tokio::io::split(io);
                forward::over_spdy(reader, writer, pod).await;
            }))
        }
        Way::WebSocket => {
            let offered: Vec<&str> = websocket::tokens(&call.headers, &SEC_WEBSOCKET_PROTOCOL).collect();
            if offered.contains(&TUNNEL_PROTOCOL) {
                let taken = accept_websocket(server, call, TUNNEL_PROTOCOL)?;
                return Ok(switch(server, taken, move |io| async move {
                    let (reader, writer) = websocket::tunnel(io).await;
                    forward::over_spdy(reader, writer, pod).await;
                }));
            }
            let mut known = CHANNELS_PROTOCOLS.into_iter();
            let known = known.find(|name| offered.contains(name) || name.is_empty() && offered.is_empty());
            let protocol = known.ok_or_else(|| no_protocol(&offered))?;
            let ports = ports(&call.query, parameter)?;
            let taken = accept_websocket(server, call, protocol)?;
            Ok(switch(server, taken, move |io| forward::over_channels(io, ports, pod)))
        }
    }
}

/// `ports=80,81`, `ports=80&ports=81`.
fn ports(query: &Query, parameter: &str) -> Result<Vec<u16>, Status> {
    let given: Vec<&str> = query.all(parameter).flat_map(|ports| ports.split(',')).collect();
    if given.is_empty() {
        return Err(Status::bad_request("query parameter \"port\" is required"));
    }
    if given.len() > PORTS_MAX {
        return Err(Status::bad_request(format!("at most {PORTS_MAX} ports can be forwarded over one connection")));
    }
    let port = |text: &str| text.trim().parse::<u16>().ok().filter(|port| *port > 0);
    let ports = given
        .iter()
        .map(|text| port(text).ok_or_else(|| Status::bad_request(format!("unable to parse {text:?} as a port"))));
    ports.collect()
}

/// A pod's ports, on whichever node.
struct Pod {
    pods: Arc<dyn Pods>,
    node: String,
    uid: String,
    name: String,
}

#[async_trait]
impl Dial for Pod {
    async fn dial(&self, port: u16, input: Body) -> Result<Body, String> {
        let opened = self.pods.open(&self.node, &self.uid, &Wanted::Forward { port }, input).await;
        opened.map_err(|status| {
            format!("error forwarding port {port} to pod {}, uid {}: {}", self.name, self.uid, status.message)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_come_in_both_forms_and_are_bounded() {
        let read = |query: &str| ports(&Query::parse(Some(query)), "ports");
        assert_eq!(read("ports=80,81&ports=9000").expect("ports"), [80, 81, 9000]);
        for query in ["", "ports=0", "ports=x", "ports=80,", "ports=65536"] {
            assert_eq!(read(query).expect_err(query).code, 400);
        }
        let many = (1..=PORTS_MAX + 1).map(|port| port.to_string()).collect::<Vec<_>>().join(",");
        assert_eq!(read(&format!("ports={many}")).expect_err("too many").code, 400);
    }
}
