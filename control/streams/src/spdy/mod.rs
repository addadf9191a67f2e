//! SPDY/3.1, the accepting side: what kubectl speaks for exec, attach and port-forward, plain or inside a WebSocket.
//!
//! From "SPDY Protocol - Draft 3.1". Only what those clients use: streams that the client opens, both directions, no
//! push, no credentials. Flow control is honoured towards the client's data; the client's window is not, because the
//! clients there are (moby/spdystream) never open it: TCP holds our data back instead.
//!
//! Every length is bounded before anything of that length is kept. Start at [`connection::serve`].

pub mod connection;
mod dictionary;
pub mod frame;
pub mod headers;
#[cfg(test)]
mod tests;
