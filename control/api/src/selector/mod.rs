//! Which objects a request means: label selectors (also those within objects) and field selectors.

mod fields;
mod labels;

pub use fields::Fields;
pub use labels::Labels;
