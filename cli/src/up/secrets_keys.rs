//! Where the keys come from that seal Secrets at rest.
//!
//! Without an option it is one made of the key of the cluster's authority, which every node has anyway: whoever reads a
//! backup, or a copy of the log without `identity/`, reads no Secret. With `--secrets-key-file` or `--secrets-key-command`
//! the key is not on the disk that it protects. Which of them seals is the cluster's word ([`wk_cluster::Sealing`]).

use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use wk_base::tasks::Tasks;
use wk_cluster::{Cluster, KEY_BYTES, MissingKey, SecretsKey, Vault};
use wk_mesh::join::Vote;
use wk_mesh::{Authority, NodeName};

use super::members;
use crate::exit::{Code, ExitError};

/// A key service that takes longer is not answering; a node does not start without its keys.
const COMMAND_DEADLINE: Duration = Duration::from_secs(30);

/// Bytes of keys read: some hundred keys, far more than a rotation leaves behind.
const KEYS_BYTES_MAX: u64 = 16 << 10;

/// Where the keys are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum KeySource {
    /// A file with a key a line.
    File(PathBuf),
    /// A command that prints such lines, run by `sh -c`.
    Command(String),
}

impl KeySource {
    /// The keys, the one to seal with first.
    pub(crate) async fn read(&self) -> anyhow::Result<Vec<SecretsKey>> {
        match self {
            Self::File(path) => parse(&text_of(path)?).with_context(|| format!("keys in {}", path.display())),
            Self::Command(command) => {
                // Not the command itself: it may hold a password.
                let what = || "run --secrets-key-command".to_owned();
                let mut run = tokio::process::Command::new("sh");
                run.arg("-c").arg(command).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
                let output = tokio::time::timeout(COMMAND_DEADLINE, run.output()).await;
                let output =
                    output.with_context(|| format!("no answer within {COMMAND_DEADLINE:?}")).with_context(what)?;
                let output = output.with_context(what)?;
                anyhow::ensure!(output.status.success(), "{}: it ended with {}", what(), output.status);
                let text = String::from_utf8(output.stdout).context("it printed something else than text");
                text.and_then(|text| parse(&text)).with_context(what)
            }
        }
    }
}

/// The keys of a cluster: those given, and the one made of its authority's key, by which it opens what it sealed before.
pub(crate) async fn vault(given: Option<&KeySource>, authority: &Authority) -> anyhow::Result<Vault> {
    let own = of_authority(authority);
    Ok(match given {
        None => Vault::new(&own, &[]),
        Some(source) => {
            let mut keys = source.read().await?;
            keys.push(own);
            Vault::new(&keys[0], &keys[1..])
        }
    })
}

/// The key that a cluster seals with unless it is given others.
pub(crate) fn of_authority(authority: &Authority) -> SecretsKey {
    let (_, key) = authority.to_pem();
    SecretsKey::derived(key.as_str().trim().as_bytes())
}

/// The keys in a file for `wk restore`: lines of keys, or the `identity/ca.key` of a node of the old cluster.
pub(crate) fn of_file(path: &Path) -> anyhow::Result<Vec<SecretsKey>> {
    let text = text_of(path)?;
    if text.trim_start().starts_with("-----BEGIN") {
        return Ok(vec![SecretsKey::derived(text.trim().as_bytes())]);
    }
    parse(&text).with_context(|| format!("keys in {}", path.display()))
}

fn text_of(path: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    let read = File::open(path).and_then(|file| file.take(KEYS_BYTES_MAX).read_to_string(&mut text));
    read.with_context(|| format!("read {}", path.display()))?;
    Ok(text)
}

/// A key a line, 32 bytes in base64; empty lines and those that begin with `#` are not looked at. No error shows a line.
fn parse(text: &str) -> anyhow::Result<Vec<SecretsKey>> {
    let lines = text.lines().map(str::trim).enumerate().filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let keys: Vec<_> = lines
        .map(|(number, line)| {
            let bytes = STANDARD.decode(line).ok().and_then(|bytes| <[u8; KEY_BYTES]>::try_from(bytes).ok());
            bytes.map(SecretsKey::new).ok_or_else(|| {
                let message = format!(
                    "line {} is not a key: {KEY_BYTES} bytes in base64, as `head -c {KEY_BYTES} /dev/urandom | base64` makes",
                    number + 1
                );
                ExitError::new(Code::General, message).into()
            })
        })
        .collect::<anyhow::Result<_>>()?;
    anyhow::ensure!(!keys.is_empty(), "there is no key");
    Ok(keys)
}

/// The ids of the keys that a newcomer was given: it has none of the cluster's authority yet.
pub(crate) async fn given(source: Option<&KeySource>) -> anyhow::Result<Vec<String>> {
    let Some(source) = source else { return Ok(Vec::new()) };
    Ok(source.read().await?.iter().map(SecretsKey::id).collect())
}

/// Refuses a node to which a key is missing that Secrets of the cluster are sealed with: it could not read them, and who
/// read them here would take them for empty.
pub(crate) fn require(cluster: &Cluster, source: Option<&KeySource>) -> anyhow::Result<()> {
    let given = match source {
        Some(KeySource::File(path)) => format!("--secrets-key-file {}", path.display()),
        // The command may hold a password.
        Some(KeySource::Command(_)) => "--secrets-key-command".to_owned(),
        None => "the cluster's authority: no --secrets-key-file or --secrets-key-command was given".to_owned(),
    };
    let has = format!("the key {} of {given}", cluster.first_key().unwrap_or_default());
    let missing = cluster.keys_missing(&cluster.store().view());
    refusal(&missing, &has).map_or(Ok(()), |message| Err(ExitError::new(Code::Usage, message).into()))
}

/// As [`require`], of a newcomer with these keys that has not been let in: why it cannot be.
pub(crate) fn refuse(cluster: &Cluster, authority: &Authority, keys: &[String]) -> Option<String> {
    let own = of_authority(authority).id();
    let missing = cluster.keys_beside(&cluster.store().view(), |id| id == own || keys.iter().any(|key| key == id));
    let has = match keys.first() {
        Some(first) => format!("the key {first}"),
        None => "no key: no --secrets-key-file or --secrets-key-command was given".to_owned(),
    };
    refusal(&missing, &has)
}

fn refusal(missing: &[MissingKey], has: &str) -> Option<String> {
    let first = missing.first()?;
    let told = missing.iter().map(|key| {
        let new = if key.seals { " and all new ones" } else { "" };
        format!("{} ({} Secrets{new})", key.id, key.secrets)
    });
    Some(format!(
        "this node has not all keys that the cluster's Secrets are sealed with. Missing: {}. It has {has}. \
         Start it with the missing key in that file too, below the new one; `wk cluster status` at another node says when \
         an old key may go. Only if key {} is lost for good: --secrets-key-lost starts without it, and what it sealed can \
         be deleted but not read",
        told.collect::<Vec<_>>().join(", "),
        first.id,
    ))
}

/// How often keys are looked after when nothing tells of a change: a node that was removed, another leader, Secrets in
/// plain form after an upgrade.
const LOOK: Duration = Duration::from_mins(1);
/// Between two tries to tell, and two looks while something is left to do.
const PAUSE: Duration = Duration::from_secs(2);

/// Tells the cluster which keys this node has, and while it leads moves the cluster to the key that all have first and
/// seals anew what others sealed.
pub(crate) fn keep(cluster: &Cluster, name: &NodeName, lost: bool, tasks: &Tasks) {
    let (cluster, name) = (cluster.clone(), name.to_string());
    tasks.spawn_until_stop("secrets-keys", async move {
        while let Err(error) = cluster.tell_keys(&name).await {
            tracing::debug!("the keys for Secrets are not told yet: {error}");
            tokio::time::sleep(PAUSE).await;
        }
        loop {
            let seen = cluster.store().view().revision();
            let leads = cluster.store().status().borrow().is_leader();
            if leads {
                look(&cluster, lost).await;
            }
            if let Ok(mut watch) = cluster.store().watch(wk_cluster::SECRETS_KEYS, seen)
                && matches!(tokio::time::timeout(LOOK, watch.next()).await, Ok(Ok(_)) | Err(_))
            {
                continue;
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
}

async fn look(cluster: &Cluster, lost: bool) {
    match cluster.turn_secrets_key(&readers(cluster), lost).await {
        Ok(None) => {}
        Ok(Some(key)) => tracing::info!(key, "another key seals Secrets from now on"),
        Err(error) => tracing::warn!("the key that seals Secrets is not changed: {error}"),
    }
    match cluster.reseal().await {
        Ok(0) => {}
        Ok(number) => tracing::info!(number, "Secrets sealed anew"),
        Err(error) => tracing::warn!("Secrets are not all sealed with the cluster's key: {error}"),
    }
}

/// The members that read Secrets: all but witnesses.
pub(crate) fn readers(cluster: &Cluster) -> Vec<String> {
    let view = cluster.store().view();
    let members = members::records(&view).filter(|(_, record)| record.vote != Vote::Witness);
    members.map(|(member, _)| member.name.to_string()).collect()
}

/// What `wk cluster status` tells of it.
pub(crate) fn told(cluster: &Cluster) -> Value {
    let sealing = cluster.sealing(&readers(cluster));
    json!({
        "seals": sealing.seals, "secrets": sealing.secrets, "plain": sealing.plain, "left": sealing.left(),
        "needs": sealing.needs().collect::<Vec<_>>(), "wants": sealing.wants, "waitsFor": sealing.waits_for,
    })
}

/// Adds how many Secrets each key has sealed to the metrics of this node.
pub(crate) fn register(registry: &mut Registry, cluster: Cluster) {
    registry.register_collector(Box::new(Sealed(cluster)));
}

/// Counted when it is asked for.
struct Sealed(Cluster);

impl fmt::Debug for Sealed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealed")
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ByKey {
    key: String,
}

impl Collector for Sealed {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let sealing = self.0.sealing(&[]);
        let help = "Secrets by the key that they are sealed with, none for those in plain form";
        let of_keys = sealing.secrets.iter().map(|(id, number)| (id.clone(), *number));
        let mut metric = encoder.encode_descriptor("wk_secrets_sealed", help, None, MetricType::Gauge)?;
        for (key, number) in of_keys.chain([("none".to_owned(), sealing.plain)]) {
            let gauge = ConstGauge::new(i64::try_from(number).unwrap_or(i64::MAX));
            gauge.encode(metric.encode_family(&ByKey { key })?)?;
        }
        let help = "Secrets that are to be sealed anew: at 0 only the key that seals has to stay";
        let left = ConstGauge::new(i64::try_from(sealing.left()).unwrap_or(i64::MAX));
        left.encode(encoder.encode_descriptor("wk_secrets_to_seal_anew", help, None, MetricType::Gauge)?)
    }
}

#[cfg(test)]
mod tests {
    use wk_mesh::{CertPem, KeyPem};

    use super::*;

    #[tokio::test]
    async fn keys_come_from_a_file_or_a_command_and_bad_ones_are_named_by_line_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("keys");
        let (one, two) = (STANDARD.encode([1; KEY_BYTES]), STANDARD.encode([2; KEY_BYTES]));
        std::fs::write(&path, format!("# of 2026\n{one}\n\n{two}\n")).unwrap();
        let expected = [SecretsKey::new([1; KEY_BYTES]), SecretsKey::new([2; KEY_BYTES])];
        assert_eq!(KeySource::File(path.clone()).read().await.unwrap(), expected);
        let command = KeySource::Command(format!("cat {}", path.display()));
        assert_eq!(command.read().await.unwrap(), expected);
        std::fs::write(&path, format!("{one}\nhunter2\n")).unwrap();
        let error = format!("{:#}", KeySource::File(path.clone()).read().await.unwrap_err());
        assert!(error.contains("line 2 is not a key") && !error.contains("hunter2"), "{error}");
        std::fs::write(&path, "# nothing\n").unwrap();
        assert!(KeySource::File(path).read().await.is_err());
        assert!(KeySource::Command("exit 3".to_owned()).read().await.is_err());
    }

    #[test]
    fn every_member_and_who_restores_make_the_same_key_of_the_authority() {
        let authority = Authority::create("c").unwrap();
        let (cert, key) = authority.to_pem();
        let again = Authority::from_pem(&CertPem::new(cert.as_str().to_owned()), &KeyPem::new(key.as_str().to_owned()));
        assert_eq!(of_authority(&authority), of_authority(&again.unwrap()));
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.key");
        std::fs::write(&path, key.as_str()).unwrap();
        assert_eq!(of_file(&path).unwrap(), [of_authority(&authority)]);
        assert_ne!(of_authority(&authority), of_authority(&Authority::create("c").unwrap()));
    }
}
