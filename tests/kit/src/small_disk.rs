//! A disk that a test can fill.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is written at a time while filling.
const CHUNK: [u8; 4096] = [0; 4096];

/// A file system in memory of a few MiB, mounted on a directory. Unmounted when this is dropped.
#[derive(Debug)]
pub struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// Mounts one on `dir`, or says on standard error why it cannot: then the test has nothing to do.
    ///
    /// # Panics
    /// If the directory cannot be made.
    #[expect(clippy::print_stderr, reason = "a test that checks nothing says so")]
    pub fn mount(dir: &Path, mebibytes: u32) -> Option<Self> {
        if !crate::is_root() {
            eprintln!("skipped: this needs root, to mount a small disk");
            return None;
        }
        fs::create_dir_all(dir).expect("a directory can be made");
        let size = format!("size={mebibytes}m,mode=700");
        let output = Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir).output();
        let refused = match output {
            Ok(output) if output.status.success() => return Some(Self { dir: dir.to_owned() }),
            Ok(output) => String::from_utf8_lossy(&output.stderr).into_owned(),
            Err(error) => error.to_string(),
        };
        eprintln!("skipped: this needs a small disk, and mounting one does not work here: {refused}");
        None
    }

    /// Writes a file until nothing more fits.
    ///
    /// # Panics
    /// If it cannot be made at all.
    pub fn fill(&self) {
        let mut file = File::create(self.ballast()).expect("an empty file fits");
        while file.write_all(&CHUNK).is_ok() {}
    }

    /// Deletes that file.
    ///
    /// # Panics
    /// If there is none.
    pub fn free(&self) {
        fs::remove_file(self.ballast()).expect("the disk was filled");
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: the process that uses it may still have to be ended.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}
