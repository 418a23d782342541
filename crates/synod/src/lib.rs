//! The Synod library.
