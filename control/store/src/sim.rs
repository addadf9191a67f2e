//! A cluster in a simulated world: one thread, one seed, virtual time. The peers, their logs and what they say to each
//! other are the real ones ([`crate::peer`], [`crate::log`], [`crate::wire`]); the network, the disks, the clocks and the
//! clients are not. After each step a referee looks at all of them ([`referee`]), and at the end the world is healed, has
//! to serve again, and what the clients saw has to be linearizable ([`checker`]).
//!
//! The same seed makes the same world. `cargo test` runs a hundred of them, `cargo xtask sim --minutes N` searches on,
//! `cargo xtask sim --seed S` replays one and tells all that happens.
//!
//! Not here: threads, real files and sockets, the time things take. Start reading at [`world`].

mod bug;
mod checker;
mod client;
mod dice;
mod disk;
mod machines;
mod model;
mod nemesis;
mod network;
mod node;
mod people;
mod probe;
mod recovery;
mod referee;
mod trace;
mod weather;
mod world;

mod tests;
