//! Commands over a directory of this machine, as `kubectl cp` calls them; and over none.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cap_std::ambient_authority;
use cap_std::fs::Dir;
use tar::EntryType::{self, Link, Regular, Symlink};
use wk_engine::{CpuLimits, MemoryBytes, Mounts, Room, Usage, Variables};
use wk_streams::relay::{self, Exec, Receiver};

use super::files::{Files, Mount};
use super::{Ended, Process, command, once};
use crate::spec::ContainerSpec;
use crate::streams::console::Console;

struct Ran {
    code: i32,
    out: Vec<u8>,
    err: String,
}

fn run(files: &Files, args: &[&str], input: &[u8]) -> Ran {
    let args: Vec<String> = args.iter().map(|arg| (*arg).to_owned()).collect();
    let env = [("A".to_owned(), "1".to_owned())];
    let (mut stdin, mut out, mut err) = (input, Vec::new(), Vec::new());
    let usage = &Usage::new(CpuLimits::BEST_EFFORT, MemoryBytes(0));
    let (stdin, stdout, stderr) = (&mut stdin, &mut out, &mut err);
    let mut process = Process { args: &args, env: &env, files, usage, step: &|| Ok(()), stdin, stdout, stderr };
    let code = command(&mut process).unwrap();
    Ran { code, out, err: String::from_utf8(err).unwrap() }
}

fn mounted(dir: &tempfile::TempDir, read_only: bool) -> Files {
    let dir = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
    Files::new(vec![Mount { path: PathBuf::from("/data/in"), dir: Arc::new(dir), read_only, room: None }])
}

#[test]
fn what_is_copied_in_can_be_copied_out_again() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(from.path().join("site/deep")).unwrap();
    let long = "n".repeat(180);
    fs::write(from.path().join("site/deep").join(&long), "hello").unwrap();
    fs::write(from.path().join("site/big"), vec![7; 200_000]).unwrap();
    let (there, here) = (mounted(&from, true), mounted(&to, false));
    let packed = run(&there, &["tar", "cf", "-", "/data/in/site"], b"");
    assert_eq!((packed.code, packed.err.as_str()), (0, ""));
    let unpacked = run(&here, &["tar", "-xmf", "-", "-C", "/"], &packed.out);
    assert_eq!((unpacked.code, unpacked.err.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(to.path().join("site/deep").join(&long)).unwrap(), "hello");
    assert_eq!(fs::read(to.path().join("site/big")).unwrap().len(), 200_000);
    let refused = run(&there, &["tar", "-xmf", "-", "-C", "/"], &packed.out);
    assert_eq!(refused.code, 2);
    assert!(refused.err.contains("Read-only file system"), "{}", refused.err);
}

#[test]
fn links_within_a_volume_are_copied_as_links() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::create_dir_all(from.path().join("site/deep")).unwrap();
    fs::write(from.path().join("site/file"), "hello").unwrap();
    let far = format!("../{}", "n".repeat(150));
    for (target, link) in [("../file", "deep/up"), ("deep", "here"), ("not/yet", "later"), (&far, "deep/far")] {
        std::os::unix::fs::symlink(target, from.path().join("site").join(link)).unwrap();
    }
    // Made on a machine, not by this tar: a link to a file is a link there too.
    let mut archive = tar::Builder::new(Vec::new());
    archive.follow_symlinks(false);
    archive.append_dir_all("data/in/site", from.path().join("site")).unwrap();
    let here = mounted(&to, false);
    // Twice: a link takes the place of another.
    let sent = archive.into_inner().unwrap();
    for _ in 0..2 {
        let unpacked = run(&here, &["tar", "-xmf", "-", "-C", "/"], &sent);
        assert_eq!((unpacked.code, unpacked.err.as_str()), (0, ""));
    }
    let link = |path: &str| fs::read_link(to.path().join("site").join(path)).unwrap();
    assert_eq!(
        [link("deep/up"), link("here"), link("later"), link("deep/far")],
        ["../file", "deep", "not/yet", &far].map(PathBuf::from)
    );

    let packed = run(&here, &["tar", "cf", "-", "/data/in/site"], b"");
    assert_eq!((packed.code, packed.err.as_str()), (0, ""));
    let mut archive = tar::Archive::new(&packed.out[..]);
    let kinds = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        (entry.path().unwrap().into_owned(), entry.header().entry_type())
    });
    let kinds: std::collections::BTreeMap<_, _> = kinds.collect();
    let kind = |name: &str| kinds[&PathBuf::from("data/in/site").join(name)];
    assert_eq!([kind("deep/up"), kind("here"), kind("later"), kind("deep/far")], [Regular, Symlink, Symlink, Symlink]);
}

#[test]
fn directories_of_a_volume_that_was_made_of_objects_are_copied() {
    let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // As the node makes them.
    fs::create_dir_all(from.path().join("..2026/conf")).unwrap();
    fs::write(from.path().join("..2026/conf/file"), "hello").unwrap();
    for (target, link) in [("..2026", "..data"), ("..data/conf", "conf"), ("../..data", "..2026/conf/round")] {
        std::os::unix::fs::symlink(target, from.path().join(link)).unwrap();
    }
    let packed = run(&mounted(&from, true), &["tar", "cf", "-", "/data/in"], b"");
    assert_eq!((packed.code, packed.err.as_str()), (0, ""));
    let unpacked = run(&mounted(&to, false), &["tar", "-xmf", "-", "-C", "/"], &packed.out);
    assert_eq!((unpacked.code, unpacked.err.as_str()), (0, ""));
    assert_eq!(fs::read_to_string(to.path().join("conf/file")).unwrap(), "hello");
    assert!(fs::symlink_metadata(to.path().join("conf/round")).unwrap().is_symlink(), "it is followed nowhere");
}

#[test]
fn a_copy_that_was_cut_off_goes_on_where_it_was() {
    let from = tempfile::tempdir().unwrap();
    fs::write(from.path().join("big"), vec![7; 200_000]).unwrap();
    let there = mounted(&from, true);
    let whole = run(&there, &["tar", "cf", "-", "/data/in/big"], b"").out;
    let rest = run(&there, &["sh", "-c", "tar cf - /data/in/big | tail -c+100001"], b"");
    assert_eq!((rest.code, rest.err.as_str(), rest.out == whole[100_000..]), (0, "", true));
    let all = run(&there, &["sh", "-c", "tar cf - /data/in/big | tail -c+1"], b"");
    assert!(all.out == whole);
    for other in ["ls /", "tar cf - /data/in/big | tail -c+x", "tar cf - /data/in/big; ls | tail -n+1"] {
        assert_eq!(run(&there, &["sh", "-c", other], b"").code, 127, "{other}");
    }
}

#[test]
fn no_archive_and_no_path_leads_out_of_a_mount() {
    let outside = tempfile::tempdir().unwrap();
    let inside = outside.path().join("inside");
    fs::create_dir(&inside).unwrap();
    fs::write(outside.path().join("secret"), "secret").unwrap();
    std::os::unix::fs::symlink("..", inside.join("up")).unwrap();
    std::os::unix::fs::symlink(outside.path(), inside.join("away")).unwrap();
    let dir = Dir::open_ambient_dir(&inside, ambient_authority()).unwrap();
    let files =
        Files::new(vec![Mount { path: PathBuf::from("/data"), dir: Arc::new(dir), read_only: false, room: None }]);

    let entry = |name: &str, kind: EntryType, target: &str| {
        let mut archive = tar::Builder::new(Vec::new());
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_size(if kind.is_file() { 4 } else { 0 });
        header.set_mode(0o644);
        header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
        header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        header.set_cksum();
        let contents: &[u8] = if kind.is_file() { b"evil" } else { b"" };
        archive.append(&header, contents).unwrap();
        archive.into_inner().unwrap()
    };
    for (name, kind, target) in [
        ("../secret", Regular, ""),
        ("a/../../secret", Regular, ""),
        ("up/secret", Regular, ""),
        ("away/secret", Regular, ""),
        ("link", Symlink, "../secret"),
        ("link", Link, "../secret"),
    ] {
        let ran = run(&files, &["tar", "xf", "-", "-C", "/data"], &entry(name, kind, target));
        assert_eq!(ran.code, 2, "{name}: {}", ran.err);
    }
    assert_eq!(fs::read_to_string(outside.path().join("secret")).unwrap(), "secret");
    assert!(!inside.join("link").exists());
    for path in ["/data/../secret", "/data/up/secret", "/data/away/secret", "/secret"] {
        assert_eq!(run(&files, &["cat", path], b"").code, 1, "{path}");
        assert_eq!(run(&files, &["test", "-e", path], b"").code, 1, "{path}");
    }
    let packed = run(&files, &["tar", "cf", "-", "/data"], b"");
    assert!(packed.err.contains("data/up: left out") && packed.err.contains("data/away: left out"), "{}", packed.err);
}

#[test]
fn names_of_any_length_do_not_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(1 << 20);
    header.set_cksum();
    archive.append(&header, &vec![b'a'; 1 << 20][..]).unwrap();
    let ran = run(&mounted(&dir, false), &["tar", "xf", "-", "-C", "/data/in"], &archive.into_inner().unwrap());
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("too long"), "{}", ran.err);
}

#[test]
fn a_pod_without_volumes_says_so() {
    let none = Files::default();
    let packed = run(&none, &["tar", "cf", "-", "/etc/passwd"], b"");
    assert_eq!(packed.code, 2);
    let expected = "tar: /etc/passwd: No such file or directory: this pod has no volumes\n";
    assert!(packed.err.starts_with(expected), "{}", packed.err);
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_size(2);
    archive.append_data(&mut header, "x", &b"hi"[..]).unwrap();
    let unpacked = run(&none, &["tar", "-xmf", "-", "-C", "/tmp"], &archive.into_inner().unwrap());
    assert!(
        unpacked.err.starts_with("tar: x: No such file or directory: this pod has no volumes\n"),
        "{}",
        unpacked.err
    );
    assert_eq!(unpacked.code, 2);
    assert_eq!(run(&none, &["test", "-d", "/tmp"], b"").code, 1);
    assert_eq!(run(&none, &["ls"], b"").out, b"");
}

#[test]
fn small_commands_answer_and_others_say_what_works() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("a.txt"), "text").unwrap();
    fs::create_dir(dir.path().join("sub")).unwrap();
    let files = mounted(&dir, false);
    assert_eq!(run(&files, &["ls", "/"], b"").out, b"data\n");
    assert_eq!(run(&files, &["ls", "/data/in"], b"").out, b"a.txt\nsub\n");
    assert_eq!(run(&files, &["cat", "/data/in/a.txt", "-"], b" more").out, b"text more");
    assert_eq!(run(&files, &["env"], b"").out, b"A=1\n");
    assert_eq!(run(&files, &["printenv", "A"], b"").out, b"1\n");
    for (args, code) in [
        (&["test", "-d", "/data"][..], 0),
        (&["test", "-d", "/data/in/sub"], 0),
        (&["test", "-d", "/data/in/a.txt"], 1),
        (&["[", "-f", "/data/in/a.txt", "]"], 0),
        (&["test", "-x", "/"], 2),
        (&["tar", "czf", "-", "/data"], 2),
        (&["tar"], 2),
    ] {
        assert_eq!(run(&files, args, b"").code, code, "{args:?}");
    }
    let shell = run(&files, &["/bin/sh", "-c", "ls"], b"");
    assert_eq!(shell.code, 127);
    assert!(shell.err.contains("no shell") && shell.err.contains("cat, env, ls, tar and test"), "{}", shell.err);
}

/// An archive of one entry with any name.
fn archive_of(name: &str, kind: EntryType) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(EntryType::GNULongName);
    header.set_size(name.len() as u64);
    header.set_cksum();
    archive.append(&header, name.as_bytes()).unwrap();
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_size(0);
    header.set_cksum();
    archive.append(&header, std::io::empty()).unwrap();
    archive.into_inner().unwrap()
}

#[test]
fn each_directory_of_an_archive_takes_room_and_they_are_no_deeper_than_what_is_measured() {
    let dir = tempfile::tempdir().unwrap();
    let room = Room::of(dir.path(), 16 * 4096).unwrap();
    let open = Dir::open_ambient_dir(dir.path(), ambient_authority()).unwrap();
    let mount = |room| Mount { path: "/data".into(), dir: Arc::new(open.try_clone().unwrap()), read_only: false, room };
    let limited = Files::new(vec![mount(Some(room))]);
    let tar = ["tar", "xf", "-", "-C", "/data"];
    for kind in [Regular, EntryType::Directory] {
        let ran = run(&limited, &tar, &archive_of(&"d/".repeat(100), kind));
        assert!(ran.code == 2 && ran.err.contains("No space left"), "{}", ran.err);
        assert!(!dir.path().join("d/".repeat(17)).exists());
    }
    let free = Files::new(vec![mount(None)]);
    let ran = run(&free, &tar, &archive_of(&"e/".repeat(128), EntryType::Directory));
    assert!(ran.code == 2 && ran.err.contains("too many directories"), "{}", ran.err);
    assert_eq!(run(&free, &tar, &archive_of(&"e/".repeat(127), EntryType::Directory)).code, 0);
    assert!(dir.path().join("e/".repeat(127)).exists());
    wk_engine::measure(dir.path()).unwrap();
}

#[test]
fn names_of_a_large_directory_are_all_listed() {
    let dir = tempfile::tempdir().unwrap();
    let first = dir.path().join("00000");
    fs::write(&first, "").unwrap();
    for number in 1..12_000 {
        fs::hard_link(&first, dir.path().join(format!("{number:05}"))).unwrap();
    }
    let ran = run(&mounted(&dir, true), &["ls", "/data/in"], b"");
    let mut names: Vec<&str> = str::from_utf8(&ran.out).unwrap().lines().collect();
    assert!(names[..10_000].is_sorted());
    names.sort_unstable();
    assert!(ran.code == 0 && names.len() == 12_000 && names[11_999] == "11999", "{}", names.len());
}

/// A container with a file of hours of reading, and no byte on the disk.
fn endless(dir: &tempfile::TempDir, cpu: CpuLimits) -> Arc<Console> {
    fs::File::create(dir.path().join("endless")).unwrap().set_len(8 << 40).unwrap();
    let (path, root) = ("/data".to_owned(), dir.path().to_owned());
    let mount = wk_engine::Mount { path, root, below: PathBuf::new(), read_only: true, limit: None, late: false };
    let (mounts, usage) = (Mounts::new(vec![mount]).unwrap(), Usage::new(cpu, MemoryBytes(0)));
    Console::new(&ContainerSpec::default(), Variables::default(), mounts, &usage).0
}

#[tokio::test]
async fn command_of_a_probe_is_short_and_its_container_pays_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let console = endless(&dir, CpuLimits { quota: Some(10), ..CpuLimits::BEST_EFFORT });
    let command = ["cat".to_owned(), "/data/endless".to_owned()];
    let ended = once(&console, &command, 100).await;
    let Ended::Code(1, text) = &ended else { panic!("{ended:?}") };
    assert!(text.contains("more work"), "{text}");
    assert!(console.usage.used().cpu > Duration::from_millis(1), "{:?}", console.usage.used());
    let test = ["test", "-e", "/data"].map(str::to_owned);
    let next = tokio::time::timeout(Duration::from_millis(50), once(&console, &test, 100)).await;
    assert!(next.is_err(), "it has used up more than its quota, and earns a hundredth of a core");
}

#[tokio::test(flavor = "multi_thread")]
async fn command_of_a_client_keeps_to_the_quota_and_leaves_with_its_client() {
    let dir = tempfile::tempdir().unwrap();
    let console = endless(&dir, CpuLimits { quota: Some(10), ..CpuLimits::BEST_EFFORT });
    // What it prints goes nowhere.
    let wanted = Exec { command: vec!["cat".to_owned(), "/data/endless".to_owned()], ..Exec::default() };
    let (place, (client, input), (sender, output)) = (Arc::new(()), relay::channel(), relay::channel());
    let kept = Arc::clone(&place);
    let running = tokio::spawn(async move {
        super::run(&console, wanted, kept, Receiver::new(input), &sender).await;
        console.usage.used().cpu
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    drop((client, output));
    let used = running.await.unwrap();
    assert!(used > Duration::ZERO && used < Duration::from_millis(100), "{used:?}");
    let begun = Instant::now();
    while Arc::strong_count(&place) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(10), "its thread goes on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
