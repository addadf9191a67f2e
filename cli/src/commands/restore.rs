//! `wk restore`: a new cluster of a backup.

use anyhow::Context as _;
use wk_api::kinds;
use wk_cluster::Vault;
use wk_image::{Blobs, Digest, LAYER_BYTES_MAX};
use wk_mesh::{Authority, NodeKey, NodeName};
use wk_store::backup::{self, Header, Part, Parts, Summary};
use wk_store::recovery::{Fate, Restoration, Restored};
use wk_store::{Stored, Value};

use crate::args::RestoreArgs;
use crate::exit::{Code, ExitError, usage};
use crate::render::Ui;
use crate::up::data_dir::{DataDir, Founding, Identity, NodeFile};
use crate::up::{backup as contents, remains, secrets_keys, settings};

/// Makes the new cluster's first node, or only reads the file.
pub(super) async fn run(args: &RestoreArgs, ui: &mut Ui) -> anyhow::Result<()> {
    let read = || args.file.display().to_string();
    if args.check {
        let summary = backup::verify(&args.file).with_context(read)?;
        return ui.line(&format!("{}: whole\n{}", args.file.display(), describe(&summary)));
    }
    let name = match &args.name {
        Some(name) => name.parse().map_err(|error| usage("--name must be a DNS name, such as n1").because(error))?,
        None => settings::host_name(0),
    };
    let root = args.data_dir()?;
    // Before a directory is made for it. Read once: it may be a pipe.
    let mut parts = backup::parts_of(&args.file).with_context(read)?;
    let header = match parts.next().context("it is empty").with_context(read)?.with_context(read)? {
        Part::Header(header) => header,
        other => anyhow::bail!("{} begins with {other:?}", args.file.display()),
    };
    let old_keys = args.secrets_key.as_deref().map(secrets_keys::of_file).transpose()?.unwrap_or_default();
    let cluster = wk_base::id::uid();
    let authority = Authority::create(&cluster).context("make the cluster's certificate authority")?;
    let vault = Vault::new(&secrets_keys::of_authority(&authority), &old_keys);
    let data_dir = DataDir::open(&root).await?;
    let founding = data_dir.found()?;
    let (summary, restored) = fill(&founding, parts, &header, &vault).await.with_context(read)?;
    founding.finish(&identity(cluster, authority, name.clone(), &restored)?)?;
    for note in &summary.notes {
        ui.note(&format!("note: {note}"));
    }
    ui.line(&format!(
        "restored {} objects and {} as node {name} of a new cluster, from\n{}",
        restored.objects,
        modules(&summary),
        describe(&summary)
    ))?;
    ui.line(&format!("start it with: wk up --data-dir {}", root.display()))
}

fn describe(Summary { header, bytes, .. }: &Summary) -> String {
    let Header { about, revision, objects, .. } = header;
    format!(
        "  cluster   {}\n  made      {} by wk {}\n  revision  {revision}\n  holds     {objects} objects, {bytes} bytes",
        about.cluster, about.time, about.version
    )
}

fn modules(summary: &Summary) -> String {
    format!("{} files of modules", summary.files)
}

/// Reads the backup into the store and the modules of the new node.
async fn fill(
    founding: &Founding<'_>,
    parts: Parts,
    header: &Header,
    vault: &Vault,
) -> anyhow::Result<(Summary, Restored)> {
    let blobs = Blobs::open(founding.join("blobs")).context("open the modules' directory")?;
    let mut restoration = Restoration::new(header)?;
    let mut incoming: Option<(Digest, Vec<u8>, u64)> = None;
    for part in parts {
        match part? {
            Part::Header(_) | Part::Note(_) => {}
            // The new cluster seals with a key of its own.
            Part::Object(stored) if stored.key().collection() == wk_cluster::SECRETS_KEYS => {
                restoration.take(&stored, Fate::Drop);
            }
            // No node of the old cluster is one of the new.
            Part::Object(stored) if stored.key().collection() != kinds::SECRET.collection() => {
                restoration.take(&stored, remains::fate(&stored, |_| false));
            }
            Part::Object(stored) => restoration.take(&stored, Fate::Recode(sealed_anew(&stored, vault)?)),
            Part::File { name, size } => {
                let digest = name.strip_prefix(contents::BLOB_PREFIX).and_then(|digest| digest.parse().ok());
                let digest = digest.with_context(|| format!("it holds {name:?}, which this version does not know"))?;
                anyhow::ensure!(
                    size <= LAYER_BYTES_MAX,
                    "module {digest} has {size} bytes, the limit is {LAYER_BYTES_MAX}"
                );
                incoming = Some((digest, Vec::new(), size));
            }
            Part::Data(data) => {
                if let Some((_, bytes, _)) = &mut incoming {
                    bytes.extend_from_slice(&data);
                }
            }
            Part::End(summary) => {
                return Ok((summary, restoration.found(&founding.join("store"))?));
            }
        }
        if let Some((digest, bytes, _)) = incoming.take_if(|(_, bytes, size)| bytes.len() as u64 == *size) {
            let body = wk_base::body::full(bytes);
            blobs.put(&digest, body, LAYER_BYTES_MAX).await.with_context(|| format!("keep module {digest}"))?;
        }
    }
    anyhow::bail!("it has no end")
}

/// A Secret of the backup, sealed with the new cluster's key.
fn sealed_anew(stored: &Stored, vault: &Vault) -> anyhow::Result<Value> {
    let secret = wk_cluster::object(stored);
    if let Some(key) = wk_cluster::sealed_with(&secret) {
        let message = format!(
            "Secret {} is sealed with key {key}: give --secrets-key FILE with the `identity/ca.key` of a node of the old \
             cluster, or the file that its --secrets-key-file named; nothing was restored",
            stored.key().name()
        );
        return Err(ExitError::new(Code::Usage, message).into());
    }
    let sealed = vault.seal(&secret);
    let (bytes, stamp) = wk_api::encode::stored(sealed.as_ref().unwrap_or(&secret));
    Ok(Value { bytes: bytes.into(), stamp: Some(stamp) })
}

/// A cluster of its own: the old one's certificates are worth nothing here.
fn identity(cluster: String, authority: Authority, name: NodeName, restored: &Restored) -> anyhow::Result<Identity> {
    let key = NodeKey::generate().context("make the node's key")?;
    let file = NodeFile {
        version: 1,
        cluster,
        member: restored.member.0,
        name,
        first: true,
        witness: false,
        seeds: Vec::new(),
    };
    Ok(Identity { file, authority, key })
}
