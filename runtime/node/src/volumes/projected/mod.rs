//! Volumes of files that are made of objects: configMap, secret, downwardAPI and projected volumes.
//!
//! [`gather`] looks up what they are made of, [`files`] is the pure function from that to files, [`atomic`] puts them into
//! the directory so that a guest sees all of the old or all of the new.

mod atomic;
mod downward;
mod objects;
mod token;

use std::collections::BTreeMap;
use std::hash::{Hash as _, Hasher as _};
use std::path::PathBuf;
use std::sync::Arc;

use wk_access::tokens::Keyring;
use wk_api::{Kind, Object, kinds};
use wk_base::time::Timestamp;
use wk_cluster::{Cluster, Freshness};

use crate::spec::Projection;

use super::pod::blocking;

/// All files of a volume together: sixteen of the largest ConfigMaps.
const BYTES_MAX: usize = 16 << 20;

/// Files by their path below the volume.
pub(super) type Files = BTreeMap<String, File>;

/// A file.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct File {
    bytes: Vec<u8>,
    mode: u32,
}

/// Where files come from.
pub(super) struct Origin<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) keys: &'a Keyring,
    pub(super) pod: &'a Arc<Object>,
    pub(super) now: Timestamp,
}

/// What a volume's files are made of, in the order of its sources.
pub(super) struct Gathered {
    pod: Arc<Object>,
    objects: Vec<Option<Arc<Object>>>,
}

impl Gathered {
    /// What changes when one of them does.
    fn versions(&self) -> Vec<String> {
        let version = |object: &Option<Arc<Object>>| {
            object.as_ref().map(|object| format!("{}/{}", object.uid(), object.resource_version())).unwrap_or_default()
        };
        self.objects.iter().map(version).collect()
    }
}

/// What was written.
pub(super) struct Written {
    versions: Vec<String>,
    files: u64,
    /// When the first token is to be made anew.
    due: Option<Timestamp>,
}

impl Written {
    /// Whether it was made of just this, and stays good for now.
    pub(super) fn is_of(&self, gathered: &Gathered, now: Timestamp) -> bool {
        self.versions == gathered.versions() && self.due.is_none_or(|due| now < due)
    }
}

/// Looks up what `sources` name in a pod's namespace, in the local copy.
pub(super) async fn gather(origin: &Origin<'_>, sources: &[Projection]) -> Result<Gathered, String> {
    let (cluster, namespace) = (origin.cluster, origin.pod.namespace());
    let mut objects = Vec::with_capacity(sources.len());
    for source in sources {
        objects.push(match source {
            Projection::ConfigMap(from) => {
                find(cluster, &kinds::CONFIGMAP, namespace, &from.name, from.optional).await?
            }
            Projection::Secret(from) => find(cluster, &kinds::SECRET, namespace, &from.name, from.optional).await?,
            Projection::Downward(_) => Some(Arc::clone(origin.pod)),
            Projection::Token(_) => None,
        });
    }
    Ok(Gathered { pod: Arc::clone(origin.pod), objects })
}

async fn find(
    cluster: &Cluster,
    kind: &Kind,
    namespace: &str,
    name: &str,
    optional: bool,
) -> Result<Option<Arc<Object>>, String> {
    match cluster.get(kind, Some(namespace), name, Freshness::Local).await {
        Ok(object) => Ok(Some(object)),
        Err(status) if status.code == 404 && optional => Ok(None),
        Err(status) if status.code == 404 => Err(format!("{} {name:?} not found", kind.kind.to_ascii_lowercase())),
        Err(status) => Err(status.to_string()),
    }
}

/// The files that `sources` make of what was gathered for them; tokens come from elsewhere.
fn files(sources: &[Projection], mode: u32, gathered: &Gathered) -> Result<Files, String> {
    let mut files = Files::new();
    for (source, object) in sources.iter().zip(&gathered.objects) {
        match source {
            Projection::ConfigMap(from) => objects::config_map(from, object.as_deref(), mode, &mut files)?,
            Projection::Secret(from) => objects::secret(from, object.as_deref(), mode, &mut files)?,
            Projection::Downward(items) => downward::downward(items, &gathered.pod, mode, &mut files)?,
            Projection::Token(_) => {}
        }
    }
    let bytes: usize = files.values().map(|file| file.bytes.len()).sum();
    if bytes > BYTES_MAX {
        return Err(format!("its files would hold {bytes} bytes, more than {BYTES_MAX}"));
    }
    Ok(files)
}

/// Writes the files of a volume into `dir`, unless they are those of `before`.
pub(super) async fn write(
    origin: &Origin<'_>,
    dir: PathBuf,
    sources: &[Projection],
    mode: u32,
    gathered: Gathered,
    before: Option<&Written>,
) -> Result<Written, String> {
    let versions = gathered.versions();
    let mut files = files(sources, mode, &gathered)?;
    let mut due: Option<Timestamp> = None;
    for source in sources {
        let Projection::Token(file) = source else { continue };
        let token = token::token(origin.cluster, origin.keys, origin.pod, file, origin.now).await?;
        due = Some(due.map_or(token.due, |due| due.min(token.due)));
        files.insert(file.path.clone(), File { bytes: token.text.into_bytes(), mode: token::MODE });
    }
    let written = Written { versions, files: digest(&files), due };
    if before.is_none_or(|before| before.files != written.files) {
        blocking(move || atomic::write(&dir, &files)).await?;
    }
    Ok(written)
}

fn digest(files: &Files) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    files.hash(&mut hasher);
    hasher.finish()
}
