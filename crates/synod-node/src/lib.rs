//! Synod: synod-node.
