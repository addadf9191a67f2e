//! Specs that pods have in common, held once: ten thousand pods are of a hundred templates.
//!
//! What is equal is shared, whoever wrote it. Nothing is kept that no pod has.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::{ContainerSpec, VolumeSpec};

/// Specs that are compared with a new one: as many templates name one image, or a volume by one name, at most. More are not
/// looked for, and each has its own.
const ALIKE_MAX: usize = 32;
/// Names at which those that nobody has any more are first looked for.
const SWEEP_MIN: usize = 64;

static CONTAINERS: Mutex<Known<ContainerSpec>> = Mutex::new(Known::new());
static VOLUMES: Mutex<Known<[VolumeSpec]>> = Mutex::new(Known::new());

/// The spec, or an equal one that a pod has.
pub(super) fn container(spec: ContainerSpec) -> Arc<ContainerSpec> {
    let name = spec.image.clone();
    CONTAINERS.lock().unwrap_or_else(PoisonError::into_inner).share(name, Arc::new(spec))
}

/// The volumes, or equal ones that a pod has.
pub(super) fn volumes(specs: Vec<VolumeSpec>) -> Arc<[VolumeSpec]> {
    let Some(first) = specs.first() else { return Arc::default() };
    let name = first.name.clone();
    VOLUMES.lock().unwrap_or_else(PoisonError::into_inner).share(name, specs.into())
}

/// What there is, by a name that equal ones have.
struct Known<T: ?Sized> {
    by_name: BTreeMap<String, Vec<Weak<T>>>,
    sweep_at: usize,
}

impl<T: ?Sized + PartialEq> Known<T> {
    const fn new() -> Self {
        Self { by_name: BTreeMap::new(), sweep_at: SWEEP_MIN }
    }

    fn share(&mut self, name: String, made: Arc<T>) -> Arc<T> {
        let alike = self.by_name.entry(name).or_default();
        alike.retain(|known| known.strong_count() > 0);
        if let Some(known) = alike.iter().filter_map(Weak::upgrade).find(|known| *known == made) {
            return known;
        }
        if alike.len() < ALIKE_MAX {
            alike.push(Arc::downgrade(&made));
        }
        if self.by_name.len() >= self.sweep_at {
            self.by_name.retain(|_, alike| alike.iter().any(|known| known.strong_count() > 0));
            self.sweep_at = (2 * self.by_name.len()).max(SWEEP_MIN);
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_ones_are_shared_while_somebody_has_them_and_others_are_not() {
        let mut known: Known<str> = Known::new();
        let first = known.share("a".into(), "x".into());
        assert!(Arc::ptr_eq(&first, &known.share("a".into(), "x".into())));
        assert_eq!(&*known.share("a".into(), "y".into()), "y");
        drop(first);
        for number in 0..10 * SWEEP_MIN {
            known.share(number.to_string(), "x".into());
        }
        assert!(known.by_name.len() <= SWEEP_MIN, "what nobody has is forgotten");
    }
}
