//! The laws of the project: who may import whom, what the top folder holds, what the README's code map says.
//!
//! A law that fails names what broke it and what to do. Not here: formatting and lints (`.ci/run`), licences
//! (`.deny.toml`), and the digests of the committed guests (`src/guests.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Folder of each crate, and its floor. A crate imports from floors below its own: never up, never sideways.
const FLOORS: &[(&str, u8)] = &[
    ("control/base", 0),
    ("control/api", 1),
    ("control/access", 2),
    ("control/store", 2),
    ("control/plan", 2),
    ("control/streams", 2),
    ("runtime/engine", 2),
    ("runtime/image", 2),
    ("runtime/network", 2),
    ("runtime/ingress", 2),
    ("runtime/mesh", 2),
    ("control/cluster", 3),
    ("control/apiserver", 4),
    ("control/controllers", 4),
    ("runtime/node", 4),
    ("cli", 5),
    // The tests look at the built program from outside; nothing of the product needs them.
    ("tests/kit", 6),
    ("tests/e2e", 7),
    ("tests/xtask", 7),
];

/// Dependencies that only some crates may name. The first field is the start of the dependency's name.
const KEPT_TO: &[(&str, &[&str])] = &[
    ("wasmtime", &["runtime/engine"]),
    ("raft", &["control/store"]),
    ("protobuf", &["control/store"]),
    // The black-box tests and the bench speak TLS as a client that wk has never seen.
    ("rustls", &["runtime/mesh", "runtime/ingress", "tests/kit", "tests/e2e", "tests/xtask"]),
    ("tokio-rustls", &["runtime/mesh", "runtime/ingress", "tests/kit", "tests/e2e", "tests/xtask"]),
    ("anyhow", &["cli", "tests/kit", "tests/e2e", "tests/xtask"]),
];

/// What one sees in the top folder. `target` is cargo's.
const TOP: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE",
    "README.md",
    "cli",
    "control",
    "examples",
    "fuzz",
    "runtime",
    "tests",
    "wit",
];

/// Paths and names that belong to somebody's machine. In two pieces, so that this file does not hold them.
const FOREIGN: &[&[&str]] = &[&["/wor", "k/"], &["/tmp/", "lead"], &["/tmp/", "brief"], &["/ro", "ot/"]];

/// Files that people write. Compiled guests are among those that are looked at too: panics carry paths.
const LOOKED_AT: &[&str] = &["rs", "toml", "md", "yaml", "yml", "json", "wit", "wat", "sh", "lock", "wasm", "txt"];

#[test]
fn crates_import_strictly_from_lower_floors() {
    let floor_of = |folder: &str| FLOORS.iter().find(|(of, _)| *of == folder).map(|(_, floor)| *floor);
    let crates = crates();
    let folders: BTreeMap<&str, &str> = crates.iter().map(|this| (this.name.as_str(), this.folder.as_str())).collect();
    let mut broken = Vec::new();
    for this in &crates {
        let Some(floor) = floor_of(&this.folder) else {
            broken.push(format!("{} has no floor: give it one here and in the README's code map", this.folder));
            continue;
        };
        for import in &this.imports {
            let Some(lower) = folders.get(import.as_str()).and_then(|folder| floor_of(folder)) else { continue };
            if lower >= floor {
                broken.push(format!("{} (floor {floor}) imports {import} (floor {lower})", this.folder));
            }
        }
    }
    assert_none(&broken, "imports point strictly down the floors");
}

#[test]
fn floors_are_those_of_crates_that_exist() {
    let folders: BTreeSet<String> = crates().into_iter().map(|this| this.folder).collect();
    let floors: BTreeSet<String> = FLOORS.iter().map(|(folder, _)| (*folder).to_owned()).collect();
    assert_eq!(folders, floors);
}

#[test]
fn engines_and_protocols_are_named_by_one_crate_each() {
    let mut broken = Vec::new();
    for this in crates() {
        for (dependency, allowed) in KEPT_TO {
            let named = this.imports.iter().find(|import| import.starts_with(dependency));
            if let Some(named) = named.filter(|_| !allowed.contains(&this.folder.as_str())) {
                broken.push(format!("{} depends on {named}, which is kept to {}", this.folder, allowed.join(", ")));
            }
        }
    }
    assert_none(&broken, "some dependencies are kept to the crates that hide them");
}

#[test]
fn every_crate_takes_the_lints_of_the_workspace() {
    let without =
        |this: &Crate| !read(&root().join(&this.folder).join("Cargo.toml")).contains("[lints]\nworkspace = true");
    let broken: Vec<String> = crates().into_iter().filter(without).map(|this| this.folder).collect();
    assert_none(&broken, "a crate's Cargo.toml says `[lints]` and `workspace = true`");
}

#[test]
fn top_folder_holds_what_it_is_meant_to() {
    let entries = fs::read_dir(root()).expect("the top folder can be read");
    let names = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let seen: BTreeSet<String> = names.filter(|name| !name.starts_with('.') && name != "target").collect();
    let meant: BTreeSet<String> = TOP.iter().map(|name| (*name).to_owned()).collect();
    assert_eq!(seen, meant, "what is seen at the top is left, what belongs there is right");
}

#[test]
fn code_map_in_the_readme_names_each_crate_and_its_floor() {
    let readme = read(&root().join("README.md"));
    let (_, map) = readme.split_once("\n## Code map\n").expect("the README has a section `## Code map`");
    let map = map.split("\n## ").next().unwrap_or(map);
    let mut seen = BTreeSet::new();
    for line in map.lines().filter(|line| line.starts_with("| `")) {
        let mut cells = line.trim_matches('|').split('|').map(str::trim);
        let folder = cells.next().unwrap_or_default().trim_matches('`');
        seen.insert((folder.to_owned(), cells.next().unwrap_or_default().to_owned()));
    }
    let floor = |folder: &str, floor: u8| if folder.starts_with("tests/") { String::new() } else { floor.to_string() };
    let meant: BTreeSet<_> = FLOORS.iter().map(|(folder, at)| ((*folder).to_owned(), floor(folder, *at))).collect();
    assert_eq!(seen, meant, "the README's code map is left, the crates and their floors are right");
}

#[test]
fn engine_knows_the_version_of_wasmtime_it_is_built_with() {
    let source = read(&root().join("runtime/engine/src/lib.rs"));
    let said = source.lines().find_map(|line| line.strip_prefix("pub const VERSION: &str = \""));
    let said = said.expect("wk-engine has a constant VERSION").trim_end_matches("\";");
    let lock = read(&root().join("Cargo.lock"));
    let (_, package) = lock.split_once("name = \"wasmtime\"\nversion = \"").expect("wasmtime is in Cargo.lock");
    let locked = package.split('"').next().unwrap_or_default();
    // Compiled code on users' disks is named by it: a version that does not change would load code of another one.
    assert_eq!(said, locked, "VERSION in runtime/engine/src/lib.rs is left, Cargo.lock is right");
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    let foreign: Vec<String> = FOREIGN.iter().map(|pieces| pieces.concat()).collect();
    let mut broken = Vec::new();
    for path in files() {
        let content = fs::read(&path).expect("a file that is there can be read");
        let text = String::from_utf8_lossy(&content);
        for (number, line) in (1..).zip(text.lines()) {
            if let Some(found) = foreign.iter().find(|foreign| line.contains(foreign.as_str())) {
                broken.push(format!("{}:{number} has {found}", path.display()));
            }
        }
    }
    assert_none(&broken, "a path of one machine means nothing on another");
}

#[test]
fn no_test_is_switched_off() {
    let mark = ["#[", "ignore"].concat();
    let off = |path: &PathBuf| path.extension().is_some_and(|end| end == "rs") && read(path).contains(&mark);
    let broken: Vec<String> = files().into_iter().filter(off).map(|path| path.display().to_string()).collect();
    assert_none(&broken, "a test that nobody runs is worth nothing: repair it or delete it");
}

/// A crate of the workspace.
struct Crate {
    name: String,
    /// Below the top folder.
    folder: String,
    /// Names of what it depends on, also for its tests and its build.
    imports: Vec<String>,
}

/// The workspace as cargo sees it.
fn crates() -> Vec<Crate> {
    let output = Command::new(env!("CARGO"))
        .current_dir(root())
        .args(["metadata", "--no-deps", "--offline", "--format-version", "1"])
        .output()
        .expect("cargo, which runs this test, can be started");
    assert!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("cargo prints JSON");
    let text = |value: &serde_json::Value| value.as_str().expect("a string").to_owned();
    let packages = metadata["packages"].as_array().expect("a list of packages").iter();
    packages
        .map(|package| {
            let manifest = PathBuf::from(text(&package["manifest_path"]));
            let folder = manifest.parent().and_then(|folder| folder.strip_prefix(root()).ok());
            let dependencies = package["dependencies"].as_array().expect("a list of dependencies").iter();
            Crate {
                name: text(&package["name"]),
                folder: folder.expect("a crate of the workspace lies in it").to_string_lossy().into_owned(),
                imports: dependencies.map(|dependency| text(&dependency["name"])).collect(),
            }
        })
        .collect()
}

/// Every file of ours that is worth reading.
fn files() -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder that is there can be read") {
            let path = entry.expect("an entry").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            if path.is_dir() {
                if name != "target" && name != ".git" {
                    folders.push(path);
                }
            } else if folder.ends_with(".ci") || LOOKED_AT.iter().any(|end| name.ends_with(&format!(".{end}"))) {
                found.push(path);
            }
        }
    }
    found
}

fn assert_none(broken: &[String], law: &str) {
    assert!(broken.is_empty(), "{law}:\n  {}", broken.join("\n  "));
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("read {}: {error}", path.display()))
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().nth(2).expect("this crate lies two folders below the top").to_owned()
}
