//! Every limit of the ingress, each with its reason.

use std::time::Duration;

/// What the ingress allows. [`Limits::default`] is meant for use; tests shorten the times.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections open at once, over all listeners. One costs about 20 KiB while idle, so this is 80 MiB at worst;
    /// past it a connection is answered 503 and closed.
    pub connections: usize,
    /// Requests a single HTTP/2 connection may have open: what nginx and Go allow, enough for a browser or another
    /// proxy, few enough that one client cannot fill a node.
    pub streams_per_connection: u32,
    /// Bytes of a request's head. Twice the largest cookie jars seen in practice; beyond it 431.
    pub head_bytes: u32,
    /// Time for a TLS handshake, and then (or from the start of a plain connection) for the first complete request head.
    pub head_read: Duration,
    /// Time a kept-alive connection may have no request open; it is closed between one and two of these.
    pub connection_idle: Duration,
    /// Time from a request's head to the response's head, over all attempts; then 504.
    pub response_head: Duration,
    /// Time a body may stand still, in either direction, while the ingress waits for its next piece.
    pub body_idle: Duration,
    /// Time a connection with open requests may make no progress at all. Longer than `response_head` and `body_idle`
    /// together, so that only a client that does not read its response is left to meet it.
    pub connection_stalled: Duration,
    /// Bytes of a request body; then 413. Bodies are streamed, so this bounds how long one request holds a replica.
    pub request_body: u64,
    /// Bytes of a request body kept so that it can be sent again. Nearly all API calls fit; a larger upload is not
    /// retried once part of it was read.
    pub replay_body: usize,
    /// Failures in a row after which an endpoint is left alone for a while. One could be bad luck.
    pub failures_to_eject: u32,
    /// How long the first ejection lasts. Doubles with each failed probe up to `ejection_max`.
    pub ejection: Duration,
    /// The longest ejection: how late at worst a node that came back gets requests again.
    pub ejection_max: Duration,
    /// Retries that may happen at once after a calm time. It must cover what can be in flight on a node at the moment
    /// it is killed (the engine holds at most some 1,000 instances), or an idempotent request would fail with it.
    pub retry_burst: u32,
    /// Retries for every hundred requests, in the long run: a service that fails everywhere sees a fifth more load,
    /// not twice.
    pub retry_percent: u32,
    /// Retries a second that are allowed however few requests there are.
    pub retry_floor: u32,
    /// How long open requests may take to finish once the ingress was told to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 4096,
            streams_per_connection: 128,
            head_bytes: 64 * 1024,
            head_read: Duration::from_secs(10),
            connection_idle: Duration::from_mins(1),
            response_head: Duration::from_secs(30),
            body_idle: Duration::from_mins(1),
            connection_stalled: Duration::from_mins(2),
            request_body: 1 << 30,
            replay_body: 64 * 1024,
            failures_to_eject: 2,
            ejection: Duration::from_secs(1),
            ejection_max: Duration::from_secs(10),
            retry_burst: 1024,
            retry_percent: 20,
            retry_floor: 10,
            drain: Duration::from_secs(20),
        }
    }
}
