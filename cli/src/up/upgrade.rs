//! A node that goes on as another version of itself: asked to, it ends what is under way as for any stop, and becomes the
//! program that lies at its path now, with the same arguments and data directory.
//!
//! Not here: moving its pods away first (`wk node upgrade` does, through the API as anybody could).

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request, Response};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use wk_api::Status;
use wk_base::body::{self, Body};
use wk_base::error::Chain;
use wk_mesh::{Mesh, NodeName};

use super::forward;
use super::gate::{Gate, Knock};
use super::handover::Handover;

/// Where clients ask: `POST` to this, a node's name, and the other.
const API_PREFIX: &str = "/apis/wk.dev/v1/nodes/";
const API_SUFFIX: &str = "/upgrade";
/// The same among members: `POST`.
pub(crate) const MESH_PATH: &str = "/upgrade";
/// A program that has not said its version by then does not start.
const VERSION_MAX: Duration = Duration::from_secs(10);
/// The other node tries its program first.
const ASK_MAX: Duration = Duration::from_secs(15);
/// The node's annotation that tells one process of it from the next.
pub(crate) const STARTED: &str = "wk.dev/started";

/// This process as something that can be replaced. Clones are one.
#[derive(Clone)]
pub(crate) struct Upgrade {
    name: NodeName,
    mesh: Mesh,
    /// Where this program was when it started: by now another one may lie there.
    binary: Arc<Path>,
    wanted: CancellationToken,
}

impl Upgrade {
    /// Of this process. Called when it starts, before anybody replaces its file.
    pub(crate) fn new(name: NodeName, mesh: Mesh) -> Self {
        let binary = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("wk")).into();
        Self { name, mesh, binary, wanted: CancellationToken::new() }
    }

    /// Waits until this node shall stop and go on as another program.
    pub(crate) async fn wanted(&self) {
        self.wanted.cancelled().await;
    }

    /// Becomes the program that lies at this one's path, which goes on with this one's listening sockets. Returns only if
    /// it cannot.
    pub(crate) fn become_it(&self, sockets: Handover) -> std::io::Error {
        let mut words = std::env::args_os();
        let mut program = std::process::Command::new(&*self.binary);
        if let Some(name) = words.next() {
            program.arg0(name);
        }
        sockets.give(&mut program);
        program.args(words).exec()
    }

    /// Answers a client that wants a node to go on as the program it finds; None for everything else.
    pub(crate) async fn answer(&self, gate: &Gate, knock: &Knock) -> Option<Response<Body>> {
        let path = knock.uri.path();
        let name = path.strip_prefix(API_PREFIX)?.strip_suffix(API_SUFFIX)?;
        if knock.method != Method::POST {
            return None;
        }
        if let Err(status) = gate.may(knock, "post", path).await {
            return Some(forward::json(Err(status)));
        }
        if name == self.name.as_str() {
            return Some(forward::json(self.begin().await));
        }
        let name: NodeName = match name.parse() {
            Ok(name) => name,
            Err(error) => return Some(forward::json(Err(Status::bad_request(Chain(&error).to_string())))),
        };
        let request = Request::post(MESH_PATH).body(body::empty()).expect("a constant path");
        let answer = self.mesh.request(&name, request, ASK_MAX).await;
        Some(answer.unwrap_or_else(|error| {
            forward::json(Err(Status::unavailable(format!("node {name} cannot be asked: {}", Chain(&error)))))
        }))
    }

    /// Tries the program, and if it runs, has this node stop for it.
    pub(crate) async fn begin(&self) -> Result<Value, Status> {
        let version = version(&self.binary).await.map_err(|why| {
            let binary = self.binary.display();
            forward::conflict(format!("node {} goes on as it is: {binary} does not run: {why}", self.name))
        })?;
        reads(&self.binary, &wk_store::FORMATS).await.map_err(|why| {
            forward::conflict(format!(
                "node {} goes on as it is: {}, wk {version}, {why}",
                self.name,
                self.binary.display()
            ))
        })?;
        self.wanted.cancel();
        Ok(json!({
            "apiVersion": "wk.dev/v1", "kind": "NodeUpgrade", "node": self.name.as_str(),
            "from": env!("CARGO_PKG_VERSION"), "to": version, "binary": self.binary.display().to_string(),
        }))
    }
}

/// What the program says its version is.
async fn version(binary: &Path) -> Result<String, String> {
    let mut run = tokio::process::Command::new(binary);
    run.arg("--version").stdin(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_MAX, run.output()).await;
    let output = output.map_err(|_| "it does not tell its version".to_owned())?.map_err(|error| error.to_string())?;
    if !output.status.success() {
        return Err(format!("--version ends with {}", output.status));
    }
    let said = String::from_utf8_lossy(&output.stdout);
    match said.trim().strip_prefix("wk ") {
        Some(version) => Ok(version.to_owned()),
        None => Err("it is not wk".to_owned()),
    }
}

/// Whether the program reads what this one writes.
async fn reads(binary: &Path, ours: &[u32]) -> Result<(), String> {
    let mut run = tokio::process::Command::new(binary);
    run.arg("data-formats").stdin(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
    let output = tokio::time::timeout(VERSION_MAX, run.output()).await;
    let output =
        output.map_err(|_| "does not say which data it reads".to_owned())?.map_err(|error| error.to_string())?;
    let theirs: Option<Vec<u32>> =
        output.status.success().then(|| serde_json::from_slice(&output.stdout).ok()).flatten();
    let Some(theirs) = theirs else {
        return Err("does not say which data it reads: it is older than this one".to_owned());
    };
    let newer = ours.iter().enumerate().find(|(at, format)| theirs.get(*at).is_none_or(|known| known < format));
    newer.map_or(Ok(()), |(at, format)| {
        let known = theirs.get(at).map_or_else(|| "none".to_owned(), ToString::to_string);
        Err(format!("reads older data alone: format {at} is {format} here, and it knows {known}"))
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn program(script: &str) -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wk");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        (dir, path)
    }

    async fn says(script: &str) -> Result<String, String> {
        {
            let (_dir, path) = program(script);
            version(&path).await
        }
    }

    #[tokio::test]
    async fn only_a_program_that_reads_this_ones_data_takes_over() {
        let asked = async |script: &str| {
            let (_dir, path) = program(script);
            reads(&path, &[1, 2]).await
        };
        assert_eq!(asked("test $1 = data-formats && echo '[1,2]'").await, Ok(()));
        assert_eq!(asked("echo '[1,3,1]'").await, Ok(()));
        assert!(asked("echo '[1,1]'").await.unwrap_err().contains("format 1 is 2 here, and it knows 1"));
        assert!(asked("echo '[1]'").await.unwrap_err().contains("it knows none"));
        assert!(asked("echo wk: no such command >&2; exit 2").await.unwrap_err().contains("older than this one"));
    }

    #[tokio::test]
    async fn only_a_program_that_says_it_is_wk_takes_over() {
        assert_eq!(says("echo wk 9.1.0").await.unwrap(), "9.1.0");
        assert_eq!(says("echo other 9").await.unwrap_err(), "it is not wk");
        assert!(says("exit 3").await.unwrap_err().contains('3'));
        assert!(version(Path::new("/nonexistent/wk")).await.is_err());
    }
}
