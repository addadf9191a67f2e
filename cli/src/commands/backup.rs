//! `wk backup`: everything the cluster holds as one file.
//!
//! Checksums are verified as the bytes come. The file has its name only when it is whole and on disk.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal as _, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use wk_store::backup::{Decoder, Summary};

use crate::args::{BackupArgs, GlobalArgs};
use crate::client::Client;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;
use crate::up::backup::PATH;

/// Writes the backup.
pub(super) async fn run(global: &GlobalArgs, args: &BackupArgs, ui: &mut Ui) -> anyhow::Result<()> {
    if args.file.as_os_str() == "-" {
        if io::stdout().is_terminal() {
            return Err(usage("a backup is no text for a terminal: name a file, or pipe it on").into());
        }
        let summary = receive(global, ui, &mut io::stdout().lock()).await?;
        tell(&summary, "standard output", ui);
        return Ok(());
    }
    if !args.force && args.file.exists() {
        let message = format!("{} exists: name another file, or write over it with --force", args.file.display());
        return Err(ExitError::new(Code::Conflict, message).into());
    }
    let partial = Partial::create(&args.file)?;
    let mut file = &partial.file;
    let summary = tokio::select! {
        summary = receive(global, ui, &mut file) => summary?,
        _ = tokio::signal::ctrl_c() => anyhow::bail!("interrupted; {} was not written", args.file.display()),
    };
    partial.keep(&args.file)?;
    tell(&summary, &args.file.display().to_string(), ui);
    let objects = summary.header.objects;
    ui.line(&format!("revision {}, {objects} objects, {} bytes", summary.header.revision, summary.bytes))
}

fn tell(summary: &Summary, place: &str, ui: &mut Ui) {
    ui.note(&format!("wrote a backup of cluster {} to {place}", summary.header.about.cluster));
    for note in &summary.notes {
        ui.note(&format!("note: {note}"));
    }
    ui.note(
        "its Secrets are sealed: to restore them you need `identity/ca.key` of a node's data directory, or the file that \
         --secrets-key-file names; keep a copy of that, apart from this file",
    );
}

async fn receive(global: &GlobalArgs, ui: &Ui, out: &mut impl Write) -> anyhow::Result<Summary> {
    let client = Client::open(global, ui).await?;
    let mut download = client.download(PATH).await?;
    let mut decoder = Decoder::default();
    while let Some(bytes) = download.next().await? {
        decoder.feed(&bytes);
        while decoder.next().context("what the server sent")?.is_some() {}
        out.write_all(&bytes).context("write the backup")?;
    }
    out.flush().context("write the backup")?;
    decoder.finish().context("what the server sent")
}

/// A file that is not whole yet, beside where it is to be. Removed unless it is kept.
struct Partial {
    path: PathBuf,
    file: File,
}

impl Partial {
    fn create(target: &Path) -> anyhow::Result<Self> {
        let Some(name) = target.file_name() else {
            return Err(usage(format!("{} is no name for a file", target.display())).into());
        };
        let name = format!(".{}.{}.part", name.to_string_lossy(), std::process::id());
        let path = target.with_file_name(name);
        // Secrets are in it.
        let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let file = file.with_context(|| format!("create {}", path.display()))?;
        Ok(Self { path, file })
    }

    fn keep(&self, target: &Path) -> anyhow::Result<()> {
        let keep = || {
            self.file.sync_all()?;
            fs::rename(&self.path, target)?;
            let dir = target.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
            File::open(dir)?.sync_all()
        };
        keep().with_context(|| format!("write {}", target.display()))
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Renamed already, if it was kept.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn backup_that_came_to_nothing_leaves_no_file() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("b");
        drop(Partial::create(&target).unwrap());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn backup_is_readable_by_its_owner_only() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("b");
        let partial = Partial::create(&target).unwrap();
        partial.keep(&target).unwrap();
        drop(partial);
        assert_eq!(fs::metadata(&target).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
