//! How many files this process may have open: as many as it may have without asking anybody.
//!
//! What a login gives (1,024 often) is meant for programs that use `select`. A node has connections, its
//! store and the merges of its tasks, so commands that work raise their own limit at the start. Merges take
//! no more than their part of whatever it is then.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// More is not taken: programs that a job runs have the same limit, and some close every file that they
/// might have open.
const ENOUGH: u64 = 1 << 16;

/// Raises this process's own limit. Without that it works too, with what it has.
pub fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    if let Some(raised) = raised(limit) {
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

/// The limit that is better than this one, if one is.
fn raised(limit: Rlimit) -> Option<Rlimit> {
    let wanted = limit.maximum.map_or(ENOUGH, |maximum| maximum.min(ENOUGH));
    let is_low = limit.current.is_some_and(|current| current < wanted);
    is_low.then_some(Rlimit { current: Some(wanted), ..limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_as_far_as_it_may_be_and_never_lowered() {
        let raised = |current, maximum| raised(Rlimit { current, maximum }).map(|to| to.current);
        assert_eq!(raised(Some(1024), Some(4096)), Some(Some(4096)));
        assert_eq!(raised(Some(1024), Some(1 << 30)), Some(Some(ENOUGH)));
        assert_eq!(raised(Some(1024), None), Some(Some(ENOUGH)));
        assert_eq!(raised(Some(64), Some(64)), None);
        assert_eq!(raised(Some(1 << 20), Some(1 << 20)), None);
        assert_eq!(raised(None, None), None);
    }
}
