//! What clients stream to and from pods of this node: exec, attach, port-forward.
//!
//! Not here: the clients' protocols (`wk-streams`), and who may.

mod attach;
pub mod console;
pub mod exec;
mod forward;
mod terminal;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use serde_json::json;
use tokio::sync::Semaphore;
use wk_base::body::Body;
use wk_streams::relay::{self, Channel, Receiver, Sender, Wanted};

use crate::streams::console::Consoles;
use crate::traffic::Apps;

/// Commands beside containers at once on this node: each keeps a thread of the blocking pool.
const COMMANDS_MAX: usize = 32;

/// Of those, in containers of one pod: a tenant whose commands never end keeps nobody else from theirs.
const COMMANDS_OF_POD_MAX: usize = 8;

/// The streams of a node. Clones share it.
#[derive(Clone)]
pub struct Streams {
    apps: Apps,
    consoles: Consoles,
    commands: Arc<Semaphore>,
    /// Of pods that have any.
    of_pods: Arc<Mutex<HashMap<String, usize>>>,
}

/// A command's place among those of its pod.
struct OfPod {
    pod: String,
    of_pods: Arc<Mutex<HashMap<String, usize>>>,
}

impl Drop for OfPod {
    fn drop(&mut self) {
        let mut all = self.of_pods.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = all.get_mut(&self.pod) {
            *count -= 1;
            if *count == 0 {
                all.remove(&self.pod);
            }
        }
    }
}

/// A stream that this node does not open.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// The container does not run here (now).
    #[error("container {0:?} is not running")]
    NotRunning(String),
    /// Nothing of the pod serves the port.
    #[error("connect: connection refused: no container of the pod serves port {0} here")]
    Refused(u16),
    /// As many commands run as may.
    #[error("{COMMANDS_MAX} commands run in pods of this node already: try again later")]
    Busy,
    /// As many run in this pod as may.
    #[error("{COMMANDS_OF_POD_MAX} commands run in this pod already: end one, or try again later")]
    PodBusy,
}

impl Streams {
    /// Streams to the containers of these tables.
    pub fn new(apps: Apps, consoles: Consoles) -> Self {
        Self { apps, consoles, commands: Arc::new(Semaphore::new(COMMANDS_MAX)), of_pods: Arc::default() }
    }

    fn command_of(&self, pod: &str) -> Result<OfPod, OpenError> {
        let mut all = self.of_pods.lock().unwrap_or_else(PoisonError::into_inner);
        let count = all.entry(pod.to_owned()).or_default();
        if *count >= COMMANDS_OF_POD_MAX {
            return Err(OpenError::PodBusy);
        }
        *count += 1;
        Ok(OfPod { pod: pod.to_owned(), of_pods: Arc::clone(&self.of_pods) })
    }

    /// Opens a stream to the pod with this uid: `input` is what the client sends, the answer what it is sent.
    pub fn open(&self, pod: &str, wanted: Wanted, input: Body) -> Result<Body, OpenError> {
        let console = |container: &str| {
            self.consoles.get(pod, container).ok_or_else(|| OpenError::NotRunning(container.to_owned()))
        };
        match wanted {
            Wanted::Forward { port } => forward::open(&self.apps, pod, port, input).ok_or(OpenError::Refused(port)),
            Wanted::Attach(wanted) => {
                let console = console(&wanted.container)?;
                let (sender, output) = relay::channel();
                tokio::spawn(attach::run(console, wanted, Receiver::new(input), sender));
                Ok(output)
            }
            Wanted::Exec(wanted) => {
                let console = console(&wanted.container)?;
                let of_pod = self.command_of(pod)?;
                let place = Arc::clone(&self.commands).try_acquire_owned().map_err(|_| OpenError::Busy)?;
                let (sender, output) = relay::channel();
                tokio::spawn(async move {
                    Box::pin(exec::run(&console, wanted, (place, of_pod), Receiver::new(input), &sender)).await;
                });
                Ok(output)
            }
        }
    }
}

/// Tells the client how its command ended, as the last thing.
async fn end(to: &Sender, code: i32) {
    let status = if code == 0 {
        json!({ "metadata": {}, "status": "Success" })
    } else {
        json!({
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode",
            "message": format!("command terminated with non-zero exit code: exit status {code}"),
            "details": { "causes": [{ "reason": "ExitCode", "message": code.to_string() }] },
        })
    };
    let _ = to.send(Channel::Error, Bytes::from(status.to_string())).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_one_pod_leave_places_to_others() {
        let streams = Streams::new(Apps::default(), Consoles::default());
        let mut held: Vec<_> = (0..COMMANDS_OF_POD_MAX).map(|_| streams.command_of("one").unwrap()).collect();
        assert_eq!(streams.command_of("one").err(), Some(OpenError::PodBusy));
        assert!(streams.command_of("other").is_ok());
        held.pop();
        assert!(streams.command_of("one").is_ok());
        drop(held);
        assert!(streams.of_pods.lock().unwrap().is_empty());
    }
}
