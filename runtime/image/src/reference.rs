//! Image references: `host/name[:tag][@digest]`, read the way container tools read them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::digest::{Digest, DigestError};

/// The host of images kept by the cluster itself.
pub const LOCAL_HOST: &str = "wk.local";
/// The host of a reference that names none, for compatibility with manifests written for Docker.
const DEFAULT_HOST: &str = "docker.io";
/// What a name of one component is put under there.
const DEFAULT_REPOSITORY: &str = "library";

/// Longest name, of the OCI distribution specification's advice for host and name together.
const NAME_MAX: usize = 255;
/// Longest tag (OCI distribution specification).
const TAG_MAX: usize = 128;

/// A parsed image reference.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    host: String,
    name: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Why a text is no image reference.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReferenceError {
    /// Nothing there.
    #[error("the image is empty")]
    Empty,
    /// The host is malformed.
    #[error("image registry host {0:?} is not a host name with an optional port")]
    Host(String),
    /// The name is malformed.
    #[error("image name {0:?} must be lower-case letters and digits, separated by '.', '_', '-' or '/'")]
    Name(String),
    /// The name is too long.
    #[error("image name has {0} characters, more than {NAME_MAX}")]
    TooLong(usize),
    /// The tag is malformed.
    #[error("image tag {0:?} must be 1 to {TAG_MAX} letters, digits, '_', '.' or '-', not starting with '.' or '-'")]
    Tag(String),
    /// The digest is malformed.
    #[error("image digest")]
    Digest(#[from] DigestError),
}

impl Reference {
    /// The image in the cluster's own store whose manifest has this digest.
    pub fn local(name: &str, digest: Digest) -> Result<Self, ReferenceError> {
        check_name(name)?;
        Ok(Self { host: LOCAL_HOST.to_owned(), name: name.to_owned(), tag: None, digest: Some(digest) })
    }

    /// The registry's host, with its port if one was given.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The name within the registry.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The tag, if one was given.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest of the manifest, if one was given.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// True for an image in the cluster's own store.
    pub fn is_local(&self) -> bool {
        self.host == LOCAL_HOST
    }
}

impl FromStr for Reference {
    type Err = ReferenceError;

    fn from_str(text: &str) -> Result<Self, ReferenceError> {
        if text.is_empty() {
            return Err(ReferenceError::Empty);
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash belongs to a port.
        let name_start = rest.rfind('/').map_or(0, |slash| slash + 1);
        let (path, tag) = match rest[name_start..].find(':') {
            Some(colon) => (&rest[..name_start + colon], Some(&rest[name_start + colon + 1..])),
            None => (rest, None),
        };
        if let Some(tag) = tag {
            check_tag(tag)?;
        }
        let (host, name) = split_host(path)?;
        check_name(&name)?;
        Ok(Self { host, name, tag: tag.map(str::to_owned), digest })
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

impl TryFrom<String> for Reference {
    type Error = ReferenceError;

    fn try_from(text: String) -> Result<Self, ReferenceError> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

/// The first component is a host if it could not be part of a name: it has a dot or a port, or is `localhost`.
fn split_host(path: &str) -> Result<(String, String), ReferenceError> {
    match path.split_once('/') {
        Some((host, name)) if host.contains(['.', ':']) || host == "localhost" => {
            check_host(host)?;
            let host = if host == "index.docker.io" { DEFAULT_HOST } else { host };
            let bare = host == DEFAULT_HOST && !name.contains('/');
            let name = if bare { format!("{DEFAULT_REPOSITORY}/{name}") } else { name.to_owned() };
            Ok((host.to_owned(), name))
        }
        Some(_) => Ok((DEFAULT_HOST.to_owned(), path.to_owned())),
        None => {
            check_name(path)?;
            Ok((DEFAULT_HOST.to_owned(), format!("{DEFAULT_REPOSITORY}/{path}")))
        }
    }
}

fn check_host(host: &str) -> Result<(), ReferenceError> {
    let (name, port) = match host.rsplit_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (host, None),
    };
    let label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let port_fits = port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port != 0));
    if name.split('.').all(label) && port_fits {
        return Ok(());
    }
    Err(ReferenceError::Host(host.chars().take(NAME_MAX).collect()))
}

fn check_name(name: &str) -> Result<(), ReferenceError> {
    if name.len() > NAME_MAX {
        return Err(ReferenceError::TooLong(name.len()));
    }
    if name.split('/').all(is_component) {
        return Ok(());
    }
    Err(ReferenceError::Name(name.to_owned()))
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (OCI distribution specification).
fn is_component(component: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    let separators_fit = component
        .split(|c: char| c.is_ascii() && plain(c as u8))
        .all(|between| matches!(between, "" | "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'));
    plain(*first) && plain(*last) && separators_fit
}

fn check_tag(tag: &str) -> Result<(), ReferenceError> {
    let fits = (1..=TAG_MAX).contains(&tag.len())
        && tag.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
        && !tag.starts_with(['.', '-']);
    if fits { Ok(()) } else { Err(ReferenceError::Tag(tag.chars().take(TAG_MAX).collect())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn references_are_read_as_container_tools_read_them() {
        let table = [
            ("nginx", "docker.io/library/nginx"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("docker.io/nginx", "docker.io/library/nginx"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx"),
            ("bitnami/redis:7", "docker.io/bitnami/redis:7"),
            ("localhost/app", "localhost/app"),
            ("localhost:5000/app", "localhost:5000/app"),
            ("10.0.0.1:5000/a/b/c:v1", "10.0.0.1:5000/a/b/c:v1"),
            ("ghcr.io/owner/my-app_x__y.z:Tag.1-2", "ghcr.io/owner/my-app_x__y.z:Tag.1-2"),
            ("wk.local/web--1", "wk.local/web--1"),
        ];
        for (text, canonical) in table {
            let parsed = text.parse::<Reference>().expect(text);
            assert_eq!(parsed.to_string(), canonical, "{text}");
            assert_eq!(canonical.parse::<Reference>().expect(canonical), parsed);
        }
    }

    #[test]
    fn a_reference_with_tag_and_digest_keeps_both() {
        let parsed = format!("wk.local/hello:v1@sha256:{HEX}").parse::<Reference>().expect("a reference");
        assert!(parsed.is_local());
        assert_eq!((parsed.host(), parsed.name(), parsed.tag()), ("wk.local", "hello", Some("v1")));
        assert_eq!(parsed.digest().map(Digest::hex).as_deref(), Some(HEX));
    }

    #[test]
    fn malformed_references_are_refused_by_part() {
        let long = "a".repeat(256);
        let long_tag = format!("a:{}", "t".repeat(129));
        for text in ["", "/", "a/", "/a", "a//b", "A", "a b", "a/../b", ".a", "a-", "a._b", "a___b", &long, "é"] {
            assert!(text.parse::<Reference>().is_err(), "{text:?}");
        }
        assert!(matches!("-x.io/a".parse::<Reference>(), Err(ReferenceError::Host(_))));
        assert!(matches!("x.io:0/a".parse::<Reference>(), Err(ReferenceError::Host(_))));
        assert!(matches!("x.io:port/a".parse::<Reference>(), Err(ReferenceError::Host(_))));
        for text in ["a:", "a:.b", "a:b:c", &long_tag] {
            assert!(matches!(text.parse::<Reference>(), Err(ReferenceError::Tag(_))), "{text:?}");
        }
        assert!(matches!("a@sha256:12".parse::<Reference>(), Err(ReferenceError::Digest(DigestError::Hex))));
        assert!(matches!(format!("a@b@sha256:{HEX}").parse::<Reference>(), Err(ReferenceError::Digest(_))));
    }
}
