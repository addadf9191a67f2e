//! `wk node upgrade`: a node goes on as the program that was put in its place, without a failed request: its pods are
//! moved away one at a time, it ends what is under way, starts anew, and takes pods again.
//!
//! `wk node drain`, `cordon` and `uncordon` are those commands under the noun.

use std::time::Duration;

use http::Method;
use serde_json::Value;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::Instant;

use super::cordon;
use super::drain::{self, Pace};
use crate::args::{CordonArgs, DrainArgs, DryRun, NodeArgs, NodeCommand, UpgradeArgs};
use crate::client::{Client, Payload, Resource};
use crate::exit::{Code, ExitError};
use crate::render::Ui;
use crate::up::upgrade::STARTED;

/// Pause between two looks at a node that starts anew.
const LOOK_PAUSE: Duration = Duration::from_millis(200);
/// A node that is not back by then needs a person: a stop takes 20 s at most, a start a few.
const BACK_MAX: Duration = Duration::from_mins(2);

/// Does what is asked of nodes.
pub(super) async fn run(client: &Client, args: NodeArgs, ui: &mut Ui) -> anyhow::Result<()> {
    match args.command {
        NodeCommand::Cordon(args) => cordon::run(client, &args, true, ui).await,
        NodeCommand::Uncordon(args) => cordon::run(client, &args, false, ui).await,
        NodeCommand::Drain(args) => drain::run(client, &args, Pace::Together, ui).await,
        NodeCommand::Upgrade(args) => {
            let mut interrupts = Interrupts::new()?;
            for node in cordon::nodes(client, &args.drain.cordon).await? {
                upgrade(client, &args, &node.name, &mut interrupts, ui).await?;
            }
            Ok(())
        }
    }
}

async fn upgrade(
    client: &Client,
    args: &UpgradeArgs,
    name: &str,
    interrupts: &mut Interrupts,
    ui: &mut Ui,
) -> anyhow::Result<()> {
    let path = Resource::nodes().object("", name);
    let before = client.get(&path, crate::client::JSON).await?;
    let was_cordoned = before.pointer("/spec/unschedulable") == Some(&Value::Bool(true));
    let one = CordonArgs { nodes: vec![name.to_owned()], selector: None, ..args.drain.cordon.clone() };
    if args.drain.cordon.dry_run != DryRun::None {
        let drained = DrainArgs { cordon: one, ..args.drain.clone() };
        return drain::run(client, &drained, Pace::OneByOne, ui).await;
    }
    let asked = tokio::select! {
        asked = emptied_and_asked(client, args, &one, name, ui) => asked,
        () = interrupts.come() => Err(anyhow::anyhow!("interrupted")),
    };
    let told = match asked {
        Ok(told) => told,
        Err(error) => {
            ui.settle();
            if was_cordoned {
                return Err(error.context(format!("node {name} goes on as it was, cordoned as it was before")));
            }
            // Nothing has happened to the node itself: it takes pods again.
            cordon::run(client, &one, false, ui).await?;
            return Err(error.context(format!("node {name} goes on as it was, and takes pods again")));
        }
    };
    tokio::select! {
        is_back = back(client, &path, &before, name, ui) => is_back?,
        () = interrupts.come() => {
            anyhow::bail!("interrupted; node {name} is being upgraded and stays cordoned: wk node uncordon {name}");
        }
    }
    ui.settle();
    let word = |field: &str| told.get(field).and_then(Value::as_str).unwrap_or("?").to_owned();
    ui.line(&format!("node/{name} upgraded from {} to {}", word("from"), word("to")))?;
    if was_cordoned {
        ui.note(&format!("node {name} was cordoned before and stays so"));
        return Ok(());
    }
    cordon::run(client, &one, false, ui).await
}

/// Whoever ends this command: at the keyboard, or a script's time limit. From its making on nothing else ends it.
struct Interrupts {
    interrupt: Signal,
    terminate: Signal,
}

impl Interrupts {
    fn new() -> std::io::Result<Self> {
        let [interrupt, terminate] = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
        Ok(Self { interrupt: interrupt?, terminate: terminate? })
    }

    async fn come(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// Moves the pods away, if they are to be, and has the node begin its upgrade.
async fn emptied_and_asked(
    client: &Client,
    args: &UpgradeArgs,
    one: &CordonArgs,
    name: &str,
    ui: &mut Ui,
) -> anyhow::Result<Value> {
    if args.in_place {
        cordon::run(client, one, true, ui).await?;
    } else {
        let drained = DrainArgs { cordon: one.clone(), ..args.drain.clone() };
        drain::run(client, &drained, Pace::OneByOne, ui).await?;
    }
    let ask = format!("/apis/wk.dev/v1/nodes/{name}/upgrade");
    let asked = client.send_once(Method::POST, &ask, Payload::json(&Value::Null)).await;
    asked.map_err(|error| error.context(format!("upgrade node {name}")))
}

/// Waits until another process of the node has registered, and is ready.
async fn back(client: &Client, path: &str, before: &Value, name: &str, ui: &mut Ui) -> anyhow::Result<()> {
    let started = |node: &Value| node.pointer("/metadata/annotations").and_then(|all| all.get(STARTED).cloned());
    let deadline = Instant::now() + BACK_MAX;
    loop {
        // The client may be talking to this very node: what it cannot reach is still on its way.
        if let Ok(Ok(Some(now))) = tokio::time::timeout_at(deadline, client.find(path)).await
            && started(&now) != started(before)
            && drain::is_ready(&now)
        {
            return Ok(());
        }
        if Instant::now() > deadline {
            let message = format!(
                "node {name} did not come back in {} s: look at its own output; it is cordoned still",
                BACK_MAX.as_secs()
            );
            return Err(ExitError::new(Code::TimedOut, message).into());
        }
        ui.progress(&format!("waiting for node {name} to come back"));
        tokio::time::sleep(LOOK_PAUSE).await;
    }
}
