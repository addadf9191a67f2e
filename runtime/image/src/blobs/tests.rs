//! What is kept, and that nothing else is.

use std::fs;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;
use tokio::sync::mpsc;
use wk_base::body::{BoxError, boxed};

use super::*;

const LIMIT: u64 = 1024;

fn blobs() -> (tempfile::TempDir, Blobs) {
    let dir = tempfile::tempdir().expect("a directory");
    let blobs = Blobs::open(dir.path()).expect("a store");
    (dir, blobs)
}

/// A body of these pieces.
fn pieces(pieces: Vec<Result<Bytes, BoxError>>) -> Body {
    boxed(StreamBody::new(futures::stream::iter(pieces.into_iter().map(|piece| piece.map(Frame::data)))))
}

/// Every file below a directory.
fn files(dir: &Path) -> usize {
    let entries = fs::read_dir(dir).expect("a directory").map(|entry| entry.expect("an entry").path());
    entries.map(|path| if path.is_dir() { files(&path) } else { 1 }).sum()
}

async fn content(blobs: &Blobs, digest: &Digest) -> Option<Bytes> {
    let blob = blobs.get(digest).await.expect("readable")?;
    Some(blob.into_body().collect().await.expect("a body").to_bytes())
}

#[tokio::test]
async fn what_is_put_is_there_also_after_a_restart() {
    let (dir, blobs) = blobs();
    let digest = Digest::of(b"hello world");
    assert!(!blobs.has(&digest) && content(&blobs, &digest).await.is_none());
    let body = pieces(vec![Ok("hello ".into()), Ok(Bytes::new()), Ok("world".into())]);
    assert_eq!(blobs.put(&digest, body, LIMIT).await.expect("kept"), 11);
    assert_eq!(content(&blobs, &digest).await.expect("there"), "hello world");

    let again = Blobs::open(dir.path()).expect("the same store");
    assert!(again.has(&digest));
    assert_eq!(again.list().expect("a list"), BTreeMap::from([(digest, 11)]));
    let blob = again.get(&digest).await.expect("readable").expect("there");
    assert_eq!(blob.size(), 11);
    assert!(blob.bytes(10).await.expect("readable").is_none(), "more than the limit");
    assert!(again.remove(&digest).expect("removable"));
    assert!(!again.remove(&digest).expect("gone") && !again.has(&digest));
}

#[tokio::test]
async fn nothing_stays_of_a_blob_that_is_wrong_too_large_or_cut_off() {
    let (dir, blobs) = blobs();
    let digest = Digest::of(b"right");
    let wrong = blobs.put(&digest, pieces(vec![Ok("wrong".into())]), LIMIT).await;
    assert!(matches!(wrong, Err(BlobError::Mismatch { found, .. }) if found == Digest::of(b"wrong")));

    let known_size = blobs.put(&digest, full(vec![0; 1025]), LIMIT).await;
    assert!(matches!(known_size, Err(BlobError::TooLarge { limit: LIMIT, .. })));
    let endless = futures::stream::repeat_with(|| Ok::<_, BoxError>(Frame::data(Bytes::from_static(b"endless"))));
    let unknown_size = blobs.put(&digest, boxed(StreamBody::new(endless)), LIMIT).await;
    assert!(matches!(unknown_size, Err(BlobError::TooLarge { limit: LIMIT, .. })));

    let cut = blobs.put(&digest, pieces(vec![Ok("rig".into()), Err("connection reset".into())]), LIMIT).await;
    assert!(matches!(cut, Err(BlobError::Receive { .. })));
    assert_eq!(files(dir.path()), 0);
}

#[tokio::test]
async fn an_abandoned_put_leaves_nothing_and_neither_does_a_killed_process() {
    let (dir, blobs) = blobs();
    let digest = Digest::of(b"never finished");
    let (feed, fed) = mpsc::channel::<Bytes>(1);
    let frames = futures::stream::unfold(fed, |mut fed| async move {
        fed.recv().await.map(|bytes| (Ok::<_, BoxError>(Frame::data(bytes)), fed))
    });
    let putting = tokio::spawn({
        let blobs = blobs.clone();
        async move { blobs.put(&digest, boxed(StreamBody::new(frames)), LIMIT).await }
    });
    feed.send("never".into()).await.expect("taken");
    feed.send("".into()).await.expect("taken, so the first piece is being written");
    assert_eq!(files(dir.path()), 1);
    putting.abort();
    assert!(putting.await.expect_err("aborted").is_cancelled());
    assert_eq!(files(dir.path()), 0);

    fs::write(dir.path().join("temporary/left-over"), "half").expect("written");
    Blobs::open(dir.path()).expect("a store");
    assert_eq!(files(dir.path()), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_may_put_the_same_blob_at_once() {
    let (dir, blobs) = blobs();
    let bytes = Bytes::from(vec![7; 300_000]);
    let digest = Digest::of(&bytes);
    let puts = (0..16).map(|_| {
        let (blobs, bytes) = (blobs.clone(), bytes.clone());
        tokio::spawn(async move {
            let body = pieces(bytes.chunks(10_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect());
            blobs.put(&digest, body, 300_000).await
        })
    });
    for put in futures::future::join_all(puts).await {
        assert_eq!(put.expect("no panic").expect("kept"), 300_000);
    }
    assert_eq!(content(&blobs, &digest).await.expect("there"), bytes);
    assert_eq!(files(dir.path()), 1);
}

#[tokio::test]
async fn a_rotten_blob_is_not_handed_out_and_can_be_put_again() {
    let (dir, blobs) = blobs();
    let digest = blobs.put_bytes("sound").await.expect("kept");
    fs::write(blobs.path(&digest), "rotten").expect("written");
    let after_restart = Blobs::open(dir.path()).expect("a store");
    assert!(content(&after_restart, &digest).await.is_none());
    assert_eq!(files(dir.path()), 0);
    after_restart.put_bytes("sound").await.expect("kept again");
    assert_eq!(content(&after_restart, &digest).await.expect("there"), "sound");
}

#[tokio::test]
async fn foreign_files_are_not_listed() {
    let (dir, blobs) = blobs();
    fs::write(dir.path().join("sha256/README"), "?").expect("written");
    let digest = blobs.put_bytes("x").await.expect("kept");
    assert_eq!(blobs.list().expect("a list"), BTreeMap::from([(digest, 1)]));
}
