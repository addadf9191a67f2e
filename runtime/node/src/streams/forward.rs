//! A connection to a pod's port, as a client's body and the answer to it.

use tokio::io::AsyncWriteExt as _;
use wk_base::body::Body;

use crate::net::{Caller, dial};
use crate::traffic::Apps;

/// Connects to `port` of `pod`; None when nothing serves it.
pub(super) fn open(apps: &Apps, pod: &str, port: u16, input: Body) -> Option<Body> {
    let stream = apps.connect(pod, port, Caller::NODE).ok()?;
    let (output, mut writer) = tokio::io::split(stream);
    tokio::spawn(async move {
        // A client that goes away in the middle has sent all it will.
        let _ = tokio::io::copy(&mut dial::reader(input), &mut writer).await;
        let _ = writer.shutdown().await;
    });
    Some(dial::streamed(output))
}
