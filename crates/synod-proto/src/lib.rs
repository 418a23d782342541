//! Synod: synod-proto.
