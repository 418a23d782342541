//! Synod: synod-jobs.
