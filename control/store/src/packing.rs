//! Which objects are packed, and beside which: those that nobody wrote for a while, each beside one of the last of its
//! collection that were like none before. Objects come in the order of their names, so those of one set follow each other.
//!
//! Not here: how ([`crate::packed`]), and a clock. Whoever has one calls [`crate::Store::age`].

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::model::Stored;
use crate::packed::{self, Places};
use crate::view::View;

/// Objects of a collection that others are tried beside: of one set of pods there are events of three sorts.
const OTHERS_MAX: usize = 4;

/// An object is packed if that leaves at most one in so many of its bytes: else others are tried beside it.
const WORTH: usize = 3;

/// Where it leaves one in so many, nothing better is looked for.
const GOOD: usize = 6;

/// An object that would take less than one in so many beside the one before begins a set of its own: what it costs not to
/// pack it is soon had back.
const BEGINS: usize = 2;

/// An object is as large as one in so many of the bytes beside which it is packed: they stay as long as it does.
const OTHER_SIZE_MAX: usize = 4;

/// How far objects are packed.
#[derive(Default)]
pub(crate) struct Packing {
    /// What is in here was looked at.
    done: View,
    /// The state at the last call.
    last: View,
    others: BTreeMap<Arc<str>, VecDeque<Arc<Bytes>>>,
}

impl Packing {
    /// Packs what was there at the last call, is still so in `now`, and was not looked at before.
    pub(crate) fn pack(&mut self, now: View) {
        for name in self.last.collections().keys() {
            let (done, last) = (self.done.part(name), self.last.part(name));
            let written = done.differences(&last).filter_map(|difference| difference.new);
            let mut old = written.filter(|it| now.get(it.key()).is_some_and(|now| Arc::ptr_eq(it, &now))).peekable();
            if old.peek().is_none() {
                continue;
            }
            let kept = self.others.entry(Arc::clone(name)).or_default();
            let mut others =
                Others { others: kept.iter().map(|bytes| Other::of(Arc::clone(bytes))).collect(), last: None };
            old.for_each(|stored| others.pack(stored));
            *kept = others.others.into_iter().map(|other| other.bytes).collect();
        }
        self.others.retain(|name, _| !now.is_empty(name));
        self.done = std::mem::replace(&mut self.last, now);
    }
}

/// An object that others are packed beside.
struct Other {
    bytes: Arc<Bytes>,
    places: Places,
}

impl Other {
    fn of(bytes: Arc<Bytes>) -> Self {
        Self { places: Places::of(&bytes), bytes }
    }

    /// `bytes` beside this one, if that takes less than `most`.
    fn pack(&self, bytes: &[u8], most: usize) -> Option<Box<[u8]>> {
        let fits = self.bytes.len() <= bytes.len() * OTHER_SIZE_MAX;
        fits.then(|| packed::pack(bytes, &self.bytes, &self.places, most)).flatten()
    }
}

/// What objects of a collection are packed beside.
struct Others {
    /// The one used last at the front.
    others: VecDeque<Other>,
    /// The object before, packed or not.
    last: Option<Other>,
}

impl Others {
    /// Packs an object beside the best of them, or makes it one of them.
    fn pack(&mut self, stored: &Stored) {
        if !stored.is_plain() {
            return;
        }
        let bytes = stored.bytes();
        let (mut most, mut best) = (bytes.len() / WORTH, None);
        for (at, other) in self.others.iter().enumerate() {
            if let Some(packed) = other.pack(&bytes, most) {
                most = packed.len();
                best = Some((at, packed));
            }
            if most <= bytes.len() / GOOD {
                break;
            }
        }
        let bytes = Arc::new(bytes);
        let last = self.last.replace(Other::of(Arc::clone(&bytes)));
        // Much more like the one before than like all of them: the first of another set.
        let begins = last.is_some_and(|last| last.pack(&bytes, most / BEGINS).is_some());
        let Some((at, packed)) = best.filter(|_| !begins) else {
            self.others.push_front(Other::of(bytes));
            self.others.truncate(OTHERS_MAX);
            return;
        };
        stored.keep_packed(packed, &self.others[at].bytes);
        if let Some(used) = self.others.remove(at) {
            self.others.push_front(used);
        }
    }
}

#[cfg(test)]
mod tests {
    use imbl::OrdMap;

    use super::*;
    use crate::model::{Key, Revision};
    use crate::view::Collection;

    fn object(number: u64, revision: u64) -> (Arc<str>, Arc<Stored>) {
        let name: Arc<str> = format!("web-{number:04}").into();
        let spec = r#"{"containers":[{"name":"app","image":"wk.local/app@sha256:0123456789abcdef","ports":[]}]}"#;
        let text = format!(r#"{{"name":"{name}","spec":{spec},"status":{{"phase":"Running","revision":{revision}}}}}"#);
        let key = Key::new("c", Arc::clone(&name));
        (name, Arc::new(Stored::as_kept(key, text.into(), Revision(revision), Revision(1), None)))
    }

    fn view(objects: &Collection, revision: u64) -> View {
        View::new(Revision(revision), OrdMap::unit("c".into(), objects.clone()))
    }

    fn texts(objects: &Collection) -> Vec<Bytes> {
        objects.values().map(|stored| stored.bytes()).collect()
    }

    #[test]
    fn objects_are_packed_once_nobody_writes_them_and_read_as_they_were() {
        let mut objects: Collection = (0..100).map(|number| object(number, number)).collect();
        let before = texts(&objects);
        let mut packing = Packing::default();
        packing.pack(view(&objects, 1));
        assert!(objects.values().all(|stored| stored.is_plain()), "all of them are new");
        objects.extend([object(50, 1000)]);
        packing.pack(view(&objects, 2));
        let plain = |objects: &Collection| -> Vec<u64> {
            let plain = objects.values().filter(|stored| stored.is_plain());
            plain.map(|stored| stored.revision().0).collect()
        };
        assert_eq!(plain(&objects), [0, 1000], "the first, beside which the others are, and the one just written");
        packing.pack(view(&objects, 2));
        assert_eq!(plain(&objects), [0]);
        let after = texts(&objects);
        assert_eq!((&after[..50], &after[51..]), (&before[..50], &before[51..]));
        assert_eq!(after[50], object(50, 1000).1.bytes());
        assert!(objects.values().all(|stored| stored.size() == stored.bytes().len()));
    }

    #[test]
    fn objects_that_are_like_no_other_stay_as_they_are() {
        let random = |number: u64| (0..600).map(|at| (number + 1).wrapping_mul(at * at + 7).to_le_bytes()[1]).collect();
        let stored =
            |number| Stored::as_kept(Key::new("c", "n"), Vec::into(random(number)), Revision(1), Revision(1), None);
        let objects: Collection =
            (0..20).map(|number| (Arc::from(number.to_string()), Arc::new(stored(number)))).collect();
        let mut packing = Packing::default();
        packing.pack(view(&objects, 1));
        packing.pack(view(&objects, 1));
        assert!(objects.values().all(|stored| stored.is_plain()));
        assert!(packing.others.values().all(|others| others.len() == OTHERS_MAX));
    }

    #[test]
    fn object_of_thousands_takes_no_more_than_a_place_of_160_bytes_beside_its_text() {
        let counts = 2 * size_of::<usize>();
        assert!(size_of::<Stored>() + counts <= 160, "{}", size_of::<Stored>());
    }
}
