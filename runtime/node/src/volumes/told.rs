//! What was last said to people about the volumes of a pod that cannot be made. Each new text is an event of its own.

use std::collections::BTreeMap;

/// By volume: who looks at one after the other, again and again, has nothing new to say.
#[derive(Default)]
pub(super) struct Told(BTreeMap<String, String>);

impl Told {
    /// Whether this was not what was said of the volume last.
    pub(super) fn is_new(&mut self, volume: &str, message: &str) -> bool {
        if self.0.get(volume).is_some_and(|last| last == message) {
            return false;
        }
        self.0.insert(volume.to_owned(), message.to_owned());
        true
    }

    /// There is nothing to be said of it.
    pub(super) fn forget(&mut self, volume: &str) {
        self.0.remove(volume);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_that_fail_one_after_the_other_are_told_once_each_until_they_are_there() {
        let mut told = Told::default();
        assert!(told.is_new("a", "no ConfigMap a") && told.is_new("b", "no Secret b"));
        for _ in 0..3 {
            assert!(!told.is_new("a", "no ConfigMap a") && !told.is_new("b", "no Secret b"));
        }
        assert!(told.is_new("a", "no key x"));
        told.forget("a");
        assert!(told.is_new("a", "no key x") && !told.is_new("b", "no Secret b"));
    }
}
