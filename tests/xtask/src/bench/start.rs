//! From `wk up` to a node that serves.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::table::{Table, duration, median, range};
use super::{Bench, LOOK_EVERY, WAIT_MAX, app, progress};
use crate::nodes::{self, HTTP_PORT, Node};

const NAME: &str = "hello";

/// Starts a node anew and again, and asks it for an app.
pub(super) async fn measure(bench: &Bench<'_>) -> Result<String> {
    let (mut fresh, mut again, mut answered) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.rounds() {
        progress(&format!("start, round {round} of {}", bench.rounds()));
        let folder = format!("start-{round}");
        let mut nodes = bench.nodes(&folder, 1).await?;
        fresh.push(millis(nodes[0].took));
        super::deploy(&nodes[0], &app(), NAME, 3).await?;
        let plan = nodes[0].plan.clone();
        nodes::stop_all(std::mem::take(&mut nodes)).await?;

        let begun = Instant::now();
        let node = Node::start(plan, None).await?;
        again.push(millis(node.took));
        first_answer(node.plan.address).await?;
        answered.push(millis(begun.elapsed()));
        node.stop().await?;
    }
    let mut table = Table::new(
        "Starting one node (`wk up`), process start to the moment it says that it serves:",
        &["start", "median", "range"],
    );
    for (what, figures) in [
        ("fresh: a new cluster, with its certificates", &fresh),
        ("again, with its data", &again),
        ("again, until an app of 3 replicas answers through the ingress", &answered),
    ] {
        let (low, high) = range(figures);
        table.row(&[what.to_owned(), duration(median(figures)), format!("{} to {}", duration(low), duration(high))]);
    }
    Ok(table.finish())
}

/// Asks the ingress until the app answers.
async fn first_answer(address: Ipv4Addr) -> Result<()> {
    let begun = Instant::now();
    while begun.elapsed() < WAIT_MAX {
        if status_line(address, NAME).is_ok_and(|line| line.contains(" 200 ")) {
            return Ok(());
        }
        tokio::time::sleep(LOOK_EVERY / 10).await;
    }
    bail!("the app does not answer after {WAIT_MAX:?}")
}

pub(super) fn status_line(address: Ipv4Addr, app: &str) -> std::io::Result<String> {
    Ok(answer(address, app)?.lines().next().unwrap_or_default().to_owned())
}

/// What an app answers, as text, over a connection of its own.
pub(super) fn answer(address: Ipv4Addr, app: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect((address, HTTP_PORT))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET / HTTP/1.1\r\nHost: {app}.localhost\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}
