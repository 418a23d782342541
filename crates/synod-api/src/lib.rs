//! Synod: synod-api.
