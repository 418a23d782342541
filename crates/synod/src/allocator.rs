//! The allocator of the binary: mimalloc, or, without that feature, the system's.
//!
//! What it is worth is in docs/BENCHMARKS.md.

/// Many small buffers live between two turns of the node.
#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Has memory that is freed given back to the system at once, not after a second: for processes that do
/// nothing but jobs, so that the resident memory is that of the job's budget. A node rather keeps it for what
/// comes next: a tenth of its puts would be lost.
pub fn give_back_at_once() {
    #[cfg(feature = "mimalloc")]
    mimalloc_option::set(mimalloc_option::PURGE_DELAY, 0);
}

#[cfg(feature = "mimalloc")]
#[expect(
    unsafe_code,
    reason = "two calls that take and give numbers; there is no safe interface for them"
)]
mod mimalloc_option {
    use libmimalloc_sys::{mi_option_set, mi_option_t};

    /// `mi_option_purge_delay` of `mimalloc.h`: for how many milliseconds freed memory is kept.
    pub const PURGE_DELAY: mi_option_t = 15;

    pub fn set(option: mi_option_t, value: i32) {
        // SAFETY: any thread may set an option at any time; a number that names none is refused.
        unsafe { mi_option_set(option, value.into()) };
    }

    #[cfg(test)]
    pub fn get(option: mi_option_t) -> i64 {
        // SAFETY: as above.
        unsafe { libmimalloc_sys::mi_option_get(option) }
    }
}

#[cfg(all(test, feature = "mimalloc"))]
mod tests {
    use super::*;

    #[test]
    fn the_option_is_the_one_that_is_meant() {
        if std::env::var_os("MIMALLOC_PURGE_DELAY").is_none() {
            assert_eq!(
                mimalloc_option::get(mimalloc_option::PURGE_DELAY),
                1_000,
                "another version?"
            );
        }
        give_back_at_once();
        assert_eq!(mimalloc_option::get(mimalloc_option::PURGE_DELAY), 0);
    }
}
