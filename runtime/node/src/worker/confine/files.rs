//! Files: the volumes of its class, nothing else of the machine; code it is handed, open already. Enforced by the kernel's
//! Landlock, which also keeps the process from TCP and from signalling others, where the kernel is new enough.
//!
//! Not here: a private mount namespace instead, on kernels without Landlock (before 5.13): such a worker is told apart
//! by its note.

use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, Ruleset, RulesetAttr as _,
    RulesetCreatedAttr as _, RulesetStatus, Scope, path_beneath_rules,
};

use crate::worker::wire::Assignment;

/// The newest we know what to ask of. Older kernels enforce what they know.
const NEWEST: ABI = ABI::V6;

pub(super) fn restrict(assignment: &Assignment) -> Result<(), String> {
    let status = enforce(assignment).map_err(|error| error.to_string())?;
    match status {
        RulesetStatus::FullyEnforced => Ok(()),
        RulesetStatus::PartiallyEnforced => Err("this kernel enforces a part only".into()),
        RulesetStatus::NotEnforced => Err("this kernel has none, or it is not enabled".into()),
    }
}

fn enforce(assignment: &Assignment) -> Result<RulesetStatus, landlock::RulesetError> {
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(NEWEST))?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?
        .add_rules(path_beneath_rules(&assignment.readable, AccessFs::ReadFile | AccessFs::ReadDir))?
        .add_rules(path_beneath_rules(&assignment.writable, of_volumes()))?;
    Ok(created.restrict_self()?.ruleset)
}

/// What WASI has calls for: no devices, no sockets, nothing to execute.
fn of_volumes() -> BitFlags<AccessFs> {
    AccessFs::ReadFile
        | AccessFs::ReadDir
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::MakeSym
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer
}
