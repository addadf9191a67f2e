//! Writes of the cluster's own controllers: everybody is asked about them who is asked about a client's.
//!
//! Not here: rights, which controllers are not judged by, and turns, which they do not wait for.

use std::sync::Arc;

use http::{HeaderMap, Method, Uri};
use serde_json::Value;
use wk_api::strategy::DeleteOptions;
use wk_api::{Kind, Object, Status, kinds};
use wk_cluster::{Subresource, kind_in, stored_kinds_in};

use crate::access::User;
use crate::admission;
use crate::audit::Notes;
use crate::flight::Held;
use crate::query::Query;
use crate::route::Target;
use crate::server::ApiServer;
use crate::verbs::Call;

impl ApiServer {
    /// Creates an object for `user`, a part of the cluster.
    pub async fn create_for(
        &self,
        user: &User,
        kind: &Kind,
        namespace: Option<&str>,
        body: Value,
    ) -> Result<Arc<Object>, Status> {
        let call = self.call_for(user, Method::POST, kind, namespace, "", None)?;
        admission::create(self, &call, &self.cluster, body).await.map(|(object, _)| object)
    }

    /// Changes an object for `user`, as `change` says.
    pub async fn modify_for(
        &self,
        user: &User,
        kind: &Kind,
        (namespace, name): (Option<&str>, &str),
        subresource: Subresource,
        change: impl FnMut(&Object) -> Result<Value, Status>,
    ) -> Result<Arc<Object>, Status> {
        let below = match subresource {
            Subresource::None => None,
            Subresource::Status => Some("status"),
            Subresource::Scale => Some("scale"),
            Subresource::Part(part) => Some(part),
        };
        let call = self.call_for(user, Method::PATCH, kind, namespace, name, below)?;
        admission::modify(self, &call, &self.cluster, subresource, change).await.map(|(object, _)| object)
    }

    /// Deletes an object for `user`.
    pub async fn delete_for(
        &self,
        user: &User,
        kind: &Kind,
        (namespace, name): (Option<&str>, &str),
        options: &DeleteOptions,
    ) -> Result<(), Status> {
        let call = self.call_for(user, Method::DELETE, kind, namespace, name, None)?;
        admission::delete(self, &call, &self.cluster, name, options).await.map(|_| ())
    }

    /// Puts a pod on a node for `user`.
    pub async fn bind_for(&self, user: &User, namespace: &str, name: &str, binding: Value) -> Result<(), Status> {
        let call = self.call_for(user, Method::POST, &kinds::POD, Some(namespace), name, Some("binding"))?;
        let (binding, _) = admission::create_below(self, &call, binding, false).await?;
        self.cluster.bind(namespace, name, &binding).await.map(|_| ())
    }

    fn call_for(
        &self,
        user: &User,
        method: Method,
        kind: &Kind,
        namespace: Option<&str>,
        name: &str,
        subresource: Option<&str>,
    ) -> Result<Call, Status> {
        let view = self.cluster.store().view();
        // One that is defined and not served is still collected.
        let known = kind_in(&view, kind.group, kind.version, kind.plural)
            .or_else(|| stored_kinds_in(&view).into_iter().find(|own| own.collection() == kind.collection()));
        let target = Target {
            kind: known.ok_or_else(Status::no_such_resource)?,
            namespace: namespace.map(str::to_owned),
            name: Some(name.to_owned()).filter(|name| !name.is_empty()),
            subresource: subresource.map(str::to_owned),
            below: String::new(),
        };
        let (headers, query, uri) = (HeaderMap::new(), Query::default(), Uri::default());
        let requested = target.kind;
        let (user, held, notes) = (user.clone(), Held::default(), Notes::default());
        Ok(Call { target, method, headers, query, uri, upgrade: None, user, requested, held, notes })
    }
}
