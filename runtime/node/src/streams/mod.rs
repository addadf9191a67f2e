//! What clients stream to and from pods of this node: exec, attach, port-forward.
//!
//! Not here: the clients' protocols (`wk-streams`), and who may.

mod attach;
pub mod console;
pub mod exec;
mod forward;
mod terminal;

use std::sync::Arc;

use bytes::Bytes;
use serde_json::json;
use tokio::sync::Semaphore;
use wk_base::body::Body;
use wk_streams::relay::{self, Channel, Receiver, Sender, Wanted};

use crate::streams::console::Consoles;
use crate::traffic::Apps;

/// Commands beside containers at once on this node: each keeps a thread of the blocking pool.
const COMMANDS_MAX: usize = 32;

/// The streams of a node. Clones share it.
#[derive(Clone)]
pub struct Streams {
    apps: Apps,
    consoles: Consoles,
    commands: Arc<Semaphore>,
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
}

impl Streams {
    /// Streams to the containers of these tables.
    pub fn new(apps: Apps, consoles: Consoles) -> Self {
        Self { apps, consoles, commands: Arc::new(Semaphore::new(COMMANDS_MAX)) }
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
                let place = Arc::clone(&self.commands).try_acquire_owned().map_err(|_| OpenError::Busy)?;
                let (sender, output) = relay::channel();
                tokio::spawn(async move {
                    Box::pin(exec::run(&console, wanted, Receiver::new(input), &sender)).await;
                    drop(place);
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
