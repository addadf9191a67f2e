//! Which cluster is meant: finding the kubeconfig and reading it.
//!
//! `--kubeconfig`, then `$KUBECONFIG`, then `$WK_HOME/admin.kubeconfig`, then `~/.wk/admin.kubeconfig`.
//! `~/.kube/config` is deliberately not looked at: a command typed for wk must not land in another cluster.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::Kubeconfig;
use serde_json::Value;

use crate::args::GlobalArgs;
use crate::exit::{Code, ExitError};

/// What the environment says about where things are.
#[derive(Debug, Clone, Default)]
pub(crate) struct Surroundings {
    /// `$KUBECONFIG`: paths separated as in `$PATH`.
    pub(crate) kubeconfig: Option<String>,
    /// `$WK_HOME`.
    pub(crate) wk_home: Option<PathBuf>,
    /// `$HOME`.
    pub(crate) user_home: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process; empty variables count as not set.
    pub(crate) fn of_process() -> Self {
        let read = |name| std::env::var_os(name).filter(|value| !value.is_empty());
        Self {
            kubeconfig: read("KUBECONFIG").map(|value| value.to_string_lossy().into_owned()),
            wk_home: read("WK_HOME").map(PathBuf::from),
            user_home: read("HOME").map(PathBuf::from),
        }
    }

    /// `$WK_HOME`, else `~/.wk`.
    pub(crate) fn home(&self) -> Option<PathBuf> {
        self.wk_home.clone().or_else(|| self.user_home.as_ref().map(|home| home.join(".wk")))
    }
}

/// Where the kubeconfig is to be read from.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// One file, which must exist.
    File(PathBuf),
    /// Several files to be merged; those that do not exist are skipped.
    Merged(Vec<PathBuf>),
    /// The file a local `wk up` writes.
    Local(PathBuf),
}

/// Decides where the kubeconfig is; `None` if nothing says where to look.
pub(crate) fn locate(flag: Option<&Path>, surroundings: &Surroundings) -> Option<Source> {
    if let Some(file) = flag {
        return Some(Source::File(file.to_owned()));
    }
    if let Some(list) = &surroundings.kubeconfig {
        let paths: Vec<PathBuf> = std::env::split_paths(list).filter(|path| !path.as_os_str().is_empty()).collect();
        return Some(match paths.as_slice() {
            [one] => Source::File(one.clone()),
            _ => Source::Merged(paths),
        });
    }
    surroundings.home().map(|home| Source::Local(home.join("admin.kubeconfig")))
}

/// Finds and reads the kubeconfig in use.
pub(crate) fn load(global: &GlobalArgs) -> anyhow::Result<Kubeconfig> {
    let source = locate(global.kubeconfig.as_deref(), &Surroundings::of_process())
        .ok_or_else(|| no_cluster("neither $WK_HOME nor $HOME is set"))?;
    read(&source)
}

fn no_cluster(why: &str) -> ExitError {
    ExitError::new(
        Code::Unreachable,
        format!(
            "no cluster to talk to: {why}; start one with `wk up`, or name a kubeconfig with --kubeconfig or $KUBECONFIG"
        ),
    )
}

fn read(source: &Source) -> anyhow::Result<Kubeconfig> {
    match source {
        Source::File(path) | Source::Local(path) if !path.exists() => {
            Err(no_cluster(&format!("{} does not exist", path.display())).into())
        }
        Source::File(path) | Source::Local(path) => read_file(path),
        Source::Merged(paths) => {
            let mut merged: Option<Kubeconfig> = None;
            for path in paths.iter().filter(|path| path.exists()) {
                let next = read_file(path)?;
                merged = Some(match merged {
                    Some(first) => first.merge(next).with_context(|| format!("merge kubeconfig {}", path.display()))?,
                    None => next,
                });
            }
            merged.ok_or_else(|| no_cluster("none of the files in $KUBECONFIG exists").into())
        }
    }
}

fn read_file(path: &Path) -> anyhow::Result<Kubeconfig> {
    // kube's message contains the cause, so it is not chained again.
    Kubeconfig::read_from(path)
        .map_err(|error| ExitError::new(Code::Usage, format!("read kubeconfig {}: {error}", path.display())).into())
}

/// The kubeconfig as a value with every file it names embedded, so that it can be carried elsewhere.
pub(crate) fn flattened(kubeconfig: &Kubeconfig) -> anyhow::Result<Value> {
    const EMBEDDED: [(&str, &str, &str); 3] = [
        ("clusters", "cluster", "certificate-authority"),
        ("users", "user", "client-certificate"),
        ("users", "user", "client-key"),
    ];
    let mut value = serde_json::to_value(kubeconfig).context("encode kubeconfig")?;
    for (list, inner, field) in EMBEDDED {
        let entries = value.get_mut(list).and_then(Value::as_array_mut);
        for entry in entries.into_iter().flatten().filter_map(|entry| entry.get_mut(inner)?.as_object_mut()) {
            let Some(Value::String(path)) = entry.remove(field) else { continue };
            let data = std::fs::read(&path).with_context(|| format!("embed {field} {path}"))?;
            entry.entry(format!("{field}-data")).or_insert_with(|| STANDARD.encode(data).into());
        }
    }
    prune(&mut value);
    Ok(value)
}

/// Removes nulls, which a kubeconfig never needs.
fn prune(value: &mut Value) {
    match value {
        Value::Object(map) => {
            map.retain(|_, value| !value.is_null());
            map.values_mut().for_each(prune);
        }
        Value::Array(items) => items.iter_mut().for_each(prune),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surroundings() -> Surroundings {
        Surroundings {
            kubeconfig: Some("/k/one".into()),
            wk_home: Some("/wk".into()),
            user_home: Some("/home/ann".into()),
        }
    }

    #[test]
    fn flag_beats_kubeconfig_beats_wk_home_beats_home() {
        let mut around = surroundings();
        assert_eq!(locate(Some(Path::new("/f")), &around), Some(Source::File("/f".into())));
        assert_eq!(locate(None, &around), Some(Source::File("/k/one".into())));
        around.kubeconfig = Some("/k/one:/k/two".into());
        assert_eq!(locate(None, &around), Some(Source::Merged(vec!["/k/one".into(), "/k/two".into()])));
        around.kubeconfig = None;
        assert_eq!(locate(None, &around), Some(Source::Local("/wk/admin.kubeconfig".into())));
        around.wk_home = None;
        assert_eq!(locate(None, &around), Some(Source::Local("/home/ann/.wk/admin.kubeconfig".into())));
        around.user_home = None;
        assert_eq!(locate(None, &around), None);
    }

    #[test]
    fn missing_kubeconfig_says_how_to_get_a_cluster() {
        let error = read(&Source::Local("/nowhere/admin.kubeconfig".into())).expect_err("missing");
        assert_eq!(crate::exit::code_of(&error), Code::Unreachable);
        assert!(error.to_string().contains("/nowhere/admin.kubeconfig does not exist; start one with `wk up`"));
    }

    #[test]
    fn flattening_embeds_files_and_keeps_keys() {
        let dir = tempfile::tempdir().expect("dir");
        std::fs::write(dir.path().join("ca.pem"), "CERT").expect("write");
        let path = dir.path().join("config");
        let text = "apiVersion: v1\nkind: Config\ncurrent-context: wk\nclusters:\n- name: wk\n  cluster:\n    server: https://127.0.0.1:6443\n    certificate-authority: ca.pem\nusers:\n- name: a\n  user:\n    client-key-data: S0VZ\ncontexts: []\n";
        std::fs::write(&path, text).expect("write");
        let flat = flattened(&read(&Source::File(path)).expect("read")).expect("flatten");
        assert_eq!(flat["clusters"][0]["cluster"]["certificate-authority-data"], "Q0VSVA==");
        assert_eq!(flat["clusters"][0]["cluster"].get("certificate-authority"), None);
        assert_eq!(flat["users"][0]["user"]["client-key-data"], "S0VZ");
    }
}
