//! The real `helm`, where there is one.

use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::command::{Output, run};

/// `helm` with a node's kubeconfig and folders of its own.
#[derive(Debug, Clone)]
pub struct Helm {
    program: PathBuf,
    kubeconfig: PathBuf,
    home: PathBuf,
}

impl Helm {
    /// Finds it, or says on standard error that it is missing: then the test has nothing to do.
    #[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
    pub fn find(kubeconfig: &Path, home: &Path) -> Option<Self> {
        let path = std::env::var_os("PATH")?;
        let program = std::env::split_paths(&path).map(|dir| dir.join("helm")).find(|file| file.is_file());
        if program.is_none() {
            eprintln!("skipped: this needs helm, and there is none on the PATH");
        }
        Some(Self { program: program?, kubeconfig: kubeconfig.to_owned(), home: home.to_owned() })
    }

    /// Runs it.
    pub async fn run(&self, words: &[&str]) -> Output {
        let mut command = Command::new(&self.program);
        command.env_clear().env("HOME", &self.home).env("KUBECONFIG", &self.kubeconfig).args(words);
        run(command).await
    }
}
