//! What is acknowledged is kept: nodes are killed, cut off and run out of disk while clients write.
//!
//! Each test keeps a ledger of what its writers were told, and looks for it on every node when all is well again.

mod full_disk;
mod kills;
mod ledger;
mod partitions;
