//! Files with objects: reading them, finding the line of a field, and what changes when they are applied.

mod documents;
mod fault;
mod locate;
mod three_way;

pub(crate) use documents::{Document, Input, read};
pub(crate) use fault::{Fault, report};
pub(crate) use three_way::{LAST_APPLIED, patch, with_annotation};
