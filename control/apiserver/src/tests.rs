//! The server driven by requests, over a store of one peer. What is tested here is what clients see.

mod customs;
mod discovery;
mod encodings;
mod evictions;
mod kit;
mod lists;
mod modules;
mod objects;
mod patches;
mod pods;
mod proxies;
mod refusals;
mod services;
mod versions;
mod watches;
