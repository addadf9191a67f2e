//! A client of the ingress: any host name at any address, HTTP/1.1 or HTTP/2, bodies as they come.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Empty, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// Above the ingress' own deadline for a request, which is 30 s unless the pod says otherwise.
const ANSWER_MAX: Duration = Duration::from_secs(45);
/// Connecting on loopback takes no time, and a dead address refuses at once.
const CONNECT_MAX: Duration = Duration::from_secs(5);

/// A body to send.
pub type Body = UnsyncBoxBody<Bytes, std::convert::Infallible>;

/// How to speak HTTP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without asking first.
    Http2,
}

/// A whole response.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub body: String,
}

impl Answer {
    /// The pod that hello-http says it is.
    pub fn pod(&self) -> Option<&str> {
        self.headers.get("wk-pod")?.to_str().ok()
    }
}

enum Sender {
    Http1(http1::SendRequest<Body>),
    Http2(http2::SendRequest<Body>),
}

/// One connection.
pub struct Connection {
    sender: Sender,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr, transport: Transport) -> anyhow::Result<Self> {
        let stream = tokio::time::timeout(CONNECT_MAX, TcpStream::connect(address)).await;
        let stream = stream.context("connecting took too long")?.with_context(|| format!("connect to {address}"))?;
        stream.set_nodelay(true)?;
        Self::over(stream, transport).await
    }

    /// Speaks over a stream that is there already.
    pub async fn over<S>(stream: S, transport: Transport) -> anyhow::Result<Self>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let io = TokioIo::new(stream);
        let sender = match transport {
            Transport::Http1 => {
                let (sender, connection) = http1::handshake(io).await?;
                tokio::spawn(connection);
                Sender::Http1(sender)
            }
            Transport::Http2 => {
                let (sender, connection) = http2::handshake(TokioExecutor::new(), io).await?;
                tokio::spawn(connection);
                Sender::Http2(sender)
            }
        };
        Ok(Self { sender })
    }

    /// Sends a request for `host` and returns the response once its head is there.
    pub async fn send(
        &mut self,
        method: &str,
        host: &str,
        path: &str,
        body: Body,
    ) -> anyhow::Result<Response<Incoming>> {
        let request = match &mut self.sender {
            Sender::Http1(_) => Request::builder().uri(path).header(header::HOST, host),
            Sender::Http2(_) => Request::builder().uri(format!("http://{host}{path}")),
        };
        let request = request.method(method).body(body)?;
        let response = async {
            match &mut self.sender {
                Sender::Http1(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
                Sender::Http2(sender) => {
                    sender.ready().await?;
                    sender.send_request(request).await
                }
            }
        };
        Ok(tokio::time::timeout(ANSWER_MAX, response).await.context("no answer")??)
    }

    /// Sends a request without a body and reads the whole response.
    pub async fn get(&mut self, host: &str, path: &str) -> anyhow::Result<Answer> {
        whole(self.send("GET", host, path, Empty::new().boxed_unsync()).await?).await
    }

    /// POSTs a body and reads the whole response.
    pub async fn post(&mut self, host: &str, path: &str, body: impl Into<Bytes>) -> anyhow::Result<Answer> {
        whole(self.send("POST", host, path, Full::new(body.into()).boxed_unsync()).await?).await
    }
}

/// Reads a response to its end.
async fn whole(response: Response<Incoming>) -> anyhow::Result<Answer> {
    let (head, body) = response.into_parts();
    let body = tokio::time::timeout(ANSWER_MAX, body.collect()).await.context("the body does not end")?;
    let body = body.context("the body broke off")?.to_bytes();
    Ok(Answer { status: head.status, headers: head.headers, body: String::from_utf8_lossy(&body).into_owned() })
}

/// GETs `path` of `host` from an ingress, on a connection of its own.
pub async fn get(address: SocketAddr, host: &str, path: &str) -> anyhow::Result<Answer> {
    Connection::open(address, Transport::Http1).await?.get(host, path).await
}
