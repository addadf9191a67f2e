//! Fifty replicas of a small server, from the command to all running: `wk deploy` beside Docker Swarm, in turns.
//!
//! Swarm's server is a static binary in an otherwise empty image, which is there beforehand; so is wk's compiled module.
//! Its daemon is one of our own, with all its files in a folder that goes with it, and touches no firewall.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use tokio::process::{Child, Command};

use super::table::{Table, duration, median, range, ratio};
use super::{Bench, LOOK_EVERY, WAIT_MAX, app, progress};
use crate::nodes;

const REPLICAS: u16 = 50;
const NAME: &str = "fifty";
/// Swarm takes minutes where a machine is busy.
const RUNNING_MAX: Duration = Duration::from_mins(5);
const SERVER: &str = "fifty.c";

/// A server in C as small as one can be: it answers each connection once.
const SOURCE: &str = r#"
#include <netinet/in.h>
#include <unistd.h>

int main(void) {
    static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n";
    struct sockaddr_in any = {.sin_family = AF_INET, .sin_port = htons(8080)};
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&any, sizeof any) != 0 || listen(listener, 64) != 0) return 1;
    for (;;) {
        char request[4096];
        int peer = accept(listener, 0, 0);
        if (peer < 0) continue;
        if (read(peer, request, sizeof request) > 0 && write(peer, answer, sizeof answer - 1) < 0) return 1;
        close(peer);
    }
}
"#;

pub(super) async fn measure(bench: &Bench<'_>) -> Result<String> {
    let swarm = Swarm::start(&bench.dir.join("swarm")).await?;
    let nodes = bench.nodes("beside-swarm", 1).await?;
    super::deploy(&nodes[0], &app(), "known", 1).await?;
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for round in 1..=bench.rounds() {
        progress(&format!("{REPLICAS} replicas, round {round} of {}", bench.rounds()));
        let begun = Instant::now();
        super::deploy(&nodes[0], &app(), NAME, REPLICAS).await?;
        ours.push(begun.elapsed().as_secs_f64() * 1000.0);
        super::delete(&nodes[0], NAME).await?;
        theirs.push(swarm.fifty().await?);
    }
    nodes::stop_all(nodes).await?;
    let version = swarm.docker(&["version", "--format", "{{.Server.Version}}"]).await?;
    swarm.stop().await?;
    let mut table = Table::new(
        &format!(
            "{REPLICAS} replicas on one node until all of them are ready (wk: `wk deploy` to its end, module known; Docker Swarm {}: \
             `docker service create` to {REPLICAS}/{REPLICAS}, image known), {} rounds in turns:",
            version.trim(),
            bench.rounds()
        ),
        &["", "median", "range", "wk takes"],
    );
    for (name, figures) in [("wk", &ours), ("Docker Swarm", &theirs)] {
        let (low, high) = range(figures);
        let quotient = format!("1/{:.0}", 1.0 / ratio(&ours, figures));
        table.row(&[
            name.to_owned(),
            duration(median(figures)),
            format!("{} to {}", duration(low), duration(high)),
            if name == "wk" { String::new() } else { quotient },
        ]);
    }
    Ok(table.finish())
}

/// A daemon of Docker's, and a swarm of it alone.
struct Swarm {
    socket: String,
    daemon: Child,
}

impl Swarm {
    async fn start(dir: &Path) -> Result<Self> {
        let context = dir.join("image");
        std::fs::create_dir_all(&context)?;
        image(&context).await?;
        let folder = |name: &str| dir.join(name).into_os_string();
        let socket = format!("unix://{}", dir.join("docker.sock").display());
        let daemon = Command::new("dockerd")
            .args(["--host", &socket, "--iptables=false", "--bridge=none", "--storage-driver=vfs"])
            .args(["--data-root".into(), folder("data"), "--exec-root".into(), folder("exec")])
            .args(["--pidfile".into(), folder("pid")])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(dir.join("log"))?)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("start dockerd; on Debian it is in docker.io, and it wants root")?;
        let swarm = Self { socket, daemon };
        let begun = Instant::now();
        while swarm.docker(&["info"]).await.is_err() {
            ensure!(begun.elapsed() < WAIT_MAX, "dockerd does not answer; its log is in {}", dir.display());
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let context = context.to_str().context("a path that is text")?;
        swarm.docker(&["build", "--tag", NAME, context]).await?;
        swarm.docker(&["swarm", "init", "--advertise-addr", "127.0.0.1", "--listen-addr", "127.0.0.1:2377"]).await?;
        Ok(swarm)
    }

    /// Milliseconds until all replicas of a new service run. Leaves nothing behind.
    async fn fifty(&self) -> Result<f64> {
        let begun = Instant::now();
        let replicas = REPLICAS.to_string();
        self.docker(&["service", "create", "--detach", "--name", NAME, "--replicas", &replicas, NAME]).await?;
        let all = format!("{REPLICAS}/{REPLICAS}");
        while self.docker(&["service", "ls", "--format", "{{.Replicas}}"]).await?.trim() != all {
            ensure!(begun.elapsed() < RUNNING_MAX, "the replicas do not run after {RUNNING_MAX:?}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        let took = begun.elapsed().as_secs_f64() * 1000.0;
        self.docker(&["service", "rm", NAME]).await?;
        while !self.docker(&["ps", "--all", "--quiet"]).await?.trim().is_empty() {
            ensure!(begun.elapsed() < 2 * RUNNING_MAX, "containers of a service that was removed stay");
            tokio::time::sleep(LOOK_EVERY).await;
        }
        Ok(took)
    }

    async fn docker(&self, arguments: &[&str]) -> Result<String> {
        let output = Command::new("docker")
            .args(["--host", &self.socket])
            .args(arguments)
            .env("DOCKER_BUILDKIT", "0")
            .stdin(Stdio::null())
            .output()
            .await
            .context("start docker")?;
        let complaint = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "docker {}: {}\n{complaint}", arguments.join(" "), output.status);
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    async fn stop(mut self) -> Result<()> {
        self.docker(&["swarm", "leave", "--force"]).await?;
        let pid = self.daemon.id().context("it runs")?.to_string();
        Command::new("kill").arg(pid).stdin(Stdio::null()).status().await?;
        let ended = tokio::time::timeout(WAIT_MAX, self.daemon.wait()).await;
        ended.context("dockerd does not stop")?.context("wait for dockerd")?;
        Ok(())
    }
}

/// The server, built so that it needs nothing beside it, and what makes an image of it.
async fn image(context: &Path) -> Result<()> {
    let (source, server) = (context.join(SERVER), context.join("server"));
    std::fs::write(&source, SOURCE)?;
    let built = Command::new("cc")
        .args(["-O2", "-static", "-o"])
        .args([&server, &source])
        .stdin(Stdio::null())
        .status()
        .await
        .context("start the C compiler")?;
    ensure!(built.success(), "the server does not build: {built}");
    std::fs::write(context.join("Dockerfile"), "FROM scratch\nCOPY server /server\nENTRYPOINT [\"/server\"]\n")?;
    Ok(())
}
