//! The disk forgets what it should, and nothing else.

use super::*;

fn disk(seed: u64) -> SimDisk {
    SimDisk::new(Dice::new(seed))
}

fn after_power_loss(seed: u64, path: &Path, write: impl FnOnce(&SimDisk)) -> Option<Bytes> {
    let disk = disk(seed);
    write(&disk);
    disk.lose_power();
    disk.read(path).ok()
}

#[test]
fn what_was_synced_survives_and_what_was_not_may_not() {
    let (dir, path) = (Path::new("d"), Path::new("d/f"));
    let content: Vec<u8> = (0..5000u32).map(|at| (at % 251) as u8 + 1).collect();
    let mut outcomes = BTreeSet::new();
    for seed in 0..200 {
        let synced = after_power_loss(seed, path, |disk| {
            let mut file = disk.create(path).expect("is made");
            file.write(&content[..700]).expect("is written");
            file.sync().expect("is synced");
            disk.sync_dir(dir).expect("is synced");
            file.write(&content[700..]).expect("is written");
        });
        let synced = synced.expect("its name was synced");
        assert_eq!(synced[..700], content[..700], "seed {seed}");
        for (sector, part) in synced.chunks(SECTOR_BYTES).enumerate() {
            let start = sector * SECTOR_BYTES;
            let is_new = part == &content[start..start + part.len()];
            let is_old = part
                .iter()
                .enumerate()
                .all(|(at, &byte)| byte == if start + at < 700 { content[start + at] } else { 0 });
            assert!(is_new || is_old, "a sector is written whole or not at all");
        }
        outcomes.insert(synced);
    }
    assert!(outcomes.len() > 20, "{}", outcomes.len());
}

#[test]
fn names_that_were_not_synced_are_lost_the_later_before_the_earlier() {
    let (dir, one, two) = (Path::new("d"), Path::new("d/1"), Path::new("d/2"));
    let mut outcomes = BTreeSet::new();
    for seed in 0..50 {
        let disk = disk(seed);
        disk.create(one).expect("is made");
        disk.sync_dir(dir).expect("is synced");
        disk.create(two).expect("is made");
        disk.remove(one).expect("is removed");
        disk.lose_power();
        outcomes.insert(disk.list(dir).expect("is a directory"));
    }
    let list = |paths: &[&Path]| paths.iter().map(|path| path.to_path_buf()).collect::<Vec<_>>();
    assert_eq!(outcomes, BTreeSet::from([list(&[one]), list(&[one, two]), list(&[two])]));
}

#[test]
fn what_a_dead_process_wrote_is_read_and_lost_with_the_power() {
    let path = Path::new("d/f");
    let disk = disk(1);
    let mut file = disk.create(path).expect("is made");
    disk.sync_dir(Path::new("d")).expect("is synced");
    disk.faults(|faults| faults.syncs_lie = true);
    file.write(b"something").expect("is written");
    file.sync().expect("says so");
    disk.lose_process();
    assert_eq!(disk.read(path).expect("is there"), b"something"[..]);
    assert!(file.write(b"more").is_err(), "its process died");
    let mut kept = BTreeSet::new();
    for seed in 0..20 {
        kept.insert(after_power_loss(seed, path, |disk| {
            let mut file = disk.create(path).expect("is made");
            disk.sync_dir(Path::new("d")).expect("is synced");
            file.write(b"something").expect("is written");
        }));
    }
    assert!(kept.len() > 1 && kept.contains(&Some(Bytes::new())));
}

#[test]
fn a_failed_sync_is_not_made_good_by_the_next() {
    let path = Path::new("d/f");
    let lost = (0..20).filter(|&seed| {
        let read = after_power_loss(seed, path, |disk| {
            let mut file = disk.create(path).expect("is made");
            disk.sync_dir(Path::new("d")).expect("is synced");
            file.write(&[1; 2000]).expect("is written");
            disk.faults(|faults| faults.syncs_fail = true);
            assert!(file.sync().is_err());
            disk.faults(|faults| faults.syncs_fail = false);
            file.sync().expect("there is nothing to do");
        });
        read.is_none_or(|read| read[..] != [1; 2000])
    });
    assert!(lost.count() > 10);
}
