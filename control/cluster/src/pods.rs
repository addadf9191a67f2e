//! What is done to pods besides Kubernetes' verbs: binding them to nodes, and evicting them.

use std::sync::Arc;

use serde_json::Value;
use wk_api::strategy::{self, DeleteOptions};
use wk_api::{Object, Status, kinds};
use wk_store::{Expect, Op, Stored, View};

use crate::settle::{Decision, Outcome};
use crate::{Cluster, key, object, read, write};

impl Cluster {
    /// Puts a pod on the node that `binding` names. Its `metadata` may name a uid and a resourceVersion that must hold.
    pub async fn bind(&self, namespace: &str, name: &str, binding: &Value) -> Result<Arc<Object>, Status> {
        let decide = |view: &View| {
            let stored = pod(view, namespace, name)?;
            let bound = strategy::bind(&object(&stored), binding, self.clock().now())?;
            let change = write::put(&bound);
            let op = Op { key: stored.key().clone(), expect: Expect::Revision(stored.revision()), change };
            Ok(Decision { ops: vec![op], answer: Arc::new(bound), outcome: Outcome::Kept, warnings: Vec::new() })
        };
        let lost = || Status::modified(&kinds::POD, name);
        self.settle(decide, lost).await.map(|(bound, _)| bound)
    }

    /// Deletes a pod if the disruption budget that covers it allows that, which takes one from it in the same
    /// transaction. 429 when it does not.
    pub async fn evict(&self, namespace: &str, name: &str, options: &DeleteOptions) -> Result<(), Status> {
        let decide = |view: &View| {
            let stored = pod(view, namespace, name)?;
            let pod = object(&stored);
            let budgets: Vec<(Arc<Stored>, Arc<Object>)> = view
                .list(kinds::PODDISRUPTIONBUDGET.collection(), &read::prefix(Some(namespace)))
                .map(|stored| (Arc::clone(&stored), object(&stored)))
                .filter(|(_, budget)| strategy::covers(budget, &pod))
                .collect();
            let covering: Vec<&Object> = budgets.iter().map(|(_, budget)| budget.as_ref()).collect();
            let eviction = strategy::evict(&pod, &covering, self.clock().now())?;
            let mut decision = self.decide_delete(view, &kinds::POD, &stored, Arc::new(eviction.pod), options)?;
            if let (Some(budget), [(stored, _)]) = (eviction.budget, budgets.as_slice()) {
                let change = write::put(&budget);
                let expect = Expect::Revision(stored.revision());
                decision.ops.push(Op { key: stored.key().clone(), expect, change });
            }
            Ok(decision)
        };
        let cluster = if options.dry_run { self.dry_run() } else { self.clone() };
        let lost = || Status::too_many_requests("other evictions were faster each time; try again", 1);
        cluster.settle(decide, lost).await.map(|_| ())
    }
}

fn pod(view: &View, namespace: &str, name: &str) -> Result<Arc<Stored>, Status> {
    view.get(&key(&kinds::POD, Some(namespace), name)).ok_or_else(|| Status::not_found(&kinds::POD, name))
}
