//! GET of what is made when it is read.

use wk_api::Status;

use crate::respond::Reply;
use crate::server::ApiServer;
use crate::verbs::Call;

/// One object or a list, as they are now.
#[expect(clippy::unused_async, reason = "answers will be looked up")]
pub(super) async fn read(_server: &ApiServer, _call: &Call) -> Result<Reply, Status> {
    Err(Status::no_such_resource())
}
