//! The real `kubectl`, where there is one.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::command::{Followed, Output, run, run_with_input};

/// The version tests are written against. A plain `kubectl` may be a dispatcher that looks for others first.
const VERSIONED: &str = "kubectl.1.32";

/// `kubectl` with a node's kubeconfig and a cache of its own.
#[derive(Debug, Clone)]
pub struct Kubectl {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Kubectl {
    /// Finds it, or says on standard error that it is missing: then the test has nothing to do.
    #[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
    pub fn find(kubeconfig: &Path, home: &Path) -> Option<Self> {
        let Some(program) = program() else {
            eprintln!("skipped: this needs kubectl, and there is none on the PATH");
            return None;
        };
        Some(Self { program, kubeconfig: kubeconfig.to_owned(), home: home.to_owned() })
    }

    /// The same program with another kubeconfig.
    #[must_use]
    pub fn through(&self, kubeconfig: &Path) -> Self {
        let home = kubeconfig.parent().unwrap_or(Path::new(".")).to_owned();
        Self { program: self.program.clone(), kubeconfig: kubeconfig.to_owned(), home }
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.env_remove("KUBECONFIG").env("HOME", &self.home);
        command.arg("--kubeconfig").arg(&self.kubeconfig).arg("--cache-dir").arg(self.home.join("kubectl-cache"));
        command.args(words);
        command
    }

    /// Runs it.
    pub async fn run(&self, words: &[&str]) -> Output {
        run(self.command(words)).await
    }

    /// Runs it with a text on its standard input.
    pub async fn run_with(&self, words: &[&str], input: &str) -> Output {
        run_with_input(self.command(words), input).await
    }

    /// Starts it with a command that goes on.
    pub fn follow(&self, words: &[&str]) -> Followed {
        Followed::start(self.command(words))
    }
}

/// `kubectl.1.32` on the PATH, or where the `kubectl` on the PATH really lies, else that `kubectl`.
fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    let find = |name: &str| std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file());
    let plain = find("kubectl");
    let real = plain.as_ref().and_then(|file| file.canonicalize().ok());
    let beside = real.and_then(|file| Some(file.parent()?.join(VERSIONED))).filter(|file| file.is_file());
    find(VERSIONED).or(beside).or(plain)
}
