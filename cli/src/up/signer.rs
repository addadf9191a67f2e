//! The signer `kubernetes.io/kube-apiserver-client`: the leader signs requests that were approved, with the cluster's
//! authority, or says why it does not.
//!
//! Not here: approving, which people do (`kubectl certificate approve`), and other signers' requests.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use wk_api::{Object, Status, kinds};
use wk_base::error::Chain;
use wk_base::tasks::Tasks;
use wk_cluster::{Cluster, Subresource};
use wk_mesh::Authority;
use wk_store::Revision;

/// Who signs.
const SIGNER: &str = "kubernetes.io/kube-apiserver-client";
/// What a certificate of that signer may be for.
const USAGES: [&str; 3] = ["client auth", "digital signature", "key encipherment"];
/// Between two looks when no request changes: another peer may lead, or an answer was not written.
const LOOK: Duration = Duration::from_millis(500);

/// Signs for as long as the tasks run, while this peer leads.
pub(crate) fn start(cluster: &Cluster, authority: &Authority, tasks: &Tasks) {
    let (cluster, authority) = (cluster.clone(), authority.clone());
    tasks.spawn_until_stop("certificate-signer", async move {
        loop {
            let seen = cluster.store().view().revision();
            let leads = cluster.store().status().borrow().is_leader();
            let all = if leads { cluster.local(&kinds::CERTIFICATESIGNINGREQUEST, None).items } else { Vec::new() };
            for request in all.iter().filter(|request| is_due(request)) {
                if let Err(status) = answer(&cluster, &authority, request).await {
                    tracing::debug!(name = request.name(), "a certificate request is not answered yet: {status}");
                }
            }
            let _quiet = tokio::time::timeout(LOOK, change(&cluster, seen)).await;
        }
    });
}

/// Ends when a request has changed since `seen`: scripts read the certificate right after they approved it.
async fn change(cluster: &Cluster, seen: Revision) {
    let requests = kinds::CERTIFICATESIGNINGREQUEST.collection();
    if let Ok(mut watch) = cluster.store().watch(requests, seen)
        && watch.next().await.is_ok()
    {
        return;
    }
    std::future::pending::<()>().await;
}

/// Whether a request is ours, approved, and not answered.
fn is_due(request: &Object) -> bool {
    let has = |kind: &str| {
        let conditions = request.items("/status/conditions").iter();
        conditions.into_iter().any(|condition| condition["type"] == kind && condition["status"] == "True")
    };
    request.text("/spec/signerName") == SIGNER
        && request.text("/status/certificate").is_empty()
        && has("Approved")
        && !has("Denied")
        && !has("Failed")
}

/// The certificate, or why there is none.
fn sign(authority: &Authority, request: &Object) -> Result<String, String> {
    let usages: Vec<&str> = request.items("/spec/usages").iter().filter_map(Value::as_str).collect();
    if !usages.contains(&USAGES[0]) || usages.iter().any(|usage| !USAGES.contains(usage)) {
        return Err(format!("usages must include \"client auth\" and be of {USAGES:?}, not {usages:?}"));
    }
    let pem = STANDARD.decode(request.text("/spec/request")).map_err(|error| error.to_string())?;
    let pem = String::from_utf8(pem).map_err(|error| error.to_string())?;
    let valid = request.int("/spec/expirationSeconds").and_then(|seconds| u64::try_from(seconds).ok());
    let signed = authority.issue_requested(&pem, valid.map(Duration::from_secs));
    signed.map(|cert| STANDARD.encode(cert.as_str())).map_err(|error| Chain(&error).to_string())
}

async fn answer(cluster: &Cluster, authority: &Authority, request: &Object) -> Result<(), Status> {
    let signed = sign(authority, request);
    let now = cluster.clock().now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let change = |current: &Object| {
        let mut new = current.0.clone();
        if !is_due(current) || current.uid() != request.uid() {
            return Ok(new);
        }
        match &signed {
            Ok(certificate) => new["status"]["certificate"] = certificate.as_str().into(),
            Err(why) => {
                let failed = json!({
                    "type": "Failed", "status": "True", "reason": "SignerValidationFailure", "message": why,
                    "lastUpdateTime": now, "lastTransitionTime": now,
                });
                if let Some(conditions) = new["status"]["conditions"].as_array_mut() {
                    conditions.push(failed);
                }
            }
        }
        Ok(new)
    };
    let kind = &kinds::CERTIFICATESIGNINGREQUEST;
    cluster.modify(kind, None, request.name(), Subresource::Status, change).await?;
    tracing::info!(name = request.name(), signed = signed.is_ok(), "a certificate request is answered");
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Instant;

    use bytes::Bytes;
    use wk_base::time::SystemClock;
    use wk_store::{MemberId, Options, Start, Store, Timing, Transport};

    use super::*;

    const ASKED: &str = include_str!("../../../runtime/mesh/tests/two_groups.csr");

    /// A cluster of one peer has nobody to send to.
    struct Nobody;

    impl Transport for Nobody {
        fn send(&self, _to: MemberId, _message: Bytes) {}
    }

    fn request(conditions: &[&str], usages: &[&str]) -> Object {
        let conditions: Vec<Value> = conditions.iter().map(|kind| json!({ "type": kind, "status": "True" })).collect();
        Object::new(json!({
            "metadata": { "name": "r", "uid": "u" },
            "spec": { "signerName": SIGNER, "usages": usages, "request": STANDARD.encode("nothing") },
            "status": { "conditions": conditions },
        }))
    }

    #[test]
    fn only_what_was_approved_and_not_answered_is_due() {
        assert!(is_due(&request(&["Approved"], &[])));
        for conditions in [&[][..], &["Denied"], &["Approved", "Failed"]] {
            assert!(!is_due(&request(conditions, &[])));
        }
        let mut issued = request(&["Approved"], &[]);
        issued.0["status"]["certificate"] = "x".into();
        assert!(!is_due(&issued));
        let mut other = request(&["Approved"], &[]);
        other.0["spec"]["signerName"] = "example.com/other".into();
        assert!(!is_due(&other));
    }

    #[test]
    fn what_is_not_for_a_client_or_no_request_is_not_signed() {
        let authority = Authority::create("test").expect("an authority");
        let why = |usages: &[&str]| sign(&authority, &request(&["Approved"], usages)).expect_err("refused");
        assert!(why(&["server auth", "client auth"]).starts_with("usages must include"));
        assert!(why(&["client auth"]).starts_with("read the certificate request"));
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn request_is_answered_as_soon_as_it_is_approved() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut options = Options::new(dir.path(), MemberId(1), Start::Bootstrap);
        options.timing = Timing { tick: Duration::from_millis(5), ..Timing::default() };
        options.index = Some(wk_cluster::INDEX);
        let store = Store::open(options, Arc::new(Nobody)).expect("an empty store");
        let cluster = Cluster::new(store, Arc::new(SystemClock));
        let tasks = Tasks::default();
        start(&cluster, &Authority::create("test").expect("an authority"), &tasks);
        let kind = &kinds::CERTIFICATESIGNINGREQUEST;
        let approval = Subresource::Part(kind.part("approval").expect("a part"));
        let mut fastest = Duration::MAX;
        for name in ["a", "b", "c", "d"] {
            let mut asked = request(&[], &["client auth"]).0;
            asked["metadata"] = json!({ "name": name });
            asked["spec"]["request"] = STANDARD.encode(ASKED).into();
            cluster.create(kind, None, asked).await.expect("made");
            let begun = Instant::now();
            let approve = |old: &Object| {
                let mut new = old.0.clone();
                new["status"]["conditions"] = json!([{ "type": "Approved", "status": "True", "reason": "Test" }]);
                Ok(new)
            };
            cluster.modify(kind, None, name, approval, approve).await.expect("approved");
            let answered = || {
                let now = cluster.local(kind, None).items;
                let own = now.iter().find(|it| it.name() == name).expect("it is there");
                own.items("/status/conditions").len() == 2 || !own.text("/status/certificate").is_empty()
            };
            while !answered() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // The first is answered at the first look.
            fastest = if name == "a" { fastest } else { fastest.min(begun.elapsed()) };
        }
        assert!(fastest < LOOK / 2, "{fastest:?}");
    }
}
