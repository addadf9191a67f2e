//! `wk port-forward`: listens here and leads each connection to a port of a pod, through kube's WebSocket client.

use std::net::SocketAddr;
use std::sync::Arc;

use http::StatusCode;
use serde_json::Value;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};

use super::pods;
use crate::args::{PortForwardArgs, PortPair};
use crate::client::{Client, JSON, Query, Resource, refusal};
use crate::exit::{Code, ExitError, usage};
use crate::fields::name;
use crate::render::Ui;

/// Connections led at once: each is a WebSocket of its own. Further ones wait to be accepted.
const CONNECTIONS_MAX: usize = 256;

/// Messages of connections that wait to be printed.
const TALK_WAITING: usize = 16;

/// How a server says that it will not forward for somebody.
const REFUSED: [StatusCode; 2] = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN];

/// Where connections lead.
struct Way {
    client: Client,
    target: String,
    port: u16,
}

/// Listens until it is stopped.
pub(super) async fn run(client: &Client, args: &PortForwardArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let meant = pods::meant(client, &args.target).await?;
    let service = meant.service;
    let pod =
        pods::one(meant.pods).ok_or_else(|| ExitError::new(Code::NotFound, format!("{} has no pods", args.target)))?;
    let phase = pod.pointer("/status/phase").and_then(Value::as_str).unwrap_or_default();
    if phase != "Running" {
        let message =
            format!("pod {} is not running but {phase}; `wk describe pod {}` says why", name(&pod), name(&pod));
        return Err(ExitError::new(Code::Conflict, message).into());
    }
    for pair in &args.ports {
        allowed(client, name(&pod), remote(pair, &pod, service.as_ref())?.0).await?;
    }
    let free = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let (say, mut said) = mpsc::channel::<String>(TALK_WAITING);
    for pair in &args.ports {
        let (port, shown) = remote(pair, &pod, service.as_ref())?;
        let local = pair.local.unwrap_or(shown);
        for address in &args.address {
            let listener = TcpListener::bind(SocketAddr::new(*address, local)).await.map_err(|error| {
                ExitError::new(
                    Code::PortTaken,
                    format!("listen on {address}:{local}; choose another with LOCAL:{shown}, or :{shown} for any"),
                )
                .because(error)
            })?;
            ui.line(&format!("Forwarding from {} -> {port}", listener.local_addr()?))?;
            let way = Arc::new(Way { client: client.clone(), target: args.target.clone(), port });
            tokio::spawn(accept(listener, way, free.clone(), say.clone()));
        }
    }
    drop(say);
    loop {
        tokio::select! {
            told = said.recv() => match told {
                Some(told) => ui.note(&told),
                None => return Ok(()),
            },
            stopped = tokio::signal::ctrl_c() => return Ok(stopped?),
        }
    }
}

/// Fails if this person may not forward. The question is no upgrade, so that a server that would let it through refuses
/// it for that, and the program in the pod sees no connection.
async fn allowed(client: &Client, pod: &str, port: u16) -> anyhow::Result<()> {
    let path = format!("{}/portforward", Resource::pods().object(client.namespace(), pod));
    match client.get(&Query::default().with("ports", &port.to_string()).on(&path), JSON).await {
        Err(error) if refusal(&error).is_none_or(|refusal| REFUSED.contains(&refusal.status)) => Err(error),
        _ => Ok(()),
    }
}

/// The pod's port, and the number the person knows it by.
fn remote(pair: &PortPair, pod: &Value, service: Option<&Value>) -> Result<(u16, u16), ExitError> {
    let list =
        |value: &Value, pointer: &str| value.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let number =
        |port: &Value, key: &str| port.get(key).and_then(Value::as_u64).and_then(|port| u16::try_from(port).ok());
    let named = |name: &str| {
        let ports: Vec<Value> =
            list(pod, "/spec/containers").iter().flat_map(|container| list(container, "/ports")).collect();
        let found = ports.iter().find(|port| port.get("name").and_then(Value::as_str) == Some(name));
        found.and_then(|port| number(port, "containerPort"))
    };
    let typed = pair.remote.parse::<u16>().ok();
    let Some(service) = service else {
        let port = typed
            .or_else(|| named(&pair.remote))
            .ok_or_else(|| usage(format!("pod {} has no port {:?}", name(pod), pair.remote)))?;
        return Ok((port, port));
    };
    let ports = list(service, "/spec/ports");
    let found = ports.iter().find(|port| {
        number(port, "port") == typed && typed.is_some()
            || port.get("name").and_then(Value::as_str) == Some(&pair.remote)
    });
    let Some(found) = found else {
        let known: Vec<String> =
            ports.iter().filter_map(|port| number(port, "port")).map(|port| port.to_string()).collect();
        return Err(usage(format!(
            "service {} has no port {}; it has {}",
            name(service),
            pair.remote,
            known.join(", ")
        )));
    };
    let shown = number(found, "port").unwrap_or_default();
    let target = match found.get("targetPort") {
        Some(Value::String(name)) => named(name),
        Some(_) => number(found, "targetPort"),
        None => Some(shown),
    };
    target
        .map(|target| (target, shown))
        .ok_or_else(|| usage(format!("no pod of service {} has its target port", name(service))))
}

async fn accept(listener: TcpListener, way: Arc<Way>, free: Arc<Semaphore>, say: mpsc::Sender<String>) {
    loop {
        let Ok(permit) = free.clone().acquire_owned().await else { return };
        let accepted = listener.accept().await;
        let (way, say) = (way.clone(), say.clone());
        match accepted {
            Ok((stream, from)) => {
                tokio::spawn(async move {
                    if let Err(error) = lead(&way, stream).await {
                        say.send(format!("connection from {from}: {error:#}")).await.ok();
                    }
                    drop(permit);
                });
            }
            Err(error) => {
                say.send(format!("accept: {error}")).await.ok();
                // Out of file descriptors, most likely: a moment later some are free.
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}

/// Leads one connection to a pod of the target that runs now.
async fn lead(way: &Way, mut stream: TcpStream) -> anyhow::Result<()> {
    let found = pods::meant(&way.client, &way.target).await?.pods;
    let pod = pods::one(found).ok_or_else(|| ExitError::new(Code::NotFound, format!("{} has no pods", way.target)))?;
    let name = name(&pod);
    let opened = way.client.pods().portforward(name, &[way.port]).await;
    let mut forwarder = opened.map_err(|error| way.client.explained(&format!("pods/{name}/portforward"), error))?;
    let failed = forwarder.take_error(way.port);
    let mut remote =
        forwarder.take_stream(way.port).ok_or_else(|| anyhow::anyhow!("the port's stream is not there"))?;
    let copied = tokio::io::copy_bidirectional(&mut stream, &mut remote).await;
    drop(remote);
    forwarder.abort();
    if let Some(failed) = failed
        && let Ok(Some(why)) = tokio::time::timeout(std::time::Duration::from_millis(100), failed).await
    {
        anyhow::bail!("port {} of pod {name}: {why}", way.port);
    }
    copied?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ports_of_services_lead_to_those_of_their_pods() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"ports": [{"name": "http", "containerPort": 8080}]}]}});
        let service = json!({"metadata": {"name": "s"}, "spec": {"ports": [{"name": "web", "port": 80, "targetPort": "http"}, {"port": 81, "targetPort": 9000}]}});
        let pair = |text: &str| text.parse::<PortPair>().expect(text);
        assert_eq!(remote(&pair("80"), &pod, Some(&service)).expect("named target"), (8080, 80));
        assert_eq!(remote(&pair("web"), &pod, Some(&service)).expect("by name"), (8080, 80));
        assert_eq!(remote(&pair("1:81"), &pod, Some(&service)).expect("number"), (9000, 81));
        assert_eq!(remote(&pair("http"), &pod, None).expect("pod's name"), (8080, 8080));
        assert!(remote(&pair("82"), &pod, Some(&service)).expect_err("unknown").to_string().contains("80, 81"));
        assert!(remote(&pair("nope"), &pod, None).is_err());
    }
}
