//! Child processes that this one did not start: those of the version of this node that went on as this one. They have lost
//! their node with that and end, and somebody has to take note, or their names stay in the machine's table of processes.

use std::thread::JoinHandle;

use rustix::process::{Pid, WaitOptions, waitpid};

/// Waits for those that are there, in the background. Called before this process starts any of its own.
pub(crate) fn take_note() {
    let left = children();
    if !left.is_empty() {
        drop(wait_for(left));
    }
}

/// The children of this process; none where the kernel does not tell.
fn children() -> Vec<Pid> {
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let of_threads = threads.filter_map(|thread| std::fs::read_to_string(thread.path().join("children")).ok());
    let all: Vec<String> = of_threads.collect();
    let pids = all.iter().flat_map(|text| text.split_whitespace());
    pids.filter_map(|pid| Pid::from_raw(pid.parse().ok()?)).collect()
}

fn wait_for(children: Vec<Pid>) -> Option<JoinHandle<()>> {
    let wait = move || {
        for child in children {
            // One that is not this process' any more has been taken note of.
            let _ = waitpid(Some(child), WaitOptions::empty());
        }
    };
    std::thread::Builder::new().name("wk-children".to_owned()).spawn(wait).ok()
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::test_kill_process;

    use super::*;

    #[test]
    fn children_of_the_version_before_do_not_stay_as_zombies() {
        let child = Command::new("true").spawn().unwrap();
        let pid = Pid::from_raw(child.id().cast_signed()).unwrap();
        // As a program that was replaced leaves it: nobody waits for it.
        drop(child);
        assert!(children().contains(&pid));
        wait_for(vec![pid]).unwrap().join().unwrap();
        assert!(test_kill_process(pid).is_err() && !children().contains(&pid));
    }
}
