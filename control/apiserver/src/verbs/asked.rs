//! POST of a question: answered from what is known now, never stored.

use wk_api::Status;
use wk_base::body::Body;

use crate::access::User;
use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::Call;

/// Answers the question in the body.
#[expect(clippy::unused_async, reason = "answers will be looked up")]
pub(super) async fn create(_server: &ApiServer, _user: &User, _call: &Call, _body: Body) -> Result<Reply, Status> {
    Err(Status::no_such_resource())
}
