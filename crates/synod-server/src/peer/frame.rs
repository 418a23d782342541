//! Frames: length, checksum, body. Written into a connection's buffer, read out of one.

use bytes::{Buf, Bytes, BytesMut};
use synod_base::checksum::crc32c;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt};

/// Bytes before a frame's body: its length and its checksum.
pub(super) const FRAME_HEADER_BYTES: usize = 8;

/// Read at least this much at a time, if it is there.
const READ_BYTES: usize = 64 * 1024;

/// Why a connection's bytes are not frames.
#[derive(Debug, Error)]
pub(super) enum FrameReadError {
    /// More than a frame may have.
    #[error("a frame declares {declared} bytes, allowed are {allowed}")]
    TooLong {
        /// What the header says.
        declared: usize,
        /// The limit.
        allowed: usize,
    },
    /// The body is not what was sent.
    #[error("a frame's checksum does not match")]
    Checksum,
    /// The connection ended inside a frame.
    #[error("the connection ended inside a frame")]
    Torn,
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
}

/// Appends a frame with this body.
pub(super) fn put_frame(out: &mut BytesMut, body: &[u8]) {
    let length = u32::try_from(body.len()).expect("a frame's body is within its limit");
    out.reserve(FRAME_HEADER_BYTES + body.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&crc32c(body).to_le_bytes());
    out.extend_from_slice(body);
}

/// Reads frames off a stream.
#[derive(Debug)]
pub(super) struct FrameReader<S> {
    stream: S,
    /// What came and was not handed out; at most one frame and one read long.
    buffer: BytesMut,
    max_body_bytes: usize,
}

impl<S: AsyncRead + Unpin> FrameReader<S> {
    /// Reads from `stream`; longer bodies are refused.
    pub(super) fn new(stream: S, max_body_bytes: usize) -> Self {
        FrameReader { stream, buffer: BytesMut::new(), max_body_bytes }
    }

    /// The next body; `None` at the stream's end. Nothing is lost when the call is dropped.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, FrameReadError> {
        loop {
            if let Some(body) = self.take_buffered()? {
                return Ok(Some(body));
            }
            // Room for what this read may bring, never for what a header declares.
            self.buffer.reserve(READ_BYTES);
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return if self.buffer.is_empty() { Ok(None) } else { Err(FrameReadError::Torn) };
            }
        }
    }

    /// Allows longer bodies from now on.
    pub(super) fn allow(&mut self, max_body_bytes: usize) {
        self.max_body_bytes = max_body_bytes;
    }

    /// The stream, when nothing but whole frames were read from it.
    pub(super) fn into_stream(self) -> Result<S, FrameReadError> {
        if self.buffer.is_empty() { Ok(self.stream) } else { Err(FrameReadError::Torn) }
    }

    /// The stream, to write to.
    pub(super) fn stream_mut(&mut self) -> &mut S {
        &mut self.stream
    }

    fn take_buffered(&mut self) -> Result<Option<Bytes>, FrameReadError> {
        let Some(header) = self.buffer.first_chunk::<FRAME_HEADER_BYTES>() else {
            return Ok(None);
        };
        let [a, b, c, d, e, f, g, h] = *header;
        let length = u32::from_le_bytes([a, b, c, d]) as usize;
        if length > self.max_body_bytes {
            return Err(FrameReadError::TooLong { declared: length, allowed: self.max_body_bytes });
        }
        if self.buffer.len() < FRAME_HEADER_BYTES + length {
            return Ok(None);
        }
        self.buffer.advance(FRAME_HEADER_BYTES);
        let body = self.buffer.split_to(length).freeze();
        if crc32c(&body) != u32::from_le_bytes([e, f, g, h]) {
            return Err(FrameReadError::Checksum);
        }
        Ok(Some(body))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(flavor = "current_thread")]
    async fn frames_come_back_however_the_bytes_arrive() {
        let mut bytes = BytesMut::new();
        for body in [&b"one"[..], b"", &[7; 100_000]] {
            put_frame(&mut bytes, body);
        }
        for step in [1, 3, 4096, usize::MAX] {
            let (mut ours, theirs) = tokio::io::duplex(512);
            let sent = bytes.clone();
            let writer = tokio::spawn(async move {
                for piece in sent.chunks(step.min(sent.len())) {
                    tokio::io::AsyncWriteExt::write_all(&mut ours, piece).await.unwrap();
                }
            });
            let mut reader = FrameReader::new(theirs, 100_000);
            assert_eq!(reader.next().await.unwrap().unwrap(), "one");
            assert_eq!(reader.next().await.unwrap().unwrap(), "");
            assert_eq!(reader.next().await.unwrap().unwrap(), vec![7; 100_000]);
            assert!(reader.next().await.unwrap().is_none());
            writer.await.unwrap();
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_damaged_or_torn_or_overlong_frame_is_an_error() {
        let mut good = BytesMut::new();
        put_frame(&mut good, b"body");
        let mut damaged = good.clone();
        damaged[9] ^= 1;
        let mut reader = FrameReader::new(&damaged[..], 16);
        assert!(matches!(reader.next().await, Err(FrameReadError::Checksum)));
        let mut reader = FrameReader::new(&good[..10], 16);
        assert!(matches!(reader.next().await, Err(FrameReadError::Torn)));
        let mut reader = FrameReader::new(&good[..], 3);
        assert!(matches!(reader.next().await, Err(FrameReadError::TooLong { declared: 4, .. })));
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_declared_length_reserves_nothing() {
        let header = [0xff, 0xff, 0xff, 0, 0, 0, 0, 0];
        let mut reader = FrameReader::new(&header[..], 1 << 24);
        assert!(reader.next().await.is_err());
        assert!(reader.buffer.capacity() <= 4 * READ_BYTES);
    }
}
