//! The engine over real guests: the examples, and those of `tests/guests` that misbehave.

#[path = "guests/kit.rs"]
mod kit;

#[path = "guests/command.rs"]
mod command;
#[path = "guests/compile.rs"]
mod compile;
#[path = "guests/files.rs"]
mod files;
#[path = "guests/held.rs"]
mod held;
#[path = "guests/http.rs"]
mod http;
#[path = "guests/instances.rs"]
mod instances;
#[path = "guests/invoke.rs"]
mod invoke;
#[path = "guests/late.rs"]
mod late;
#[path = "guests/mutations.rs"]
mod mutations;
#[path = "guests/network.rs"]
mod network;
#[path = "guests/prepare.rs"]
mod prepare;
#[path = "guests/preview1.rs"]
mod preview1;
#[path = "guests/settings.rs"]
mod settings;
#[path = "guests/usage.rs"]
mod usage;
#[path = "guests/words.rs"]
mod words;
#[path = "guests/worlds.rs"]
mod worlds;
