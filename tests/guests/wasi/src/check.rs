//! A list of named facts, checked one after another: a line for each, and code 1 at the end if one does not hold.

/// What a fact is that does not hold.
pub type Outcome = Result<(), String>;

/// A fact: its name and how it is checked.
pub type Fact = (&'static str, fn() -> Outcome);

/// Checks all facts, or those that begin with one of the words that `wanted` has, separated by commas.
pub fn all(facts: &[Fact], wanted: &str) -> i32 {
    let chosen = |name: &str| wanted == "all" || wanted.split(',').any(|word| name.starts_with(word));
    let (mut held, mut failed) = (0, 0);
    for (name, fact) in facts.iter().filter(|(name, _)| chosen(name)) {
        match fact() {
            Ok(()) => {
                held += 1;
                println!("ok {name}");
            }
            Err(why) => {
                failed += 1;
                println!("FAILED {name}: {why}");
            }
        }
    }
    println!("{held} facts hold, {failed} do not");
    i32::from(failed > 0 || held == 0)
}

/// Ends the fact unless the condition holds.
#[macro_export]
macro_rules! ensure {
    ($condition:expr) => {
        if !$condition {
            return Err(format!("line {}: not {}", line!(), stringify!($condition)));
        }
    };
}

/// Ends the fact unless both are equal.
#[macro_export]
macro_rules! same {
    ($is:expr, $wanted:expr) => {
        match (&$is, &$wanted) {
            (is, wanted) if is != wanted => {
                return Err(format!("line {}: {} is {is:?} and not {wanted:?}", line!(), stringify!($is)));
            }
            _ => {}
        }
    };
}

/// Ends the fact unless it is an error, and one of these.
#[macro_export]
macro_rules! refused {
    ($call:expr, $($error:expr),+) => {
        match $call {
            Err(error) if [$($error),+].contains(&error) => {}
            other => return Err(format!(
                "line {}: {} is {:?} and not one of {:?}", line!(), stringify!($call), other.map(drop), [$($error),+]
            )),
        }
    };
}

/// The value, or the end of the fact.
#[macro_export]
macro_rules! given {
    ($call:expr) => {
        match $call {
            Ok(value) => value,
            Err(error) => return Err(format!("line {}: {}: {error:?}", line!(), stringify!($call))),
        }
    };
}
