//! Nobody gives away what they do not hold.

use super::rule::{Rule, covers, quoted};
use crate::user::User;

/// Single permissions (a verb, a resource, a name) that are looked at: each is held against each rule of the giver, on
/// the thread that answers requests. The largest of Kubernetes' own roles has some hundreds.
const PIECES_MAX: usize = 10_000;

/// What of `asked` is not in `held`, as Kubernetes words it; None when nothing is missing.
pub fn not_held(user: &User, held: &[Rule], asked: &[Rule]) -> Option<String> {
    let pieces = asked.iter().fold(0_usize, |sum, rule| sum.saturating_add(rule.number_of_pieces()));
    if pieces > PIECES_MAX {
        return Some(format!(
            "user {:?} is attempting to grant {pieces} single permissions at once, and {PIECES_MAX} are the most that can \
             be checked: use fewer rules, or *",
            user.name
        ));
    }
    let missing = missing(held, asked);
    if missing.is_empty() {
        return None;
    }
    let mut lines: Vec<String> = missing.iter().map(ToString::to_string).collect();
    lines.sort();
    lines.dedup();
    Some(format!(
        "user {:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted(&user.groups),
        lines.join("\n")
    ))
}

/// The pieces of `asked` that `held` lacks, those of one resource as one rule.
pub fn missing(held: &[Rule], asked: &[Rule]) -> Vec<Rule> {
    let mut rules: Vec<Rule> = Vec::new();
    for piece in covers(held, asked) {
        let beside = |rule: &&mut Rule| {
            let same = (&rule.groups, &rule.resources, &rule.names, &rule.paths)
                == (&piece.groups, &piece.resources, &piece.names, &piece.paths);
            same && piece.paths.is_empty() && piece.names.is_empty()
        };
        match rules.iter_mut().find(beside) {
            Some(rule) => rule.verbs.extend(piece.verbs),
            None => rules.push(piece),
        }
    }
    rules
}
