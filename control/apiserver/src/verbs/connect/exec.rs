//! `pods/exec` and `pods/attach`.

use http::header::SEC_WEBSOCKET_PROTOCOL;
use wk_api::{Object, Status};
use wk_cluster::Freshness;
use wk_streams::exec::{self, DIALECTS, Dialect, SPDY_VERSIONS, UNNAMED};
use wk_streams::relay::{self, Exec, Receiver, Wanted};
use wk_streams::websocket;

use super::{Way, accept_spdy, accept_websocket, no_protocol, node, spdy_version, switch, way};
use crate::query::Query;
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, log};

/// The longest command line with all its arguments. Linux' own limit is of this order, and a URL's head is shorter.
const COMMAND_BYTES_MAX: usize = 128 * 1024;

/// The parameters that ask for a stream, and the same ones of a kubelet.
const STREAMS: [&str; 3] = ["stdin", "stdout", "stderr"];
const KUBELET_STREAMS: [&str; 3] = ["input", "output", "error"];

pub(in crate::verbs) async fn run(server: &ApiServer, call: &Call) -> Result<Reply, Status> {
    let pod = server.cluster.get(call.kind(), call.namespace(), call.name(), Freshness::Linearizable).await?;
    let attach = call.target.subresource.as_deref() == Some("attach");
    let wanted = options(&call.query, STREAMS, call.query.text("container"), &pod, attach)?;
    stream(server, call, &pod, wanted, attach).await
}

/// As a kubelet is asked: the container is in the path, and the streams have other names.
pub(in crate::verbs) async fn at_node(
    server: &ApiServer,
    call: &Call,
    pod: &Object,
    container: &str,
    attach: bool,
) -> Result<Reply, Status> {
    let wanted = options(&call.query, KUBELET_STREAMS, container, pod, attach)?;
    stream(server, call, pod, wanted, attach).await
}

async fn stream(server: &ApiServer, call: &Call, pod: &Object, wanted: Exec, attach: bool) -> Result<Reply, Status> {
    let node = node(pod)?;
    match way(call)? {
        Way::WebSocket => {
            let dialect = dialect(call)?;
            let taken = accept_websocket(server, call, dialect.name)?;
            let (sender, receiver) = open(server, node, pod, &wanted, attach).await?;
            Ok(switch(server, taken, move |io| exec::over_websocket(io, dialect, sender, receiver)))
        }
        Way::Spdy => {
            let version = match spdy_version(call, &SPDY_VERSIONS, SPDY_VERSIONS[3]) {
                Ok(version) => version,
                Err(refusal) => return Ok(*refusal),
            };
            let taken = accept_spdy(server, call, version)?;
            let (sender, receiver) = open(server, node, pod, &wanted, attach).await?;
            Ok(switch(server, taken, move |io| async move {
                let (reader, writer) = tokio::io::split(io);
                exec::over_spdy(reader, writer, version, &wanted, sender, receiver).await;
            }))
        }
    }
}

/// Opens the stream before the connection is taken over, so that a refusal is an ordinary answer.
async fn open(
    server: &ApiServer,
    node: &str,
    pod: &Object,
    wanted: &Exec,
    attach: bool,
) -> Result<(relay::Sender, Receiver), Status> {
    let (sender, input) = relay::channel();
    let wanted = wanted.clone();
    let wanted = if attach { Wanted::Attach(wanted) } else { Wanted::Exec(wanted) };
    let output = server.pods.open(node, pod.uid(), &wanted, input).await?;
    Ok((sender, Receiver::new(output)))
}

/// The best protocol that the client offers.
fn dialect(call: &Call) -> Result<Dialect, Status> {
    let offered: Vec<&str> = websocket::tokens(&call.headers, &SEC_WEBSOCKET_PROTOCOL).collect();
    if offered.is_empty() {
        return Ok(UNNAMED);
    }
    let known = DIALECTS.iter().copied().find(|dialect| offered.contains(&dialect.name));
    known.ok_or_else(|| no_protocol(&offered))
}

fn options(query: &Query, streams: [&str; 3], container: &str, pod: &Object, attach: bool) -> Result<Exec, Status> {
    let [stdin, stdout, stderr] = streams.map(|name| query.flag(name));
    let tty = query.flag("tty");
    if !(stdin || stdout || stderr) {
        return Err(Status::bad_request("you must specify at least 1 of stdin, stdout, stderr"));
    }
    let container = log::container(pod, container)?.to_owned();
    let command: Vec<String> = if attach { Vec::new() } else { query.all("command").map(str::to_owned).collect() };
    if !attach && command.first().is_none_or(String::is_empty) {
        return Err(Status::bad_request("you must specify at least one command for the container"));
    }
    if command.iter().map(String::len).sum::<usize>() > COMMAND_BYTES_MAX {
        return Err(Status::bad_request(format!("a command of more than {COMMAND_BYTES_MAX} bytes")));
    }
    // A terminal shows both outputs as one.
    Ok(Exec { container, command, stdin, stdout, stderr: stderr && !tty, tty })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn options_are_read_and_refused_as_upstream_does() {
        let pod = Object(json!({ "metadata": { "name": "p" }, "spec": { "containers": [{ "name": "a" }] } }));
        let read = |query: &str, attach| {
            let query = Query::parse(Some(query));
            options(&query, STREAMS, query.text("container"), &pod, attach)
        };
        let exec = read("command=ls&command=-l&stdout=true&stderr=true&tty=1", false).expect("valid");
        assert_eq!((exec.command, exec.container), (vec!["ls".to_owned(), "-l".to_owned()], "a".to_owned()));
        assert!(exec.stdout && !exec.stderr && exec.tty && !exec.stdin);
        assert_eq!(read("container=a&stdin=true&command=x", true).expect("valid").command, Vec::<String>::new());
        for (query, message) in [
            ("command=x", "you must specify at least 1 of stdin, stdout, stderr"),
            ("stdout=true", "you must specify at least one command for the container"),
            ("stdout=true&command=x&container=c", "container c is not valid for pod p"),
        ] {
            let refused = read(query, false).expect_err(query);
            assert_eq!((refused.code, refused.message.as_str()), (400, message));
        }
    }
}
