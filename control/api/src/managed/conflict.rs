//! Who else owns what somebody would change by applying.

use super::entries::{Id, Operation};
use super::set::{self, Path, Set};
use crate::status::{Cause, Details, Reason, Status};

/// Fields that the applier would change, by owner.
#[derive(Debug, Default)]
pub(super) struct Conflicts(pub(super) Vec<(Id, Set)>);

/// Causes told at most: a conflict may be about every field of a large object.
const CAUSES_MAX: usize = 200;

impl Conflicts {
    /// The conflicts that are about other fields than these.
    pub(super) fn outside(self, allowed: &Set) -> Self {
        let rest = self.0.into_iter().map(|(id, fields)| (id, fields.difference(allowed)));
        Self(rest.filter(|(_, fields)| !fields.is_empty()).collect())
    }

    /// 409, with a cause for each field.
    pub(super) fn refuse(&self) -> Status {
        let owners: Vec<(String, Vec<Path>)> = self.0.iter().map(|(id, fields)| (shown(id), fields.paths())).collect();
        let count: usize = owners.iter().map(|(_, paths)| paths.len()).sum();
        let message = match owners.as_slice() {
            [(owner, paths)] if paths.len() == 1 => {
                format!("Apply failed with 1 conflict: conflict with {owner}: {}", set::shown(&paths[0]))
            }
            owners => {
                let mut lines = Vec::new();
                for (owner, paths) in owners {
                    lines.push(format!("conflicts with {owner}:"));
                    lines.extend(paths.iter().map(|path| format!("- {}", set::shown(path))));
                }
                lines.truncate(CAUSES_MAX);
                format!("Apply failed with {count} conflicts: {}", lines.join("\n"))
            }
        };
        let causes = owners.iter().flat_map(|(owner, paths)| {
            paths.iter().map(move |path| Cause {
                reason: "FieldManagerConflict".to_owned(),
                message: format!("conflict with {owner}"),
                field: set::shown(path),
            })
        });
        let details = Details { causes: causes.take(CAUSES_MAX).collect(), ..Details::default() };
        Status { details: Some(Box::new(details)), ..Status::new(409, Reason::Conflict, message) }
    }
}

/// `"ctl" with subresource "scale" using apps/v1`.
fn shown(id: &Id) -> String {
    let mut text = format!("{:?}", id.manager);
    if !id.subresource.is_empty() {
        text = format!("{text} with subresource {:?}", id.subresource);
    }
    match id.operation {
        Operation::Apply => text,
        Operation::Update => format!("{text} using {}", id.version),
    }
}
