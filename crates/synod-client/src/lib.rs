//! Synod: synod-client.
