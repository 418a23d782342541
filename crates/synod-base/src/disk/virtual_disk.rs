//! `VirtualDisk`: a disk in memory, driven by a seed.
