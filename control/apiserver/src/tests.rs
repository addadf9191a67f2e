//! The server driven by requests, over a store of one peer. What is tested here is what clients see.

mod applies;
mod certificates;
mod conversions;
mod customs;
mod discovery;
mod encodings;
mod evictions;
mod faces;
mod hostile;
pub(crate) mod kit;
mod lists;
mod metrics;
mod modules;
mod objects;
mod patches;
mod people;
mod pods;
mod policies;
mod proxies;
mod refusals;
mod security;
mod services;
mod signing_keys;
mod streams;
mod versions;
mod watches;
mod webhooks;
