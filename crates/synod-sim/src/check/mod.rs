//! The checkers: one file per property. Each takes what was seen and returns every broken promise.
//!
//! [`model`] is the naive store that `writes` and `order` judge by; `linear` deliberately does
//! without it and without revisions, so that a mistake in one is caught by the other.

mod all;
pub mod leases;
pub mod linear;
pub mod model;
pub mod order;
pub mod watches;
pub mod writes;

#[cfg(test)]
mod story;

pub use all::{everything, everything_watched};
