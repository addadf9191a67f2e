//! When keys that sign tokens come and go. A new one is published before it signs, so that whoever verifies knows it by
//! then; one that signs no more stays until the last token that it signed has ended.
//!
//! Pure: times are seconds since 1970, new keys are somebody else's to make. Not here: where the keys are kept.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Tokens that live longer are signed only after it was written down until when: of all others it is known that they have
/// ended this long after their key's last signature. As long as EKS and others let any token live.
pub const SHORT_SECONDS: i64 = 48 * 3600;
/// The longest that any token lives (`LIFE_MAX` of the API server).
pub const LONG_SECONDS: i64 = 365 * 24 * 3600;
/// A key is published for this long before it signs: verifiers outside may keep what they have read for an hour, as they
/// are told to (`Cache-Control` of the key set).
pub const LEAD_SECONDS: i64 = 3600;
/// The same for a key that is wanted now: time for the cluster's own nodes to learn of it.
pub const LEAD_NOW_SECONDS: i64 = 10;
/// A node that has not heard that another key signs may sign with the old one this much longer.
const SLACK_SECONDS: i64 = 3600;
/// Keys at most, whatever holds old ones: more than a year of days. Past this none is published by age or because somebody
/// asks: verifiers read all of them.
pub const KEYS_MAX: usize = 400;
/// Keys at most when one is wanted now: a key that was stolen is replaced although there are so many. Nobody can ask that for
/// more than six a minute, each taking [`LEAD_NOW_SECONDS`] before it signs.
pub const KEYS_NOW_MAX: usize = 500;
/// What is written down of long tokens is rounded up to this, so that it is not written for each.
const ROUND_SECONDS: i64 = 24 * 3600;

/// What is known of a key besides the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fact {
    /// When it was made; zero when nobody remembers.
    pub created: i64,
    /// From when on it signs.
    pub signs: i64,
    /// When another one began to sign instead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retired: Option<i64>,
    /// Until when a token may be good that it signed: of one that still signs, only of long-lived tokens.
    pub until: i64,
}

/// What is known of each key, by its id.
pub type Facts = BTreeMap<String, Fact>;

/// What a key is for at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// It is published, and will sign.
    Next,
    /// It signs.
    Signs,
    /// It only verifies what it has signed.
    Retired,
}

/// What is due. Each step is one write, after which the keys are looked at again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Write down what is known of keys of which nothing is.
    Note(Facts),
    /// Make a key, publish it, and let it sign from then on.
    Publish {
        /// From when on it signs.
        signs: i64,
    },
    /// Let this key sign.
    Promote(String),
    /// Forget these: nothing that they signed is good any more.
    Forget(Vec<String>),
}

/// The fact of a key that is made now.
pub fn made(now: i64, signs: i64) -> Fact {
    Fact { created: now, signs, retired: None, until: 0 }
}

/// The role of a key among `ids`, of which the last one signs.
pub fn role(ids: &[String], facts: &Facts, id: &str) -> Role {
    if ids.last().is_some_and(|last| last == id) {
        return Role::Signs;
    }
    match facts.get(id) {
        Some(Fact { retired: None, .. }) => Role::Next,
        Some(_) | None => Role::Retired,
    }
}

/// What is due now. `ids` are the keys, of which the last one signs; `age` is how old that one may become, if there is a
/// limit; `held` tells whether a token without an end depends on a key.
pub fn due(ids: &[String], facts: &Facts, age: Option<i64>, held: impl Fn(&str) -> bool, now: i64) -> Option<Step> {
    let signer = ids.last()?;
    if ids.iter().any(|id| !facts.contains_key(id)) {
        return Some(Step::Note(noted(ids, facts, now)));
    }
    let next = ids.iter().find(|id| role(ids, facts, id) == Role::Next);
    match (next, age) {
        (Some(next), _) if facts[next].signs <= now => return Some(Step::Promote(next.clone())),
        (None, Some(age)) if ids.len() < KEYS_MAX => {
            let lead = lead(age);
            if facts[signer].signs.saturating_add(age) <= now.saturating_add(lead) {
                return Some(Step::Publish { signs: now.saturating_add(lead) });
            }
        }
        _ => {}
    }
    let over = |id: &&String| role(ids, facts, id) == Role::Retired && facts[*id].until <= now && !held(id);
    let over: Vec<String> = ids.iter().filter(over).cloned().collect();
    if over.is_empty() { None } else { Some(Step::Forget(over)) }
}

/// Whether a key would be published by its age but for [`KEYS_MAX`].
pub fn is_stuck(ids: &[String], facts: &Facts, age: Option<i64>, now: i64) -> bool {
    let signs = ids.last().and_then(|signer| facts.get(signer)).map(|fact| fact.signs);
    let is_old = |age: i64| signs.is_some_and(|signs| signs.saturating_add(age) <= now.saturating_add(lead(age)));
    let has_next = ids.iter().any(|id| role(ids, facts, id) == Role::Next);
    ids.len() >= KEYS_MAX && !has_next && age.is_some_and(is_old)
}

/// What is done for somebody who asks for another key, `at_once` or in its time: the one that is published is hurried, or a
/// new one is. None where there are too many.
pub fn wanted(ids: &[String], facts: &Facts, at_once: bool, now: i64) -> Option<Step> {
    let (signs, most) = if at_once { (now + LEAD_NOW_SECONDS, KEYS_NOW_MAX) } else { (now + LEAD_SECONDS, KEYS_MAX) };
    if let Some(next) = ids.iter().find(|id| role(ids, facts, id) == Role::Next) {
        let mut facts = facts.clone();
        // One that is to sign sooner stays so.
        facts.entry(next.clone()).and_modify(|fact| fact.signs = fact.signs.min(signs));
        return Some(Step::Note(facts));
    }
    (ids.len() < most).then_some(Step::Publish { signs })
}

/// Not more than a tenth of a key's life passes before it signs.
fn lead(age: i64) -> i64 {
    LEAD_SECONDS.min(age / 10)
}

/// An earlier version wrote keys down without anything beside them: tokens of a year may be about.
fn noted(ids: &[String], facts: &Facts, now: i64) -> Facts {
    let mut noted: Facts = ids.iter().filter_map(|id| facts.get(id).map(|fact| (id.clone(), *fact))).collect();
    for (index, id) in ids.iter().enumerate() {
        let retired = (index + 1 < ids.len()).then_some(now);
        noted.entry(id.clone()).or_insert(Fact { created: 0, signs: now, retired, until: now + LONG_SECONDS });
    }
    noted
}

/// The facts once `id` signs in place of `signer`.
pub fn promoted(facts: &Facts, signer: &str, id: &str, now: i64) -> Facts {
    let mut facts = facts.clone();
    if let Some(old) = facts.get_mut(signer) {
        old.retired = Some(now);
        old.until = old.until.max(now + SHORT_SECONDS + SLACK_SECONDS);
    }
    if let Some(new) = facts.get_mut(id) {
        new.signs = now;
    }
    facts
}

/// Until when tokens of a key are to be written down as good, before it signs one that ends at `expires`; None when that
/// is known of it already, or need not be.
pub fn to_note(fact: &Fact, expires: i64, now: i64) -> Option<i64> {
    if expires <= now + SHORT_SECONDS || expires <= fact.until {
        return None;
    }
    Some(expires.saturating_add(ROUND_SECONDS - expires.rem_euclid(ROUND_SECONDS)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3600;
    const AGE: i64 = 90 * DAY;

    fn ids(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn nobody(_: &str) -> bool {
        false
    }

    #[test]
    fn key_that_grows_old_is_followed_by_one_that_was_published_before() {
        let mut keys = ids(&["a"]);
        let mut facts = Facts::from([("a".to_owned(), made(0, 0))]);
        assert_eq!(due(&keys, &facts, Some(AGE), nobody, AGE - LEAD_SECONDS - 1), None);
        assert_eq!(due(&keys, &facts, None, nobody, 100 * AGE), None, "without a limit nothing is done");
        let start = AGE - LEAD_SECONDS;
        assert_eq!(due(&keys, &facts, Some(AGE), nobody, start), Some(Step::Publish { signs: AGE }));
        let held: Vec<String> = (1..KEYS_MAX).map(|number| number.to_string()).chain(["a".to_owned()]).collect();
        let of_all = held.iter().map(|id| (id.clone(), Fact { retired: Some(0), ..made(0, 0) }));
        let of_all = of_all.chain([("a".to_owned(), made(0, 0))]).collect();
        assert_eq!(
            due(&held, &of_all, Some(AGE), |_| true, start),
            None,
            "there is an end to keys that somebody holds"
        );
        keys.insert(0, "b".to_owned());
        facts.insert("b".to_owned(), made(start, AGE));
        assert_eq!(role(&keys, &facts, "b"), Role::Next);
        assert_eq!(due(&keys, &facts, Some(AGE), nobody, AGE - 1), None, "it is published and does not sign yet");
        assert_eq!(due(&keys, &facts, Some(AGE), nobody, AGE), Some(Step::Promote("b".to_owned())));
        facts = promoted(&facts, "a", "b", AGE);
        keys = ids(&["a", "b"]);
        assert_eq!((role(&keys, &facts, "a"), role(&keys, &facts, "b")), (Role::Retired, Role::Signs));
        let last = AGE + SHORT_SECONDS + SLACK_SECONDS;
        assert_eq!(due(&keys, &facts, Some(AGE), nobody, last - 1), None);
        assert_eq!(due(&keys, &facts, Some(AGE), nobody, last), Some(Step::Forget(ids(&["a"]))));
    }

    #[test]
    fn key_that_was_stolen_is_replaced_however_many_old_ones_there_are_and_who_only_waits_is_told() {
        let of = |count: usize| {
            let ids: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            let retired = ids.iter().map(|id| (id.clone(), Fact { retired: Some(0), ..made(0, 0) }));
            let mut facts: Facts = retired.collect();
            facts.insert(ids[count - 1].clone(), made(0, 0));
            (ids, facts)
        };
        let asked = |count, at_once| wanted(&of(count).0, &of(count).1, at_once, DAY);
        assert_eq!(asked(KEYS_MAX - 1, false), Some(Step::Publish { signs: DAY + LEAD_SECONDS }));
        assert_eq!(asked(KEYS_MAX, false), None);
        assert_eq!(asked(KEYS_MAX, true), Some(Step::Publish { signs: DAY + LEAD_NOW_SECONDS }));
        assert_eq!(asked(KEYS_NOW_MAX, true), None, "there is an end to that, too");
        let stuck = |count, now| is_stuck(&of(count).0, &of(count).1, Some(AGE), now);
        assert!(stuck(KEYS_MAX, AGE) && !stuck(KEYS_MAX - 1, AGE) && !stuck(KEYS_MAX, DAY));
        // The one that is published is hurried, and never put off.
        let (mut ids, mut facts) = of(KEYS_NOW_MAX);
        ids.insert(0, "next".to_owned());
        facts.insert("next".to_owned(), made(DAY, DAY + LEAD_SECONDS));
        for (at_once, signs) in [(true, DAY + LEAD_NOW_SECONDS), (false, DAY + LEAD_NOW_SECONDS)] {
            let Some(Step::Note(noted)) = wanted(&ids, &facts, at_once, DAY) else { panic!("nothing is hurried") };
            assert_eq!(noted["next"].signs, signs);
            facts = noted;
        }
    }

    #[test]
    fn key_stays_while_a_token_without_an_end_or_of_a_year_depends_on_it() {
        let keys = ids(&["a", "b"]);
        let mut facts = Facts::from([("a".to_owned(), made(0, 0)), ("b".to_owned(), made(0, 0))]);
        let year = to_note(&facts["a"], LONG_SECONDS, 0).expect("longer than most");
        assert!((LONG_SECONDS..=LONG_SECONDS + DAY).contains(&year));
        facts.get_mut("a").expect("a key").until = year;
        assert_eq!(to_note(&facts["a"], LONG_SECONDS, 0), None, "written once");
        assert_eq!(to_note(&facts["b"], 3600, 0), None, "an hour is never written");
        let facts = promoted(&facts, "a", "b", DAY);
        assert_eq!(due(&keys, &facts, None, nobody, year - 1), None);
        assert_eq!(due(&keys, &facts, None, |id| id == "a", year), None);
        assert_eq!(due(&keys, &facts, None, nobody, year), Some(Step::Forget(ids(&["a"]))));
    }

    #[test]
    fn keys_of_an_earlier_version_are_taken_to_have_signed_for_a_year() {
        let keys = ids(&["a"]);
        let stale = Facts::from([("of another cluster".to_owned(), made(0, 0))]);
        let Some(Step::Note(facts)) = due(&keys, &stale, Some(AGE), nobody, DAY) else { panic!("nothing noted") };
        assert_eq!(facts.keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!((facts["a"].signs, facts["a"].until), (DAY, DAY + LONG_SECONDS));
        assert_eq!(due(&keys, &facts, Some(AGE), nobody, DAY), None);
    }
}
