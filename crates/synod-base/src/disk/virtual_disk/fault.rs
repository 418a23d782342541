//! The faults a virtual disk can be told to have, and how often each struck.

/// A fault that strikes once, at the next call it fits.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DiskFault {
    /// The next creation or write fails with `ENOSPC`; of a write, a prefix may have been written.
    NoSpace,
    /// The next read fails with `EIO`.
    ReadError,
    /// The next write fails with `EIO`; nothing was written.
    WriteError,
    /// The next write fails with `EIO` after a part of it was written.
    TornWrite,
    /// The next sync, of a file or of a directory, fails with `EIO`; a file's un-synced writes are lost,
    /// and a later sync succeeds without them.
    SyncError,
    /// The next write reports success and does nothing.
    LostWrite,
    /// The next write lands at another sector of the same file.
    MisdirectedWrite,
}

/// How often each kind of fault has struck a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FaultCounts {
    /// Crashes.
    pub crashes: u64,
    /// Calls refused for lack of room, armed or by capacity.
    pub no_space: u64,
    /// Failed reads.
    pub read_errors: u64,
    /// Failed writes that wrote nothing.
    pub write_errors: u64,
    /// Failed writes that wrote a part.
    pub torn_writes: u64,
    /// Failed syncs.
    pub sync_errors: u64,
    /// Writes that silently did nothing.
    pub lost_writes: u64,
    /// Writes that landed elsewhere.
    pub misdirected_writes: u64,
    /// Changes at rest: flipped bits, zeroed ranges, truncations, old content.
    pub corruptions: u64,
}

impl FaultCounts {
    pub(super) fn count(&mut self, fault: DiskFault) {
        *match fault {
            DiskFault::NoSpace => &mut self.no_space,
            DiskFault::ReadError => &mut self.read_errors,
            DiskFault::WriteError => &mut self.write_errors,
            DiskFault::TornWrite => &mut self.torn_writes,
            DiskFault::SyncError => &mut self.sync_errors,
            DiskFault::LostWrite => &mut self.lost_writes,
            DiskFault::MisdirectedWrite => &mut self.misdirected_writes,
        } += 1;
    }
}
