//! The real `kubectl`, where there is one.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::command::{Followed, Output, run, run_with_input};

/// The version tests are written against. A plain `kubectl` may be a dispatcher that looks for others first.
const MINOR: &str = "32";

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
        let Some(program) = of_minor(MINOR).or_else(|| on_path("kubectl")) else {
            eprintln!("skipped: this needs kubectl, and there is none on the PATH");
            return None;
        };
        Some(Self { program, kubeconfig: kubeconfig.to_owned(), home: home.to_owned() })
    }

    /// The same kubeconfig with kubectl 1.`minor`: `kubectl.1.<minor>` on the PATH, or beside the `kubectl` that is there.
    pub fn other(&self, minor: &str) -> Option<Self> {
        Some(Self { program: of_minor(minor)?, ..self.clone() })
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

    /// Runs it with these variables in its environment.
    pub async fn run_in(&self, environment: &[(&str, &str)], words: &[&str]) -> Output {
        let mut command = self.command(words);
        command.envs(environment.iter().copied());
        run(command).await
    }

    /// The program and its arguments, for what runs it otherwise.
    pub fn line(&self, words: &[&str]) -> Vec<String> {
        let command = self.command(words);
        let command = command.as_std();
        let all = std::iter::once(command.get_program()).chain(command.get_args());
        all.map(|word| word.to_string_lossy().into_owned()).collect()
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

/// A program on the PATH.
fn on_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// `kubectl.1.<minor>` on the PATH, or where the `kubectl` on the PATH really lies.
fn of_minor(minor: &str) -> Option<PathBuf> {
    let name = format!("kubectl.1.{minor}");
    let beside = || {
        let real = on_path("kubectl")?.canonicalize().ok()?;
        Some(real.parent()?.join(&name)).filter(|file| file.is_file())
    };
    on_path(&name).or_else(beside)
}
