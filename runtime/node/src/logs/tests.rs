//! What is written comes back, in order, within its share of the disk.

use super::*;
use wk_base::time::ManualClock;

fn logs() -> (tempfile::TempDir, Logs, Arc<ManualClock>) {
    let dir = tempfile::tempdir().unwrap();
    let logs = Logs::new(dir.path().join("pods"));
    (dir, logs, Arc::new(ManualClock::at(Timestamp::from_second(1_000).unwrap())))
}

fn drain(reader: &mut LogReader) -> String {
    let mut text = String::new();
    loop {
        let lines = reader.read().unwrap();
        if lines.is_empty() {
            return text;
        }
        for line in &lines {
            text.push_str(&String::from_utf8_lossy(&line.content));
        }
    }
}

fn read(logs: &Logs, restart: u32) -> String {
    logs.reader("uid", "app", restart).map(|mut reader| drain(&mut reader)).unwrap_or_default()
}

#[test]
fn lines_come_back_whole_and_in_order() {
    let (_dir, logs, clock) = logs();
    let writer = logs.open("uid", "app", 0, clock).unwrap();
    writer.write(Stream::Out, b"one\ntw");
    writer.write(Stream::Err, b"oops\n");
    writer.write(Stream::Out, b"o\nrest");
    futures::executor::block_on(writer.finish());
    assert_eq!(read(&logs, 0), "one\noops\ntwo\nrest\n");
}

#[test]
fn last_words_are_few_lines_and_few_bytes() {
    let (_dir, logs, clock) = logs();
    let writer = logs.open("uid", "app", 0, clock).unwrap();
    let words = || logs.last_words("uid", "app", 0).unwrap();
    assert_eq!(words(), "");
    for number in 0..100 {
        writer.write(Stream::Err, format!("{number}\n").as_bytes());
    }
    futures::executor::block_on(writer.finish());
    assert_eq!(words(), (20..100).map(|number| number.to_string()).collect::<Vec<_>>().join("\n"));
    for _ in 0..100 {
        writer.write(Stream::Out, &[b'x'; 999]);
        writer.write(Stream::Out, b"\n");
    }
    assert_eq!(words().len(), LAST_BYTES - 1, "without the last line's end");
}

#[test]
fn reader_follows_what_is_written_later_across_rotations() {
    let (_dir, logs, clock) = logs();
    let writer = logs.open("uid", "app", 0, clock).unwrap();
    writer.write(Stream::Out, b"first\n");
    let mut reader = logs.reader("uid", "app", 0).unwrap();
    assert_eq!(drain(&mut reader), "first\n");
    let filler = [b'x'; 16_000];
    for _ in 0..700 {
        writer.write(Stream::Out, &filler);
        writer.write(Stream::Out, b"\n");
    }
    writer.write(Stream::Out, b"last\n");
    let rest = drain(&mut reader);
    assert_eq!(rest.lines().count(), 701);
    assert!(rest.ends_with("last\n"));
}

#[test]
fn log_never_takes_more_than_its_share_of_the_disk() {
    let (dir, logs, clock) = logs();
    let writer = logs.open("uid", "app", 0, clock).unwrap();
    let line = vec![b'x'; 64 * 1024];
    for _ in 0..1_500 {
        writer.write(Stream::Out, &line);
        writer.write(Stream::Out, b"\n");
    }
    let files = fs::read_dir(dir.path().join("pods/uid/app")).unwrap();
    let used: u64 = files.map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(used <= FILE_BYTES_MAX * u64::from(FILES_MAX), "{used}");
    assert!(used > FILE_BYTES_MAX * u64::from(FILES_MAX - 2), "{used}");
}

#[test]
fn only_this_run_and_the_one_before_are_kept() {
    let (_dir, logs, clock) = logs();
    for restart in 0..4 {
        let writer = logs.open("uid", "app", restart, clock.clone()).unwrap();
        writer.write(Stream::Out, format!("run {restart}\n").as_bytes());
    }
    let kept: Vec<_> = (0..4).map(|restart| read(&logs, restart)).collect();
    assert_eq!(kept, ["", "", "run 2\n", "run 3\n"]);
    assert_eq!(logs.newest("uid", "app").unwrap(), 3);
}

#[test]
fn reader_that_sleeps_through_several_rotations_misses_no_line_that_is_kept() {
    let (_dir, logs, clock) = logs();
    let writer = logs.open("uid", "app", 0, clock).unwrap();
    writer.write(Stream::Out, b"first\n");
    let mut reader = logs.reader("uid", "app", 0).unwrap();
    assert_eq!(drain(&mut reader), "first\n");
    let filler = [b'x'; 16_000];
    // Three files' worth.
    for _ in 0..2_000 {
        writer.write(Stream::Out, &filler);
        writer.write(Stream::Out, b"\n");
    }
    assert_eq!(drain(&mut reader).lines().count(), 2_000);
}

#[test]
fn records_keep_their_level_and_leave_half_a_line_alone() {
    let (_dir, logs, clock) = logs();
    let writer = logs.open("uid", "app", 0, clock).unwrap();
    writer.write(Stream::Err, b"half ");
    writer.record(Level::Warn, "WARN billing: card refused\n  twice\n");
    writer.write(Stream::Err, b"a line\n");
    let lines = logs.reader("uid", "app", 0).unwrap().read().unwrap();
    let shown: Vec<_> = lines.iter().map(|line| (str::from_utf8(&line.content).unwrap(), line.level)).collect();
    let warn = Some(Level::Warn);
    let expected = [("WARN billing: card refused\n", warn), ("  twice\n", warn), ("half a line\n", None)];
    assert_eq!(shown, expected);
}

#[test]
fn what_pods_left_is_put_aside_and_what_was_made_since_stays() {
    let top = tempfile::tempdir().unwrap();
    let dir = top.path().join("pods");
    for pod in ["known", "gone", "new"] {
        fs::create_dir_all(dir.join(pod).join("app")).unwrap();
    }
    fs::write(dir.join("gone/app/0.log"), "its last words").unwrap();
    let begun = SystemTime::now() - Duration::from_mins(1);
    for old in ["known", "gone"] {
        File::open(dir.join(old)).unwrap().set_modified(begun - Duration::from_secs(1)).unwrap();
    }
    Logs::new(dir.clone()).keep_only(&|uid| uid == "known", begun);
    let names = |dir: &Path| -> Vec<String> {
        let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    };
    assert_eq!(names(&dir), ["known", "new"]);
    // It went while the node was down, and is kept like others.
    let kept = names(&top.path().join("logs-of-ended-pods"));
    assert!(kept.len() == 1 && kept[0].ends_with("_14_gone"), "{kept:?}");
}

#[tokio::test]
async fn lines_wait_for_a_busy_disk_within_bounds_and_what_is_lost_is_told() {
    let (_dir, logs, clock) = logs();
    let [one, other] = ["app", "other"].map(|name| logs.open("uid", name, 0, clock.clone()).unwrap());
    // One that writes waits for the disk, and the threads that serve do not wait for it.
    let disk = one.busy();
    one.write(Stream::Out, b"what it writes meanwhile\n");
    while one.waits() {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let line = vec![b'x'; 9_999];
    let mut lost = 0;
    for _ in 0..2_000 {
        lost += one.write(Stream::Out, &line) + one.write(Stream::Out, b"\n");
    }
    assert!((9_000_000..11_000_000).contains(&lost), "{lost} of 20 million");
    assert_eq!(other.write(Stream::Out, b"another has room\n"), 0);
    drop(disk);
    one.finish().await;
    other.finish().await;
    let text = read(&logs, 0);
    assert_eq!(text.lines().filter(|line| line.starts_with('x')).count() as u64, 2_000 - lost / 10_000);
    let last = text.lines().last().unwrap();
    assert_eq!(last, format!("wk: {lost} bytes of output lost: they came faster than they were written"));
    assert_eq!(drain(&mut logs.reader("uid", "other", 0).unwrap()), "another has room\n");
    assert_eq!(one.write(Stream::Out, b"there is room again\n"), 0);
}
