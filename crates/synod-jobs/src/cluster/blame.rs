//! Whose fault it is that a source of a reduce cannot be read.
//!
//! A map output that is unreadable where it lies is lost: it is made again, elsewhere if that can be, and the
//! reduce has not failed. So a good output must not be blamed for what is wrong with its reader: what the
//! reader lacks (file descriptors, memory, room), and a disk that does not give back the copy it was given,
//! are failures of the attempt. They count, and the next attempt is left to another machine.

use crate::cluster::names::TaskId;
use crate::cluster::records::UnreadableRecord;
use crate::cluster::shuffle::MapLocation;
use crate::error::JobError;
use crate::run::RunSource;
use std::sync::{Arc, Mutex, PoisonError};

/// What broke a merge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Culprit {
    /// A map output.
    Output(TaskId, UnreadableRecord),
    /// What this worker had fetched of one ahead.
    Ahead(MapLocation),
}

/// Where the bytes of a source come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReadFrom {
    /// The output itself.
    Output,
    /// What the attempt has fetched of it. Only the length was looked at, so damage may have been there
    /// before.
    Copy,
    /// What was fetched before the attempt began.
    Ahead,
}

/// The culprit, if there is one.
#[derive(Debug, Clone, Default)]
pub(super) struct Blame(Arc<Mutex<Option<Culprit>>>);

impl Blame {
    pub(super) fn take(&self) -> Option<Culprit> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// A source that tells whom to blame if it cannot be read.
    pub(super) fn source(
        &self,
        inner: Box<dyn RunSource>,
        from: &MapLocation,
        read_from: ReadFrom,
    ) -> BlamedSource {
        BlamedSource { inner, from: from.clone(), read_from, blame: self.clone() }
    }

    fn put(&self, culprit: Culprit) {
        // The first one: the others may follow from it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(culprit);
    }
}

/// A source that says whose fault it is if it cannot be read.
pub(super) struct BlamedSource {
    inner: Box<dyn RunSource>,
    from: MapLocation,
    read_from: ReadFrom,
    blame: Blame,
}

impl BlamedSource {
    /// `None`: the reader itself.
    fn culprit(&self, error: &JobError) -> Option<Culprit> {
        match (error, self.read_from) {
            (error, _) if error.is_lack() => None,
            (JobError::Io { .. }, ReadFrom::Copy) => None,
            (_, ReadFrom::Ahead) => Some(Culprit::Ahead(self.from.clone())),
            (_, ReadFrom::Output | ReadFrom::Copy) => {
                Some(Culprit::Output(self.from.map, self.from.report(&error.to_string())))
            }
        }
    }

    fn blame(&self, error: &JobError) {
        if let Some(culprit) = self.culprit(error) {
            self.blame.put(culprit);
        }
    }
}

impl RunSource for BlamedSource {
    fn next_block(&mut self, block: &mut Vec<u8>) -> Result<bool, JobError> {
        self.inner.next_block(block).inspect_err(|error| self.blame(error))
    }

    fn is_useless(&mut self, error: &JobError) {
        self.blame(error);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::writer::Section;
    use rustix::io::Errno;
    use std::io;
    use std::path::Path;

    /// Fails with the error that this makes.
    struct Failing<F>(F);

    impl<F: Fn() -> JobError + Send> RunSource for Failing<F> {
        fn next_block(&mut self, _: &mut Vec<u8>) -> Result<bool, JobError> {
            Err((self.0)())
        }
    }

    /// Who is to blame when this comes of a source of that kind.
    fn blamed(read_from: ReadFrom, error: impl Fn() -> JobError + Send + 'static) -> &'static str {
        let from = MapLocation {
            map: TaskId::map(3),
            attempt: 1,
            worker: "w2".parse().unwrap(),
            address: Some("elsewhere".to_owned()),
            file: None,
            section: Section { offset: 0, bytes: 9, pairs: 1 },
            index_crc32c: 0,
        };
        let blame = Blame::default();
        let mut source = blame.source(Box::new(Failing(error)), &from, read_from);
        source.next_block(&mut Vec::new()).unwrap_err();
        match blame.take() {
            Some(Culprit::Output(map, report)) => {
                assert_eq!((map, &report.worker), (from.map, &from.worker));
                "output"
            }
            Some(Culprit::Ahead(found)) => {
                assert_eq!(found, from);
                "ahead"
            }
            None => "reader",
        }
    }

    #[test]
    fn what_the_reader_lacks_is_nobody_elses_fault_and_neither_is_the_disk_under_its_own_copy() {
        use ReadFrom::{Ahead, Copy, Output};
        let io =
            |errno: Errno| move || JobError::io("open", Path::new("f"), io::Error::from(errno));
        for read_from in [Output, Copy, Ahead] {
            for lack in [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::NOSPC] {
                assert_eq!(blamed(read_from, io(lack)), "reader", "{read_from:?}: {lack}");
            }
        }
        let damaged = || JobError::DamagedRun { origin: "f".to_owned(), what: "checksum" };
        for errno in [Errno::IO, Errno::NOENT, Errno::ACCESS] {
            let of_each = [Output, Copy, Ahead].map(|read_from| blamed(read_from, io(errno)));
            assert_eq!(of_each, ["output", "reader", "ahead"], "{errno}");
        }
        let of_each = [Output, Copy, Ahead].map(|read_from| blamed(read_from, damaged));
        assert_eq!(of_each, ["output", "output", "ahead"]);
    }
}
