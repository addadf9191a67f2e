//! Files of 0.3, by the rules of `files.rs`, and directories whose content is made when a guest looks into them.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;
use wk_engine::{Exit, Fill, Mount, Mounts, Sandbox, disk_use};

use crate::kit::{Kit, io, sandbox};

fn mount(path: &str, root: &Path, read_only: bool, limit: Option<u64>) -> Mount {
    Mount { path: path.into(), root: root.into(), below: "".into(), read_only, limit, late: false }
}

async fn run(kit: &Kit, mounts: Mounts, words: &[&str]) -> String {
    let prepared = kit.prepare(&io()).await;
    let (sandbox, output) = sandbox();
    let args = std::iter::once("io").chain(words.iter().copied()).map(ToOwned::to_owned).collect();
    let exit = kit.engine.run(&prepared, Sandbox { args, mounts, ..sandbox }, CancellationToken::new()).await;
    assert_eq!(exit, Exit::Code(0), "{words:?}: {}", output.err());
    output.out().trim_end().to_owned()
}

#[tokio::test]
async fn files_of_0_3_are_read_and_written_where_they_may_be() {
    let (kit, dir) = (Kit::new(), tempfile::tempdir().expect("temporary directory"));
    let limited = || Mounts::new(vec![mount("/data", dir.path(), false, Some(1 << 20))]).expect("opens");
    assert_eq!(run(&kit, limited(), &["write", "/data/a", "100000"]).await, "100000 bytes");
    assert_eq!(run(&kit, limited(), &["append", "/data/b", "one"]).await, "3 bytes");
    assert_eq!(run(&kit, limited(), &["append", "/data/b", ",two"]).await, "7 bytes");
    assert_eq!(run(&kit, limited(), &["read", "/data/b"]).await, "one,two");
    assert_eq!(run(&kit, limited(), &["make", "/data/d"]).await, "made");
    let entries = "a:DescriptorType::RegularFile b:DescriptorType::RegularFile d:DescriptorType::Directory";
    assert_eq!(run(&kit, limited(), &["list", "/data"]).await, entries);

    let read_only = || Mounts::new(vec![mount("/data", dir.path(), true, None)]).expect("opens");
    assert_eq!(run(&kit, read_only(), &["read", "/data/b"]).await, "one,two");
    for words in [&["append", "/data/b", "x"][..], &["make", "/data/e"], &["remove", "/data/b"]] {
        let said = run(&kit, read_only(), words).await;
        assert!(said.contains("NotPermitted") || said.contains("ReadOnly"), "{words:?}: {said}");
    }
    std::os::unix::fs::symlink("/etc", dir.path().join("out")).expect("links");
    for path in ["/data/../secret", "/data/out/passwd", "/data/d/../../x"] {
        let said = run(&kit, limited(), &["read", path]).await;
        assert!(said.starts_with("error "), "{path}: {said}");
    }
    assert_eq!(fs::read_to_string(dir.path().join("b")).expect("is there"), "one,two");
}

#[tokio::test]
async fn what_0_3_writes_counts_against_the_limit_and_keeps_to_its_directory() {
    const LIMIT: u64 = 1 << 20;
    let (kit, dir) = (Kit::new(), tempfile::tempdir().expect("temporary directory"));
    let other = tempfile::tempdir().expect("temporary directory");
    let mounts = Mounts::new(vec![
        mount("/data", dir.path(), false, Some(LIMIT)),
        mount("/other", other.path(), false, Some(LIMIT)),
    ]);
    let mounts = mounts.expect("opens");
    let said = run(&kit, mounts.clone(), &["write", "/data/full", "2000000"]).await;
    assert_eq!(said, "error ErrorCode::InsufficientSpace");
    let length = fs::metadata(dir.path().join("full")).expect("is there").len();
    assert!(length <= LIMIT && length > LIMIT / 2, "{length}");
    assert!(disk_use(dir.path()).expect("is counted").refused);
    let said = run(&kit, mounts.clone(), &["size", "/other/hole", "2147483648"]).await;
    assert!(said.contains("InsufficientSpace"), "{said}");
    let said = run(&kit, mounts, &["move", "/data/full", "/other/full"]).await;
    assert!(said.contains("CrossDevice"), "{said}");
}

/// wasmtime's own streams of entries hold a thread each until they are read; there are 512 for all pods.
#[tokio::test]
async fn entries_that_nobody_reads_hold_no_thread() {
    let (kit, dir) = (Kit::new(), tempfile::tempdir().expect("temporary directory"));
    for name in 0..200 {
        fs::write(dir.path().join(name.to_string()), "").expect("writes");
    }
    let mounts = Mounts::new(vec![mount("/data", dir.path(), true, None)]).expect("opens");
    assert_eq!(run(&kit, mounts, &["hoard", "/data", "600"]).await, "600 directories");
}

/// Makes one file, and counts how often it was asked to.
#[derive(Default)]
struct Once(AtomicUsize);

#[async_trait]
impl Fill for Once {
    async fn fill(&self, mount: &Mount) -> std::io::Result<()> {
        self.0.fetch_add(1, Ordering::SeqCst);
        fs::write(mount.root.join("token"), "made late")
    }
}

#[tokio::test]
async fn late_files_are_made_when_a_guest_looks_and_not_before() {
    let (kit, top) = (Kit::new(), tempfile::tempdir().expect("temporary directory"));
    let early = tempfile::tempdir().expect("temporary directory");
    fs::write(early.path().join("a"), "early").expect("writes");
    let fill = Arc::new(Once::default());
    let late = || {
        let late = Mount { late: true, ..mount("/late", &top.path().join("volume"), true, None) };
        let mounts = vec![late, mount("/early", early.path(), true, None)];
        Mounts::with_late(mounts, Some(Arc::clone(&fill) as Arc<dyn Fill>)).expect("opens")
    };
    assert_eq!(run(&kit, late(), &["read", "/early/a"]).await, "early");
    assert_eq!(fill.0.load(Ordering::SeqCst), 0, "it did not look");
    assert_eq!(run(&kit, late(), &["read", "/late/token"]).await, "made late");
    assert_eq!(fill.0.load(Ordering::SeqCst), 1);
    assert_eq!(run(&kit, late(), &["list", "/late"]).await, "token:DescriptorType::RegularFile");
    late().fill().await.expect("fills");
    assert_eq!(fill.0.load(Ordering::SeqCst), 3);
}
