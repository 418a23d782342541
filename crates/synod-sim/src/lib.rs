//! Synod: synod-sim.
