//! The OCI image manifest, and the shape that a WebAssembly artifact has in it.
//!
//! Sources: the OCI image specification 1.1, and the CNCF TAG Runtime's *Wasm OCI Artifact layout*.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::digest::Digest;

/// The media types we read and write.
pub mod media_type {
    /// An image manifest.
    pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// The configuration of a WebAssembly artifact.
    pub const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
    /// A module or a component.
    pub const WASM: &str = "application/wasm";
    /// What tools wrote before the CNCF's layout; read, never written.
    pub(crate) const WASM_OLD: [&str; 2] =
        ["application/vnd.wasm.content.layer.v1+wasm", "application/vnd.module.wasm.content.layer.v1+wasm"];
}

const SCHEMA_VERSION: u32 = 2;

/// An OCI image manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Manifest {
    /// Always 2.
    pub schema_version: u32,
    /// [`media_type::MANIFEST`], or nothing in older images.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    /// What the artifact is, where its configuration does not say so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    /// The configuration.
    pub config: Descriptor,
    /// The contents.
    pub layers: Vec<Descriptor>,
    /// Anything else that was noted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// A pointer to a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// What the blob is.
    pub media_type: String,
    /// Its name.
    pub digest: Digest,
    /// Its size in bytes.
    pub size: u64,
    /// Anything else that was noted.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub annotations: BTreeMap<String, String>,
}

/// What interface a module was built against, as the artifact's configuration names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WasmOs {
    /// A core module of WASI preview 1.
    Wasip1,
    /// A component.
    Wasip2,
}

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ManifestError {
    /// Not JSON, or not of a manifest's shape.
    #[error("read the image manifest")]
    Parse(#[source] serde_json::Error),
    /// Another version, or another document, such as an index of several images.
    #[error("the image manifest is a {0}, which is not supported")]
    Kind(String),
    /// No WebAssembly in it.
    #[error("the image holds no WebAssembly: its layers are {0:?}")]
    NotWasm(Vec<String>),
    /// A layer that no directory can be made of.
    #[error(
        "a layer of the image is a {0}, which is neither an archive (tar, tar+gzip) nor a file with a title ({TITLE})"
    )]
    NoFile(String),
    /// Several modules in it that cannot be told apart.
    #[error("the image holds {0} WebAssembly layers; of several each needs a title of its own ({TITLE})")]
    Several(usize),
}

/// What a layer's file is called (OCI image specification, *Pre-Defined Annotation Keys*).
const TITLE: &str = "org.opencontainers.image.title";

/// What a layer is to whoever wants the image's files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A file of this name.
    File(String),
    /// An archive of files.
    Tar,
    /// The same, compressed.
    TarGzip,
}

impl Descriptor {
    /// What it is as files: an archive, or by its title a file. A module without one is called `module.wasm`.
    pub fn content(&self) -> Result<Content, ManifestError> {
        let kind = self.media_type.as_str();
        #[expect(
            clippy::case_sensitive_file_extension_comparisons,
            reason = "the end of a media type, which is no name of a file"
        )]
        match self.title() {
            _ if kind.ends_with(".tar") => Ok(Content::Tar),
            _ if kind.ends_with(".tar+gzip") || kind.ends_with(".tar.gzip") => Ok(Content::TarGzip),
            Some(title) => Ok(Content::File(title.to_owned())),
            None if is_wasm(kind) => Ok(Content::File(MODULE.to_owned())),
            None => Err(ManifestError::NoFile(kind.chars().take(128).collect())),
        }
    }

    fn title(&self) -> Option<&str> {
        self.annotations.get(TITLE).map(String::as_str)
    }
}

/// What a module is called that has no title.
const MODULE: &str = "module.wasm";

fn is_wasm(kind: &str) -> bool {
    kind == media_type::WASM || media_type::WASM_OLD.contains(&kind)
}

impl Manifest {
    /// The manifest of one module or component.
    pub fn for_wasm(wasm: Digest, wasm_size: u64, config: Digest, config_size: u64) -> Self {
        let descriptor = |media_type: &str, digest, size| Descriptor {
            media_type: media_type.to_owned(),
            digest,
            size,
            annotations: BTreeMap::new(),
        };
        Self {
            schema_version: SCHEMA_VERSION,
            media_type: Some(media_type::MANIFEST.to_owned()),
            artifact_type: None,
            config: descriptor(media_type::WASM_CONFIG, config, config_size),
            layers: vec![descriptor(media_type::WASM, wasm, wasm_size)],
            annotations: BTreeMap::new(),
        }
    }

    /// Reads a manifest.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Head {
            schema_version: Option<u32>,
            media_type: Option<String>,
        }
        // The head first: of another document it says more than that a field is missing.
        let head: Head = serde_json::from_slice(bytes).map_err(ManifestError::Parse)?;
        if let Some(kind) = head.media_type.filter(|kind| kind != media_type::MANIFEST) {
            return Err(ManifestError::Kind(kind.chars().take(128).collect()));
        }
        if head.schema_version != Some(SCHEMA_VERSION) {
            let version = head.schema_version.map_or("none".to_owned(), |version| version.to_string());
            return Err(ManifestError::Kind(format!("manifest of schema version {version}")));
        }
        serde_json::from_slice(bytes).map_err(ManifestError::Parse)
    }

    /// The manifest as stored: its digest is the digest of these bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("strings, numbers and maps with text keys are JSON")
    }

    /// The WebAssembly layer that a container runs: the only one, or the first of several that each have a title.
    pub fn wasm(&self) -> Result<&Descriptor, ManifestError> {
        let found: Vec<&Descriptor> = self.modules().collect();
        let titles: BTreeSet<&str> = found.iter().filter_map(|layer| layer.title()).collect();
        match found[..] {
            [layer] => Ok(layer),
            [first, ..] if titles.len() == found.len() => Ok(first),
            [] => {
                let kinds = self.layers.iter().take(8).map(|layer| layer.media_type.chars().take(128).collect());
                Err(ManifestError::NotWasm(kinds.collect()))
            }
            _ => Err(ManifestError::Several(found.len())),
        }
    }

    /// The WebAssembly layer with this title, with `.wasm` behind it or without.
    pub fn titled(&self, title: &str) -> Option<&Descriptor> {
        let plain = |title: &str| title.strip_suffix(".wasm").unwrap_or(title).to_owned();
        self.modules().find(|layer| layer.title().map(plain) == Some(plain(title)))
    }

    /// What the layers are as files, or why the image has none.
    pub fn contents(&self) -> Result<Vec<(&Descriptor, Content)>, ManifestError> {
        self.layers.iter().map(|layer| Ok((layer, layer.content()?))).collect()
    }

    fn modules(&self) -> impl Iterator<Item = &Descriptor> {
        self.layers.iter().filter(|layer| is_wasm(&layer.media_type))
    }
}

/// The configuration of a WebAssembly artifact with one layer. The same module has the same configuration everywhere.
pub fn wasm_config(wasm: &Digest, os: WasmOs) -> Vec<u8> {
    let os = match os {
        WasmOs::Wasip1 => "wasip1",
        WasmOs::Wasip2 => "wasip2",
    };
    serde_json::json!({ "architecture": "wasm", "os": os, "layerDigests": [wasm.to_string()] }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest::for_wasm(Digest::of(b"wasm"), 4, Digest::of(b"config"), 6)
    }

    #[test]
    fn a_manifest_survives_being_written_and_read() {
        let bytes = manifest().to_bytes();
        let read = Manifest::parse(&bytes).expect("a manifest");
        assert_eq!(read, manifest());
        assert_eq!(read.to_bytes(), bytes, "so that its digest is stable");
        assert_eq!(read.wasm().expect("one layer").digest, Digest::of(b"wasm"));
    }

    #[test]
    fn a_manifest_of_another_tool_is_read() {
        let text = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.wasm.config.v1+json","digest":"{0}","size":2,"data":"e30="}},
                "layers":[{{"mediaType":"application/vnd.wasm.content.layer.v1+wasm","digest":"{0}","size":4,
                "annotations":{{"org.opencontainers.image.title":"a.wasm"}}}}],"subject":null}}"#,
            Digest::of(b"wasm")
        );
        assert_eq!(Manifest::parse(text.as_bytes()).expect("a manifest").wasm().expect("a layer").size, 4);
    }

    #[test]
    fn other_documents_and_other_images_are_refused_with_what_they_are() {
        let index = br#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}"#;
        let error = Manifest::parse(index).expect_err("an index").to_string();
        assert!(error.contains("application/vnd.oci.image.index.v1+json"), "{error}");
        assert!(matches!(Manifest::parse(br#"{"schemaVersion":1}"#), Err(ManifestError::Kind(_))));
        assert!(matches!(Manifest::parse(b"{"), Err(ManifestError::Parse(_))));

        let mut linux = manifest();
        linux.layers[0].media_type = "application/vnd.oci.image.layer.v1.tar+gzip".into();
        assert!(matches!(linux.wasm(), Err(ManifestError::NotWasm(kinds)) if kinds.len() == 1));
        let mut two = manifest();
        two.layers.push(two.layers[0].clone());
        assert!(matches!(two.wasm(), Err(ManifestError::Several(2))));
        for (layer, title) in two.layers.iter_mut().zip(["main.wasm", "migrate.wasm"]) {
            layer.annotations.insert(TITLE.to_owned(), title.to_owned());
        }
        two.layers[1].digest = Digest::of(b"other");
        assert_eq!(two.wasm().expect("the first").digest, two.layers[0].digest);
        assert_eq!(two.titled("migrate").expect("the second").digest, Digest::of(b"other"));
        assert!(two.titled("none").is_none());
    }
}
