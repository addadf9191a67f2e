//! POST of a question: answered from what is known now, never stored.

use wk_api::{Status, kinds};
use wk_base::body::Body;

use crate::access::{User, reviews};
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::{Call, binding};

/// Answers the question in the body.
pub(super) async fn create(server: &ApiServer, user: &User, call: &Call, body: Body) -> Result<Reply, Status> {
    match call.kind() {
        kind if *kind == kinds::BINDING => binding::create(server, user, call, body).await,
        kind if ["authentication.k8s.io", "authorization.k8s.io"].contains(&kind.group) => {
            reviews::answer(server, user, call, body).await
        }
        _ => Err(Status::no_such_resource()),
    }
}
