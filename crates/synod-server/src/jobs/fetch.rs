//! Fetches map outputs from other workers: HTTP/1.1 over blocking sockets, on the task's own thread.
//!
//! Everything the other side says is compared with what its record promised: the length first, and
//! the checksum of each block when it is merged. Every wait has a limit. What this process lacks to ask, file
//! descriptors, say, is not the other side's fault.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use synod_jobs::Progress;
use synod_jobs::cluster::JobId;
use synod_jobs::cluster::shuffle::{Fetch, FetchError, MapLocation};
use synod_jobs::error::is_lack;
use synod_jobs::run::writer::Section;

use super::ahead::Ahead;
use super::serve::path_of;

type Connection = BufReader<TcpStream>;

/// What an attempt fetches with.
#[derive(Debug, Default)]
pub(super) struct HttpFetch {
    connections: Connections,
    ahead: Ahead,
}

/// Connections that can be used again, one per worker.
#[derive(Debug, Default)]
pub(super) struct Connections {
    idle: Mutex<BTreeMap<String, Connection>>,
}

/// How one try went wrong.
enum TryError {
    /// The other side may do better in a moment, or over a new connection.
    Passing(String),
    /// It has answered, and will answer the same again.
    Lasting(String),
    /// Some bytes were handed on already, or could not be, or nobody could be asked.
    Spoilt(FetchError),
}

impl TryError {
    /// Of an error of a socket.
    fn of(what: &str, error: io::Error) -> TryError {
        match is_lack(&error) {
            true => TryError::Spoilt(FetchError::Local(error)),
            false => TryError::Passing(format!("{what}: {error}")),
        }
    }
}

impl HttpFetch {
    /// With what the worker has fetched ahead.
    pub(super) fn new(ahead: Ahead) -> HttpFetch {
        HttpFetch { connections: Connections::default(), ahead }
    }
}

impl Fetch for HttpFetch {
    fn fetch(
        &self,
        job: &JobId,
        partition: u32,
        from: &MapLocation,
        into: &mut dyn Write,
    ) -> Result<(), FetchError> {
        let address = from.address.as_deref().unwrap_or_default();
        let path = path_of(job, from.map, from.attempt, partition);
        self.connections.get(address, &path, from.section.bytes, into)
    }

    fn ahead(
        &self,
        job: &JobId,
        partition: u32,
        from: &MapLocation,
        progress: &Progress,
    ) -> Option<(PathBuf, Section)> {
        let output = (from.map, from.attempt);
        let (path, begin) = self.ahead.find(job, output, partition, progress)?;
        let offset = from.section.offset.checked_sub(begin)?;
        Some((path, Section { offset, ..from.section }))
    }

    fn forget(&self, job: &JobId, from: &MapLocation) {
        self.ahead.forget(job, (from.map, from.attempt));
    }
}

impl Connections {
    /// Writes what a worker has at a path to `into`: so many bytes, or none of use.
    pub(super) fn get(
        &self,
        address: &str,
        path: &str,
        bytes: u64,
        into: &mut dyn Write,
    ) -> Result<(), FetchError> {
        let mut tries = 0;
        loop {
            let idle = lock(&self.idle).remove(address);
            let fresh = idle.is_none();
            let tried = idle
                .map_or_else(|| connect(address), Ok)
                .and_then(|connection| get(connection, path, bytes, into));
            match tried {
                Ok(connection) => {
                    lock(&self.idle).insert(address.to_owned(), connection);
                    return Ok(());
                }
                Err(TryError::Spoilt(error)) => return Err(error),
                Err(TryError::Lasting(why)) => return Err(FetchError::Unreadable(why)),
                // An idle connection may have been closed by the other side.
                Err(TryError::Passing(_)) if !fresh => {}
                Err(TryError::Passing(why)) => {
                    // No pause: a worker that is busy keeps its readers waiting itself.
                    tries += 1;
                    if tries == TRIES {
                        return Err(FetchError::Unreadable(why));
                    }
                }
            }
        }
    }
}

fn connect(address: &str) -> Result<Connection, TryError> {
    let failed = |error| TryError::of(&format!("cannot reach {address}"), error);
    let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
    for address in address.to_socket_addrs().map_err(failed)? {
        let opened = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT).and_then(|stream| {
            stream.set_nodelay(true)?;
            stream.set_read_timeout(Some(READ_TIMEOUT))?;
            stream.set_write_timeout(Some(READ_TIMEOUT))?;
            Ok(stream)
        });
        match opened {
            Ok(stream) => return Ok(BufReader::with_capacity(BUFFER_BYTES, stream)),
            Err(error) => last = error,
        }
    }
    Err(failed(last))
}

/// One request; gives the connection back if it can be used again.
fn get(
    mut connection: Connection,
    path: &str,
    bytes: u64,
    into: &mut dyn Write,
) -> Result<Connection, TryError> {
    let passing = |error| TryError::of("connection lost", error);
    let request = format!("GET {path} HTTP/1.1\r\nhost: worker\r\n\r\n");
    connection.get_mut().write_all(request.as_bytes()).map_err(passing)?;
    let head = read_head(&mut connection).map_err(passing)?;
    match head.status {
        200 => {}
        status @ 500.. => return Err(TryError::Passing(format!("status {status}"))),
        status => return Err(TryError::Lasting(format!("status {status}"))),
    }
    if head.content_length != Some(bytes) {
        let found = head.content_length.unwrap_or_default();
        return Err(TryError::Lasting(format!("it has {found} bytes instead of {bytes}")));
    }
    let mut left = bytes;
    while left > 0 {
        let read = connection.fill_buf().and_then(|buffer| match buffer.len() {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(buffer),
        });
        let piece = read.map_err(|error| {
            TryError::Spoilt(match is_lack(&error) {
                true => FetchError::Local(error),
                false => FetchError::Unreadable(format!("it broke off: {error}")),
            })
        })?;
        let take = piece.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        into.write_all(&piece[..take]).map_err(|e| TryError::Spoilt(FetchError::Local(e)))?;
        connection.consume(take);
        left -= take as u64;
    }
    Ok(connection)
}

struct Head {
    status: u16,
    content_length: Option<u64>,
}

fn read_head(connection: &mut Connection) -> io::Result<Head> {
    let odd = |what: &str| io::Error::new(io::ErrorKind::InvalidData, what.to_owned());
    let mut head = connection.by_ref().take(MAX_HEAD_BYTES);
    let mut line = String::new();
    head.read_line(&mut line)?;
    if line.is_empty() {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let status = line.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    let status = status.ok_or_else(|| odd("not an HTTP/1.1 answer"))?;
    let mut content_length = None;
    loop {
        line.clear();
        head.read_line(&mut line)?;
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                content_length = value.trim().parse().ok();
            }
            Some(_) => {}
            None if line == "\r\n" => return Ok(Head { status, content_length }),
            None => return Err(odd("its headers do not end")),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Without a byte for so long, the other side is gone.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(20);
/// Over new connections.
const TRIES: u32 = 3;
const BUFFER_BYTES: usize = 256 << 10;
const MAX_HEAD_BYTES: u64 = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::net::TcpListener;
    use synod_jobs::cluster::TaskId;

    /// What fetching five bytes gives from a worker that answers with these texts, one after the other.
    fn fetched(answers: Vec<&'static str>) -> Result<Vec<u8>, String> {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = std::thread::spawn(move || {
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                assert_eq!(line, "GET /jobs/v1/a-1/map/m000004/2?partitions=7-7 HTTP/1.1\r\n");
                stream.write_all(answer.as_bytes()).unwrap();
            }
        });
        let from = MapLocation {
            map: TaskId::map(4),
            attempt: 2,
            worker: "w".parse().unwrap(),
            address: Some(address),
            file: None,
            section: Section { offset: 0, bytes: 5, pairs: 1 },
            index_crc32c: 0,
        };
        let mut bytes = Vec::new();
        let result = HttpFetch::default().fetch(&"a-1".parse().unwrap(), 7, &from, &mut bytes);
        server.join().unwrap();
        match result {
            Ok(()) => Ok(bytes),
            Err(FetchError::Unreadable(why)) => Err(why),
            Err(FetchError::Local(error)) => panic!("{error}"),
        }
    }

    #[test]
    fn a_section_comes_whole_or_not_at_all() {
        let good = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(fetched(vec![good]), Ok(b"hello".to_vec()));
        let busy = "HTTP/1.1 503 busy\r\ncontent-length: 0\r\n\r\n";
        assert_eq!(fetched(vec![busy, good]), Ok(b"hello".to_vec()));
        for (answer, why) in [
            ("HTTP/1.1 404 no\r\ncontent-length: 0\r\n\r\n", "404"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nhell", "instead of 5"),
            ("HTTP/1.1 200 OK\r\n\r\nhello", "instead of 5"),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel", "broke off"),
        ] {
            let error = fetched(vec![answer]).unwrap_err();
            assert!(error.contains(why), "{answer}: {error}");
        }
    }

    #[test]
    fn what_this_process_lacks_to_ask_is_not_the_fault_of_whom_it_wants_to_ask() {
        let of = |error: Errno| TryError::of("cannot reach w2", error.into());
        for lack in [Errno::MFILE, Errno::NFILE, Errno::NOBUFS] {
            assert!(matches!(of(lack), TryError::Spoilt(FetchError::Local(_))), "{lack}");
        }
        for theirs in [Errno::CONNREFUSED, Errno::TIMEDOUT] {
            assert!(matches!(of(theirs), TryError::Passing(_)), "{theirs}");
        }
    }

    #[test]
    fn nonsense_and_silence_are_given_up_after_three_tries() {
        let nonsense = "SSH-2.0\r\n";
        assert!(fetched(vec![nonsense; 3]).is_err());
        assert!(fetched(vec![""; 3]).is_err());
    }
}
