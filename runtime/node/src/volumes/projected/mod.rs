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
use wk_api::{Object, kinds};
use wk_base::time::Timestamp;

use crate::sources::{Data, Sources};
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
    pub(super) sources: &'a Sources,
    pub(super) keys: &'a Keyring,
    pub(super) pod: &'a Arc<Object>,
    pub(super) now: Timestamp,
}

/// What a volume's files are made of, in the order of its sources.
pub(super) struct Gathered {
    pod: Arc<Object>,
    data: Vec<Option<Data>>,
}

impl Gathered {
    /// What changes when one of them does.
    fn versions(&self) -> u64 {
        let mut hasher = std::hash::DefaultHasher::new();
        (self.pod.labels(), self.pod.annotations()).hash(&mut hasher);
        for data in &self.data {
            data.as_ref().map(Data::version).hash(&mut hasher);
        }
        hasher.finish()
    }
}

/// What was written.
pub(super) struct Written {
    versions: u64,
    files: u64,
    /// When the first token is to be made anew.
    due: Option<Timestamp>,
    /// The keys that signed its tokens: when one is taken back, they are made anew at once.
    keys: Vec<String>,
}

impl Written {
    /// Whether it was made of just this, and stays good for now.
    pub(super) fn is_of(&self, gathered: &Gathered, keys: &Keyring, now: Timestamp) -> bool {
        self.versions == gathered.versions()
            && self.due.is_none_or(|due| now < due)
            && self.keys.iter().all(|key| keys.has(key))
    }
}

/// Looks up what `sources` name in a pod's namespace, in the local copy.
pub(super) fn gather(origin: &Origin<'_>, sources: &[Projection]) -> Result<Gathered, String> {
    let namespace = origin.pod.namespace();
    let find = |source: &Projection| match source {
        Projection::Entries(from) => match origin.sources.find(from.kind, namespace, &from.name) {
            Ok(data) => Ok(Some(data)),
            Err(error) if error.is_absence() && from.optional => Ok(None),
            Err(error) => Err(error.to_string()),
        },
        Projection::Downward(_) | Projection::Token(_) => Ok(None),
    };
    let data = sources.iter().map(find).collect::<Result<_, _>>()?;
    Ok(Gathered { pod: Arc::clone(origin.pod), data })
}

/// The files that `sources` make of what was gathered for them; tokens come from elsewhere.
fn files(origin: &Origin<'_>, sources: &[Projection], mode: u32, gathered: &Gathered) -> Result<Files, String> {
    let mut files = Files::new();
    let node = || origin.sources.cluster().local_object(&kinds::NODE, None, gathered.pod.text("/spec/nodeName"));
    for (source, data) in sources.iter().zip(&gathered.data) {
        match source {
            Projection::Entries(from) => objects::entries(from, data.as_ref(), mode, &mut files)?,
            Projection::Downward(items) => {
                let node = node();
                let allocatable = node.as_ref().and_then(|node| node.at("/status/allocatable"));
                downward::downward(items, &gathered.pod, allocatable, mode, &mut files);
            }
            Projection::Token(_) => {}
        }
    }
    let bytes: usize = files.values().map(|file| file.bytes.len()).sum();
    if bytes > BYTES_MAX {
        return Err(format!("its files would hold {bytes} bytes, more than {BYTES_MAX}"));
    }
    Ok(files)
}

/// Why the files of a volume could not be made of what was gathered. Nothing is written, and no token made.
pub(super) fn check(origin: &Origin<'_>, sources: &[Projection], mode: u32, gathered: &Gathered) -> Result<(), String> {
    files(origin, sources, mode, gathered).map(drop)
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
    let mut files = files(origin, sources, mode, &gathered)?;
    let (mut due, mut keys): (Option<Timestamp>, _) = (None, Vec::new());
    for source in sources {
        let Projection::Token(file) = source else { continue };
        let token = token::token(origin.sources.cluster(), origin.keys, origin.pod, file, origin.now).await?;
        due = Some(due.map_or(token.due, |due| due.min(token.due)));
        keys.push(token.key);
        files.insert(file.path.clone(), File { bytes: token.text.into_bytes(), mode: token::MODE });
    }
    let written = Written { versions, files: digest(&files), due, keys };
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
