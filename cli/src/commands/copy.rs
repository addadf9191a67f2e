//! `wk cp`: files to and from pods, as tar archives that a `tar` in the pod reads and writes.

use std::path::{Component, Path, PathBuf};

use kube::api::{AttachParams, AttachedProcess};
use serde_json::Value;
use tokio::io::AsyncReadExt as _;
use tokio_util::io::SyncIoBridge;

use super::pods;
use crate::args::{CpArgs, Place};
use crate::client::Client;
use crate::exit::{Code, ExitError, usage};
use crate::fields::name;
use crate::render::Ui;

/// Most of what `tar` in the pod says that is kept for the message.
const TOLD_MAX: u64 = 4 << 10;

/// A container of a pod.
struct Remote {
    client: Client,
    pod: String,
    container: Option<String>,
}

/// Copies.
pub(super) async fn run(client: &Client, args: &CpArgs, ui: &mut Ui) -> anyhow::Result<()> {
    match (&args.from, &args.to) {
        (Place::Here(from), Place::Pod { namespace, pod, path }) => {
            let remote = Remote::open(client, namespace.as_deref(), pod, args).await?;
            remote.upload(from, path).await
        }
        (Place::Pod { namespace, pod, path }, Place::Here(to)) => {
            let remote = Remote::open(client, namespace.as_deref(), pod, args).await?;
            let skipped = remote.download(path, to).await?;
            for skipped in skipped {
                ui.note(&format!("skipped {skipped}"));
            }
            Ok(())
        }
        (Place::Here(_), Place::Here(_)) => Err(usage("one of the two must be in a pod: POD:PATH").into()),
        (Place::Pod { .. }, Place::Pod { .. }) => Err(usage("one of the two must be here: copy in two steps").into()),
    }
}

impl Remote {
    async fn open(client: &Client, namespace: Option<&str>, pod: &str, args: &CpArgs) -> anyhow::Result<Self> {
        let client = namespace.map_or_else(|| client.clone(), |namespace| client.in_namespace(namespace));
        let found = pods::meant(&client, pod).await?.pods;
        let found = pods::one(found).ok_or_else(|| ExitError::new(Code::NotFound, format!("{pod} has no pods")))?;
        let container = args.container.clone().or_else(|| pods::container(&found).map(str::to_owned));
        Ok(Self { client, pod: name(&found).to_owned(), container })
    }

    async fn start(&self, command: &[&str], stdin: bool) -> anyhow::Result<AttachedProcess> {
        let params = AttachParams {
            container: self.container.clone(),
            stdin,
            stdout: true,
            stderr: true,
            ..AttachParams::default()
        };
        let started = self.client.pods().exec(&self.pod, command.iter().copied(), &params).await;
        started.map_err(|error| {
            self.client
                .explained(&format!("pods/{}/exec", self.pod), error)
                .context(format!("copy with pod {}", self.pod))
        })
    }

    async fn is_directory(&self, path: &str) -> anyhow::Result<bool> {
        let mut process = self.start(&["test", "-d", path], false).await?;
        Ok(finish(&mut process).await?.is_ok())
    }

    /// Sends a file or a directory.
    async fn upload(&self, from: &Path, path: &str) -> anyhow::Result<()> {
        if !from.exists() {
            return Err(ExitError::new(Code::NotFound, format!("{} does not exist", from.display())).into());
        }
        let name = from.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let trimmed = path.trim_end_matches('/');
        let whole = if self.is_directory(path).await? { format!("{trimmed}/{name}") } else { trimmed.to_owned() };
        let (directory, name) = whole.rsplit_once('/').map_or((".", whole.as_str()), |(directory, name)| {
            (if directory.is_empty() { "/" } else { directory }, name)
        });
        if name.is_empty() {
            return Err(usage(format!("{path:?} names no file")).into());
        }
        let mut process = self.start(&["tar", "-xmf", "-", "-C", directory], true).await?;
        let stdin = process.stdin().ok_or_else(|| anyhow::anyhow!("the program has no input"))?;
        let (from, name) = (from.to_owned(), name.to_owned());
        let sent = tokio::task::spawn_blocking(move || {
            let mut stdin = SyncIoBridge::new(stdin);
            pack(&mut stdin, &from, &name)?;
            // Dropping it would not tell tar that this was all.
            stdin.shutdown()
        });
        let ended = finish(&mut process).await?;
        // What tar says of a refusal explains more than the pipe that broke.
        ended.map_err(|why| ExitError::new(Code::General, format!("tar in pod {} failed: {why}", self.pod)))?;
        sent.await.map_err(std::io::Error::other)??;
        Ok(())
    }

    /// Fetches a file or a directory; what was left out and why.
    async fn download(&self, path: &str, to: &Path) -> anyhow::Result<Vec<String>> {
        let path = path.trim_end_matches('/').to_owned();
        let mut process = self.start(&["tar", "cf", "-", &path], false).await?;
        let stdout = process.stdout().ok_or_else(|| anyhow::anyhow!("the program has no output"))?;
        let name = path.rsplit('/').next().unwrap_or_default().to_owned();
        let target = if to.is_dir() { to.join(&name) } else { to.to_owned() };
        let prefix = path.trim_start_matches('/').trim_start_matches("./").to_owned();
        let taken = tokio::task::spawn_blocking(move || unpack(SyncIoBridge::new(stdout), &prefix, &target));
        let ended = finish(&mut process).await?;
        ended.map_err(|why| ExitError::new(Code::General, format!("tar in pod {} failed: {why}", self.pod)))?;
        let taken = taken.await.map_err(std::io::Error::other)??;
        if taken.files == 0 {
            return Err(ExitError::new(Code::NotFound, format!("{path} in pod {} holds nothing", self.pod)).into());
        }
        Ok(taken.skipped)
    }
}

/// Waits for the end of a program whose output, if any is left, is not wanted; what it said if it failed.
async fn finish(process: &mut AttachedProcess) -> anyhow::Result<Result<(), String>> {
    let status = process.take_status();
    let (stdout, stderr) = (process.stdout(), process.stderr());
    let discard = async {
        if let Some(mut stdout) = stdout {
            tokio::io::copy(&mut stdout, &mut tokio::io::sink()).await.ok();
        }
    };
    let listen = async {
        let mut said = Vec::new();
        if let Some(mut stderr) = stderr {
            (&mut stderr).take(TOLD_MAX).read_to_end(&mut said).await.ok();
            tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await.ok();
        }
        String::from_utf8_lossy(&said).trim().to_owned()
    };
    let wait = async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    };
    let ((), said, status) = tokio::join!(discard, listen, wait);
    let status: Value = status
        .and_then(|status| serde_json::to_value(status).ok())
        .ok_or_else(|| ExitError::new(Code::Unreachable, "the connection broke before the copy was complete"))?;
    if status.get("status").and_then(Value::as_str) != Some("Failure") {
        return Ok(Ok(()));
    }
    let message = status.get("message").and_then(Value::as_str).unwrap_or_default();
    Ok(Err(if said.is_empty() { message.to_owned() } else { said }))
}

fn pack(into: impl std::io::Write, from: &Path, name: &str) -> std::io::Result<()> {
    let mut archive = tar::Builder::new(into);
    archive.follow_symlinks(false);
    if from.is_dir() {
        archive.append_dir_all(name, from)?;
    } else {
        archive.append_path_with_name(std::fs::canonicalize(from)?, name)?;
    }
    archive.into_inner()?.flush()
}

/// What came out of an archive.
struct Taken {
    files: usize,
    skipped: Vec<String>,
}

/// Writes the entries below `prefix` to `target`. A pod may send anything: entries that would leave the target are
/// left out, and so are links and devices.
fn unpack(from: impl std::io::Read, prefix: &str, target: &Path) -> std::io::Result<Taken> {
    let mut taken = Taken { files: 0, skipped: Vec::new() };
    let mut archive = tar::Archive::new(from);
    for entry in archive.entries()? {
        let mut entry = entry?;
        let path = entry.path()?.into_owned();
        let Some(below) = below(&path, prefix) else {
            taken.skipped.push(format!("{}: it leads out of {prefix}", path.display()));
            continue;
        };
        let place = if below.as_os_str().is_empty() { target.to_owned() } else { target.join(&below) };
        match entry.header().entry_type() {
            tar::EntryType::Directory => std::fs::create_dir_all(&place)?,
            tar::EntryType::Regular => {
                if let Some(parent) = place.parent().filter(|parent| !parent.as_os_str().is_empty()) {
                    std::fs::create_dir_all(parent)?;
                }
                let mut file = std::fs::File::create(&place)?;
                std::io::copy(&mut entry, &mut file)?;
            }
            tar::EntryType::XGlobalHeader => continue,
            tar::EntryType::Symlink => {
                let target = entry.link_name()?.unwrap_or_default().into_owned();
                taken.skipped.push(format!("{}: it is a symbolic link to {}", path.display(), target.display()));
                continue;
            }
            _ => {
                taken.skipped.push(format!("{}: it is neither a file nor a directory", path.display()));
                continue;
            }
        }
        taken.files += 1;
    }
    Ok(taken)
}

/// The way of an entry below the prefix; `None` if it is not below it.
fn below(path: &Path, prefix: &str) -> Option<PathBuf> {
    let clean = |path: &Path| -> Option<PathBuf> {
        path.components()
            .filter(|part| !matches!(part, Component::CurDir | Component::RootDir))
            .map(|part| match part {
                Component::Normal(name) => Some(name),
                _ => None,
            })
            .collect()
    };
    let prefix = clean(Path::new(prefix))?;
    clean(path)?.strip_prefix(prefix).ok().map(Path::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_come_back_as_they_went() {
        let dir = tempfile::tempdir().expect("dir");
        let from = dir.path().join("from");
        std::fs::create_dir_all(from.join("inner")).expect("make");
        std::fs::write(from.join("inner/a.txt"), "one").expect("write");
        let mut bytes = Vec::new();
        pack(&mut bytes, &from, "there").expect("pack");
        let to = dir.path().join("to");
        let taken = unpack(bytes.as_slice(), "there", &to).expect("unpack");
        assert_eq!((taken.files, taken.skipped.len()), (3, 0));
        assert_eq!(std::fs::read_to_string(to.join("inner/a.txt")).expect("read"), "one");
    }

    #[test]
    fn entries_cannot_leave_the_target() {
        assert_eq!(below(Path::new("tmp/x/a"), "/tmp/x".trim_start_matches('/')), Some(PathBuf::from("a")));
        assert_eq!(below(Path::new("./tmp/x"), "tmp/x"), Some(PathBuf::new()));
        assert_eq!(below(Path::new("tmp/x/../../etc/passwd"), "tmp/x"), None);
        assert_eq!(below(Path::new("/etc/passwd"), "tmp/x"), None);
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, "x/link", "/etc/passwd").expect("append");
        let dir = tempfile::tempdir().expect("dir");
        let taken =
            unpack(archive.into_inner().expect("bytes").as_slice(), "x", &dir.path().join("to")).expect("unpack");
        assert_eq!((taken.files, taken.skipped), (0, vec!["x/link: it is a symbolic link to /etc/passwd".to_owned()]));
    }
}
