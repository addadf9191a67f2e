//! A client of etcd: gRPC over one HTTP/2 connection, many requests under way. As little of it as there can be, so that
//! it is not the client that is measured.

use std::net::SocketAddr;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::SendRequest;
use http::{Request, header};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::AbortHandle;

use super::client::Deliveries;
use super::nodelay;
use super::protobuf::{Message, bytes_in, number_in};

/// Window of a stream and of the connection: never what etcd waits for.
const WINDOW_BYTES: u32 = 16 << 20;

/// A connection. Clones share it.
#[derive(Clone)]
pub(super) struct Client {
    sender: SendRequest<Bytes>,
    authority: SocketAddr,
}

impl Client {
    pub(super) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        nodelay(&stream);
        let mut builder = h2::client::Builder::new();
        builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES);
        let (sender, connection) = builder.handshake(stream).await?;
        tokio::spawn(connection);
        Ok(Self { sender, authority: address })
    }

    pub(super) async fn put(&self, key: &str, value: &[u8]) -> Result<()> {
        let request = Message::default().bytes(1, key.as_bytes()).bytes(2, value).finish();
        self.call("KV/Put", request).await.map(drop)
    }

    pub(super) async fn get(&self, key: &str) -> Result<Bytes> {
        let request = Message::default().bytes(1, key.as_bytes()).finish();
        let answer = self.call("KV/Range", request).await?;
        Ok(bytes_in(&answer, 2).next().and_then(|entry| bytes_in(&entry, 5).next()).unwrap_or_default())
    }

    pub(super) async fn leads(&self) -> Result<bool> {
        let answer = self.call("Maintenance/Status", Bytes::new()).await?;
        let header = bytes_in(&answer, 1).next().context("no header")?;
        Ok(number_in(&header, 2) == number_in(&answer, 4))
    }

    /// Watches keys, each given with the end of its range if it is a prefix, all on one stream, as etcd's own client
    /// does.
    pub(super) async fn watch(&self, watches: Vec<(String, Option<String>, Deliveries)>) -> Result<AbortHandle> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut requests) = sender.send_request(self.request("Watch/Watch"), false)?;
        for (number, (key, end, _)) in (1..).zip(&watches) {
            let mut create = Message::default().bytes(1, key.as_bytes());
            if let Some(end) = end {
                create = create.bytes(2, end.as_bytes());
            }
            let create = create.number(7, number).finish();
            requests.send_data(framed(&Message::default().bytes(1, &create).finish()), false)?;
        }
        let (ready, begun) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut ready = Some(ready);
            let mut missing = watches.len();
            let body = response.await?.into_body();
            // Held: the end of the requests would end the watches.
            let _requests = requests;
            each_message(body, |answer| {
                if number_in(&answer, 3) == 1 {
                    missing -= 1;
                    if missing == 0 {
                        let _ = ready.take().map(|ready| ready.send(()));
                    }
                }
                let watch = usize::try_from(number_in(&answer, 2)).ok().and_then(|number| watches.get(number - 1));
                for value in bytes_in(&answer, 11).filter_map(|event| bytes_in(&bytes_in(&event, 2).next()?, 5).next())
                {
                    if let Some((_, _, deliveries)) = watch {
                        deliveries.take(&value);
                    }
                }
            })
            .await
        });
        begun.await.context("the watch ended before it began")?;
        Ok(task.abort_handle())
    }

    async fn call(&self, method: &str, message: Bytes) -> Result<Bytes> {
        let mut sender = self.sender.clone().ready().await?;
        let (response, mut stream) = sender.send_request(self.request(method), false)?;
        stream.send_data(framed(&message), true)?;
        let response = response.await?;
        if let Some(status) = response.headers().get("grpc-status").filter(|status| *status != "0") {
            bail!("{method}: status {status:?}, {:?}", response.headers().get("grpc-message"));
        }
        let mut answer = None;
        let trailers = each_message(response.into_body(), |message| answer = Some(message)).await?;
        let status = trailers.get("grpc-status");
        ensure!(status.is_some_and(|status| status == "0"), "{method}: {:?}", trailers.get("grpc-message"));
        answer.context("no answer")
    }

    fn request(&self, method: &str) -> Request<()> {
        Request::post(format!("http://{}/etcdserverpb.{method}", self.authority))
            .header(header::CONTENT_TYPE, "application/grpc")
            .header(header::TE, "trailers")
            .body(())
            .expect("a path of letters")
    }
}

/// A message with the prefix that gRPC gives it: not compressed, and its length.
fn framed(message: &Bytes) -> Bytes {
    let mut bytes = BytesMut::with_capacity(message.len() + 5);
    bytes.put_u8(0);
    bytes.put_u32(u32::try_from(message.len()).expect("messages are far below 4 GiB"));
    bytes.put_slice(message);
    bytes.freeze()
}

/// Hands over each message of a stream, and returns its trailers at the end.
async fn each_message(mut body: RecvStream, mut take: impl FnMut(Bytes)) -> Result<http::HeaderMap> {
    let mut rest = BytesMut::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        rest.put_slice(&data);
        while rest.len() >= 5 {
            let length = u32::from_be_bytes([rest[1], rest[2], rest[3], rest[4]]) as usize;
            if rest.len() < 5 + length {
                break;
            }
            rest.advance(5);
            take(rest.split_to(length).freeze());
        }
    }
    Ok(body.trailers().await?.unwrap_or_default())
}
