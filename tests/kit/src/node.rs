//! One `wk up` process: its data directory, its address, its life.

use std::ffi::OsStr;
use std::fs::{File, OpenOptions};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};

use crate::api::Api;
use crate::command::{Followed, Output, run, run_with_input};
use crate::{HTTP, HTTPS, SOON, until, wk};

/// How much of a node's standard error a failed test shows.
const TAIL_LINES: usize = 60;
/// Names how far apart pods run on every node that a test starts without saying so, for a run of all tests with it.
const ISOLATION: &str = "WK_TEST_ISOLATION";

/// A node, running or not. The process is ended when this is dropped.
#[derive(Debug)]
pub struct Node {
    name: String,
    ip: Ipv4Addr,
    dir: PathBuf,
    /// The words before its command line that put it on a machine of its own.
    place: Vec<String>,
    child: Option<Child>,
    /// Where the present run begins in the file of its standard output.
    began: u64,
    /// Ended on purpose: what it wrote before explains nothing.
    quiet: bool,
}

impl Node {
    /// A node to be: `root` is where its data directory and what it prints are put.
    pub fn new(name: &str, ip: Ipv4Addr, root: &Path) -> Self {
        Self { name: name.to_owned(), ip, dir: root.join(name), place: Vec::new(), child: None, began: 0, quiet: false }
    }

    /// The same, run by a command that takes its command line as last words, such as [`crate::Lab::on`].
    pub fn placed(mut self, place: Vec<String>) -> Self {
        self.place = place;
        self
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// Changes the address it listens on when it is started the next time.
    pub fn move_to(&mut self, ip: Ipv4Addr) {
        self.ip = ip;
    }

    /// Its data directory.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.clone()
    }

    /// Its kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("admin.kubeconfig")
    }

    /// Its ingress.
    pub fn http(&self) -> SocketAddr {
        (self.ip, HTTP).into()
    }

    /// Its ingress, with TLS.
    pub fn https(&self) -> SocketAddr {
        (self.ip, HTTPS).into()
    }

    /// Starts the process: `wk up --listen … --data-dir … --name …` and `more` options. Waits for nothing.
    ///
    /// # Panics
    /// If it cannot be started.
    pub fn start(&mut self, more: &[&str]) {
        let (listen, data_dir) = (self.ip.to_string(), self.dir.display().to_string());
        let named = ["up", "--listen", &listen, "--data-dir", &data_dir, "--name", &self.name];
        let mut words: Vec<String> = named.iter().chain(more).map(|word| (*word).to_owned()).collect();
        if let Ok(isolation) = std::env::var(ISOLATION)
            && !more.contains(&"--isolation")
        {
            words.extend(["--isolation".to_owned(), isolation]);
        }
        self.start_exactly(&words);
    }

    /// Starts the process with a whole command line.
    ///
    /// # Panics
    /// If it cannot be started, or runs already.
    pub fn start_exactly(&mut self, words: &[String]) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let out = self.open("out");
        self.began = out.metadata().expect("an open file has a size").len();
        let mut words: Vec<&OsStr> = words.iter().map(OsStr::new).collect();
        words.insert(0, wk().as_os_str());
        words.splice(0..0, self.place.iter().map(OsStr::new));
        let mut command = Command::new(words[0]);
        clean(&mut command, &self.dir);
        command.env("WK_LOG", std::env::var("WK_LOG").unwrap_or_else(|_| "info".to_owned()));
        command.args(&words[1..]).stdin(Stdio::null()).stdout(out).stderr(self.open("err"));
        self.child = Some(command.spawn().expect("wk can be started"));
        self.quiet = false;
    }

    /// Starts the process as [`Node::start`] does, where no file may grow beyond `kib` KiB: what writes more meets an
    /// error, as on a full disk.
    ///
    /// # Panics
    /// If it cannot be started, or runs already.
    pub fn start_limited(&mut self, kib: u32, more: &[&str]) {
        assert!(self.child.is_none(), "{} runs already", self.name);
        let (listen, data_dir) = (self.ip.to_string(), self.dir.display().to_string());
        let out = self.open("out");
        self.began = out.metadata().expect("an open file has a size").len();
        let mut command = Command::new("sh");
        clean(&mut command, &self.dir);
        // POSIX counts in blocks of 512 bytes; without the trap the signal would end the process.
        let script = format!("trap '' XFSZ; ulimit -f {}; exec \"$0\" \"$@\"", kib * 2);
        command.args(["-c", &script]).arg(wk());
        command.args(["up", "--listen", &listen, "--data-dir", &data_dir, "--name", &self.name]).args(more);
        command.stdin(Stdio::null()).stdout(out).stderr(self.open("err"));
        self.child = Some(command.spawn().expect("sh can be started"));
        self.quiet = false;
    }

    fn open(&self, what: &str) -> File {
        let path = self.dir.with_extension(what);
        OpenOptions::new()
            .create(true)
            .append(true)
            .open(&path)
            .unwrap_or_else(|error| panic!("open {}: {error}", path.display()))
    }

    /// What the present run printed so far.
    pub fn stdout(&self) -> String {
        let all = std::fs::read(self.dir.with_extension("out")).unwrap_or_default();
        let began = usize::try_from(self.began).expect("a short file").min(all.len());
        String::from_utf8_lossy(&all[began..]).into_owned()
    }

    /// What all its runs wrote to standard error.
    pub fn stderr(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.dir.with_extension("err")).unwrap_or_default()).into_owned()
    }

    /// Waits until it says that it is up.
    ///
    /// # Panics
    /// If it ends instead, or takes too long.
    pub async fn up(&mut self) {
        let name = self.name.clone();
        until(&format!("node {name} is up"), SOON, async || {
            let text = self.stdout();
            if text.contains("wk is up") && text.ends_with("\n\n") {
                return Ok(());
            }
            if let Some(status) = self.child.as_mut().context("it was not started")?.try_wait()? {
                panic!("node {name} ended with {status} instead of starting:\n{}", self.stderr());
            }
            bail!("it printed {text:?}")
        })
        .await;
    }

    /// Waits until the process ends by itself, and says how.
    ///
    /// # Panics
    /// If it goes on instead.
    pub async fn ended(&mut self, within: Duration) -> Output {
        let name = self.name.clone();
        let child = self.child.as_mut().expect("it was started");
        let status = until(&format!("node {name} ends"), within, async || child.try_wait()?.context("it runs")).await;
        self.child = None;
        self.quiet = true;
        Output { line: format!("wk up ({name})"), code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }

    /// Ends the process with SIGKILL, as a power cut would.
    ///
    /// # Panics
    /// If it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().expect("it runs");
        child.kill().expect("our own child can be killed");
        child.wait().expect("our own child can be waited for");
    }

    /// Asks the process to stop with SIGTERM. Waits for nothing: see [`Node::ended`].
    ///
    /// # Panics
    /// If it does not run.
    pub fn terminate(&self) {
        self.signal("TERM");
    }

    /// Lets the process stand still: its connections stay open and say nothing, as on a machine that hangs.
    ///
    /// # Panics
    /// If it does not run.
    pub fn freeze(&self) {
        self.signal("STOP");
    }

    /// Lets a frozen process go on.
    ///
    /// # Panics
    /// If it does not run.
    pub fn thaw(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        let pid = self.child.as_ref().expect("it runs").id().to_string();
        let status = Command::new("sh").args(["-c", "kill -s \"$1\" \"$0\"", &pid, name]).status().expect("sh runs");
        assert!(status.success(), "cannot signal {pid}");
    }

    /// Stops the process with SIGTERM and waits until it is gone.
    ///
    /// # Panics
    /// If it does not end with success.
    pub async fn stop(&mut self) {
        self.terminate();
        let output = self.ended(SOON).await;
        assert_eq!(output.code, Some(0), "stopping: {output:?}");
    }

    /// Whether the process runs.
    pub fn runs(&mut self) -> bool {
        self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)))
    }

    /// A `wk` command that talks to this node.
    pub fn command(&self, words: &[&str]) -> tokio::process::Command {
        let mut command = Command::new(wk());
        clean(&mut command, &self.dir);
        command.arg("--kubeconfig").arg(self.kubeconfig()).args(words);
        command.into()
    }

    /// Runs a `wk` command that talks to this node.
    pub async fn wk(&self, words: &[&str]) -> Output {
        run(self.command(words)).await
    }

    /// Runs a `wk` command that talks to this node and reads `input`.
    pub async fn wk_with(&self, words: &[&str], input: &str) -> Output {
        run_with_input(self.command(words), input).await
    }

    /// Starts a `wk` command that goes on.
    pub fn follow(&self, words: &[&str]) -> Followed {
        Followed::start(self.command(words))
    }

    /// A client of its API.
    ///
    /// # Panics
    /// If its kubeconfig is not there or makes no sense.
    pub async fn api(&self) -> Api {
        Api::open(&self.kubeconfig()).await.expect("the node wrote a kubeconfig")
    }
}

/// Takes what the developer's own surroundings say about wk away from the command.
fn clean(command: &mut Command, home: &Path) {
    for name in ["KUBECONFIG", "WK_HOME", "WK_TOKEN", "WK_LOG"] {
        command.env_remove(name);
    }
    command.env("HOME", home.with_extension("home"));
}

impl Drop for Node {
    #[expect(clippy::print_stderr, reason = "a failed test tells why")]
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() && !self.quiet {
            let text = self.stderr();
            let lines: Vec<&str> = text.lines().collect();
            let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
            eprintln!("--- end of what node {} ({}) wrote to standard error\n{}", self.name, self.ip, tail.join("\n"));
        }
    }
}
