//! The protocols in which clients of Kubernetes stream to and from pods: WebSocket channels, SPDY/3.1, and the frames
//! between the API server and the pod's node.
//!
//! Start at [`relay`] for what is wanted of a node; [`exec`] and [`forward`] lead a client's connection there in any of
//! its dialects. Not here: objects, rights, TLS, and what runs in a pod.
//!
//! ```
//! use wk_streams::relay::{Channel, Exec, Wanted};
//!
//! let wanted = Wanted::Exec(Exec { command: vec!["tar".into()], stdout: true, ..Exec::default() });
//! assert_eq!(Wanted::parse(&wanted.to_query()), Some(wanted));
//! assert_eq!(Channel::Error as u8, 3);
//! ```

pub mod exec;
pub mod forward;
pub mod idle;
pub mod relay;
pub mod spdy;
#[cfg(test)]
mod tests;
pub mod websocket;
