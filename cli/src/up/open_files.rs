//! How many files a node may have open: each container that prints has its log, each connection is one or two.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Takes as many as the machine lets this process have, in place of the thousand that programs of old could handle.
pub(super) fn take_all() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files stays as it is");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_of_open_files_is_raised_to_what_is_allowed() {
        take_all();
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        assert_eq!(current, maximum);
    }
}
