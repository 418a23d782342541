//! Synod: synod-server.
