//! Which objects the words `KIND[,KIND] [NAME…]` and `KIND/NAME…` mean.

use crate::exit::{ExitError, usage};

/// Some objects, or all, of some kinds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Kinds as typed, separated by commas.
    pub(super) kinds: String,
    /// Names; all objects of the kinds if empty.
    pub(super) names: Vec<String>,
}

/// Reads the words.
pub(super) fn parse(words: &[String]) -> Result<Vec<Target>, ExitError> {
    if words.iter().any(|word| word.contains('/')) {
        return words.iter().map(|word| one(word)).collect();
    }
    match words {
        [] => Err(usage("say which kind, such as pods or deploy/web")),
        [kinds, names @ ..] => Ok(vec![Target { kinds: kinds.clone(), names: names.to_vec() }]),
    }
}

fn one(word: &str) -> Result<Target, ExitError> {
    match word.split_once('/') {
        Some((kind, name)) if !kind.is_empty() && !name.is_empty() && !kind.contains(',') && !name.contains('/') => {
            Ok(Target { kinds: kind.to_owned(), names: vec![name.to_owned()] })
        }
        Some(_) => Err(usage(format!("{word:?} is not KIND/NAME"))),
        None => Err(usage(format!("{word:?} stands among KIND/NAME words: write it as KIND/NAME too"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn targets(line: &str) -> Result<Vec<Target>, String> {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        parse(&words).map_err(|error| error.to_string())
    }

    fn target(kinds: &str, names: &[&str]) -> Target {
        Target { kinds: kinds.into(), names: names.iter().map(|name| (*name).to_owned()).collect() }
    }

    #[test]
    fn kind_then_names_or_kind_slash_name() {
        assert_eq!(targets("po,svc"), Ok(vec![target("po,svc", &[])]));
        assert_eq!(targets("po a b"), Ok(vec![target("po", &["a", "b"])]));
        assert_eq!(targets("po/a svc/b"), Ok(vec![target("po", &["a"]), target("svc", &["b"])]));
    }

    #[test]
    fn forms_do_not_mix() {
        assert!(targets("po a svc/b").expect_err("mixed").contains("KIND/NAME"));
        assert!(targets("po/").is_err());
        assert!(targets("po/a/b").is_err());
    }
}
