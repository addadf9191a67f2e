//! The decoded forms of objects that somebody looked at last. They are several times as large as the objects, so of
//! thousands of objects only some stay decoded; the others are decoded again when somebody asks.

use std::any::Any;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// Bytes of the objects whose decoded forms are kept, in this process. Decoded they take about seven times that, 15 MiB:
/// all objects of a small cluster, and of a large one what changed in the last second.
const KEPT_BYTES_MAX: usize = 2 << 20;

type Form = Arc<dyn Any + Send + Sync>;

/// The decoded form of one object, if it is in memory.
#[derive(Default)]
pub(crate) struct Decoded(Mutex<Option<Weak<dyn Any + Send + Sync>>>);

impl Decoded {
    /// The form, if somebody has it.
    pub(crate) fn here<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        let here = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        here.as_ref().and_then(Weak::upgrade)?.downcast().ok()
    }

    /// The form of an object of so many `bytes`, made if it is not here. Who asks meanwhile waits for it.
    pub(crate) fn get<T: Any + Send + Sync>(&self, bytes: usize, decode: impl FnOnce() -> T) -> Arc<T> {
        let mut here = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = here.as_ref().and_then(Weak::upgrade);
        if let Some(known) = known.and_then(|form| form.downcast().ok()) {
            return known;
        }
        let made = Arc::new(decode());
        let form: Form = Arc::<T>::clone(&made);
        *here = Some(Arc::downgrade(&form));
        drop(here);
        keep(form, bytes);
        made
    }
}

/// The forms that were made last, in the order in which they were.
static KEPT: Mutex<Kept> = Mutex::new(Kept { forms: VecDeque::new(), bytes: 0, young: 0 });

struct Kept {
    forms: VecDeque<(Form, usize)>,
    bytes: usize,
    /// How many of them, the last ones, were made since [`age`] was called.
    young: usize,
}

/// Lets go of the forms that were made before this was called last: where nothing happens, they are memory for nobody.
pub(crate) fn age() {
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    let old = kept.forms.len().saturating_sub(kept.young);
    let gone: Vec<_> = kept.forms.drain(..old).collect();
    kept.bytes -= gone.iter().map(|(_, bytes)| bytes).sum::<usize>();
    kept.young = 0;
    kept.forms.shrink_to_fit();
    // Taking them apart takes as long as making them: nobody waits for that.
    drop(kept);
    drop(gone);
}

fn keep(form: Form, bytes: usize) {
    let mut gone = Vec::new();
    let mut kept = KEPT.lock().unwrap_or_else(PoisonError::into_inner);
    kept.forms.push_back((form, bytes));
    kept.bytes += bytes;
    kept.young += 1;
    while kept.bytes > KEPT_BYTES_MAX
        && let Some((form, bytes)) = kept.forms.pop_front()
    {
        kept.bytes -= bytes;
        gone.push(form);
    }
    kept.young = kept.young.min(kept.forms.len());
    // Taking a form apart takes as long as making it: nobody waits for that.
    drop(kept);
    drop(gone);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn form_is_made_once_while_it_is_kept_and_again_when_others_took_its_place() {
        let (decoded, mut made) = (Decoded::default(), 0);
        let mut get = |decoded: &Decoded| {
            decoded.get(1, || {
                made += 1;
                made
            })
        };
        let first = get(&decoded);
        assert_eq!(*get(&decoded), 1, "held by somebody, whatever others do");
        drop(first);
        for _ in 0..2 {
            Decoded::default().get(KEPT_BYTES_MAX, || "something large");
        }
        assert_eq!(*get(&decoded), 2);
    }

    #[test]
    fn who_asks_for_another_type_gets_it() {
        let decoded = Decoded::default();
        assert_eq!((*decoded.get(1, || 7_u8), &**decoded.get(1, || "seven")), (7, "seven"));
    }
}
