//! Files of the repository that tests use, and what lies in a directory.

use std::path::{Path, PathBuf};

/// The repository's top folder.
pub(crate) fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two folders below the top").to_owned()
}

/// The built module of an example: `examples/NAME/NAME.wasm`.
pub fn example(name: &str) -> PathBuf {
    root().join("examples").join(name).join(format!("{name}.wasm"))
}

/// A guest that misbehaves: `tests/guests/NAME.wasm`.
pub fn guest(name: &str) -> PathBuf {
    root().join("tests/guests").join(format!("{name}.wasm"))
}

/// Every file and directory below `dir`, by its path from there, sorted. Empty if there is no such directory.
pub fn inventory(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = vec![dir.to_owned()];
    while let Some(next) = open.pop() {
        let Ok(entries) = std::fs::read_dir(&next) else { continue };
        for entry in entries.flatten() {
            let path = entry.path();
            found.push(path.strip_prefix(dir).expect("lies below").display().to_string());
            if path.is_dir() {
                open.push(path);
            }
        }
    }
    found.sort();
    found
}
