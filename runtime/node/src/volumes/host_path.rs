//! hostPath: a directory of this machine, where the node's owner allows it (`wk up --allow-host-path`).
//!
//! It is opened below the allowed prefix and resolved within it each time, so that no link leads out of what was allowed.

use std::io;
use std::path::{Path, PathBuf};

use cap_std::ambient_authority;
use cap_std::fs::Dir;

use crate::spec::HostPathType;

/// The directory: an allowed prefix and the path below it.
pub(super) fn make(path: &Path, kind: HostPathType, allowed: &[PathBuf]) -> Result<(PathBuf, PathBuf), String> {
    let Some((root, below)) = allowed.iter().find_map(|root| Some((root, path.strip_prefix(root).ok()?))) else {
        let why = if allowed.is_empty() {
            "this node allows no hostPath: its owner can start it with --allow-host-path".to_owned()
        } else {
            let allowed: Vec<_> = allowed.iter().map(|root| root.display().to_string()).collect();
            format!("this node allows hostPath only below {}", allowed.join(", "))
        };
        return Err(format!("hostPath {}: {why}", path.display()));
    };
    let open = || {
        let dir = Dir::open_ambient_dir(root, ambient_authority())?;
        if below.as_os_str().is_empty() {
            return Ok(());
        }
        match dir.metadata(below) {
            Ok(metadata) if metadata.is_dir() => Ok(()),
            Ok(_) => Err(io::Error::other("hostPath type check failed: it is not a directory")),
            Err(error) if error.kind() == io::ErrorKind::NotFound && kind == HostPathType::DirectoryOrCreate => {
                dir.create_dir_all(below)
            }
            Err(error) => Err(error),
        }
    };
    open().map_err(|error| format!("hostPath {}: {error}", path.display()))?;
    Ok((root.clone(), below.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_below_an_allowed_prefix_is_had_and_no_link_leads_out() {
        let top = tempfile::tempdir().unwrap();
        let allowed = [top.path().join("allowed")];
        std::fs::create_dir(&allowed[0]).unwrap();
        std::fs::create_dir(top.path().join("other")).unwrap();
        std::os::unix::fs::symlink(top.path().join("other"), allowed[0].join("link")).unwrap();
        let make = |path: &str, kind| make(&top.path().join(path), kind, &allowed);
        assert!(make("allowed/new", HostPathType::Any).is_err());
        let made = make("allowed/new", HostPathType::DirectoryOrCreate).unwrap();
        assert_eq!(made, (allowed[0].clone(), "new".into()));
        assert!(make("allowed", HostPathType::Directory).is_ok());
        assert!(make("allowed/link", HostPathType::Directory).is_err());
        assert!(make("other", HostPathType::Directory).unwrap_err().contains("only below"));
        assert!(super::make(Path::new("/"), HostPathType::Any, &[]).unwrap_err().contains("--allow-host-path"));
    }
}
