//! What crosses the wire between an adaptor and a collector.
//!
//! TCP carries frames: a big-endian u32 length, one byte that says what follows, and that. `C` is a control message
//! in JSON, `B` a block, byte for byte as it lies in the spool. The conversation:
//!
//! ```text
//! adaptor                                   collector
//! hello {version, token, host, agent}   →
//!                                       ←   welcome {version, server_time_ms}, or refused {code, message, …}
//!                                       ←   credit {bytes}: how much more may be sent; repeated as memory frees
//! open {stream, first}                  →   the first block that the spool still holds
//!                                       ←   opened {stream, mark}: send what comes after the mark
//! block, block, …                       →   of each stream in rising order
//!                                       ←   committed {stream, mark}: the spool may forget up to here
//!                                       ←   stream_refused {stream, block, message}: that block and what follows is
//!                                           not taken; open the stream again later, or elsewhere
//! flush                                 →   the adaptor is leaving and asks for an early commit
//!                                       ←   draining: the collector is leaving; go elsewhere
//! ping                                  ↔   after a silence; a peer that is silent for 10 s is dead
//! ```

use bytes::{BufMut, Bytes, BytesMut};
use serde::{Deserialize, Serialize};
use tokio_util::codec::{Decoder, Encoder, LengthDelimitedCodec};

use crate::block::BLOCK_BYTES_MAX;
use crate::{Block, BlockError, StreamId};

/// Version of the protocol.
pub const PROTOCOL_VERSION: u32 = 1;
/// Streams that one connection may open.
pub const STREAMS_MAX: usize = 10_000;
/// Largest control message, in bytes.
pub const CONTROL_BYTES_MAX: usize = 64 << 10;

/// What an adaptor says, apart from blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToCollector {
    /// The first message.
    Hello {
        /// [`PROTOCOL_VERSION`] of the adaptor.
        version: u32,
        /// The shared token; empty for none.
        #[serde(default)]
        token: String,
        /// Name of the host.
        host: String,
        /// Name and version of the software.
        agent: String,
    },
    /// Announces a stream; answered by [`ToAdaptor::Opened`].
    Open {
        /// The stream.
        stream: StreamId,
        /// Number of the first block that is still held, from 1.
        first: u64,
    },
    /// Asks for an early commit of what was sent.
    Flush,
    /// A sign of life.
    Ping,
}

/// What a collector says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ToAdaptor {
    /// The answer to hello.
    Welcome {
        /// [`PROTOCOL_VERSION`] of the collector.
        version: u32,
        /// The collector's clock, ms since 1970.
        server_time_ms: u64,
    },
    /// The answer to open.
    Opened {
        /// The stream.
        stream: StreamId,
        /// Highest block number that is committed; 0 for none.
        mark: u64,
    },
    /// More may be sent.
    Credit {
        /// Bytes of blocks, on top of what was granted before.
        bytes: u64,
    },
    /// A stream's mark has moved.
    Committed {
        /// The stream.
        stream: StreamId,
        /// Highest block number that is committed.
        mark: u64,
    },
    /// The stream holds what the peer may not write. It is as if it had not been opened here; the others go on.
    StreamRefused {
        /// The stream.
        stream: StreamId,
        /// Number of the first block that was not taken. Nor was any that followed.
        block: u64,
        /// Why.
        message: String,
    },
    /// The connection ends, for this reason.
    Refused {
        /// Why.
        code: Refusal,
        /// The same in words.
        message: String,
        /// Not before this many milliseconds.
        retry_after_ms: u64,
    },
    /// The collector is leaving: commits what it has, takes no more.
    Draining,
    /// A sign of life.
    Ping,
}

/// Why a collector ends a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The token is wrong, or nobody is known by that token and certificate.
    Token,
    /// The peer speaks in the clear where TLS is spoken, or the other way round.
    Tls,
    /// The peer speaks another version of the protocol.
    Version,
    /// Too many connections, or the store cannot be reached.
    Busy,
    /// The peer broke the protocol.
    Protocol,
    /// A reason that this build does not know.
    #[serde(other)]
    Other,
}

/// One frame.
#[derive(Clone, Debug)]
pub enum Frame<Control> {
    /// A control message.
    Control(Control),
    /// A block. Its checksums hold.
    Block(Block),
}

/// Why a frame cannot be read or written. The connection is of no more use.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The connection failed, or a frame was longer than the cap.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// Not a frame that is known.
    #[error("a frame of an unknown kind {0:#04x}")]
    Kind(u8),
    /// An empty frame.
    #[error("an empty frame")]
    Empty,
    /// A control message that is too long or does not parse.
    #[error("a control message that does not parse: {0}")]
    Control(String),
    /// A block that is damaged.
    #[error("a damaged block: {0}")]
    Block(#[from] BlockError),
}

const KIND_CONTROL: u8 = b'C';
const KIND_BLOCK: u8 = b'B';

/// Frames to bytes and back; `Out` is what this end says, `In` what it hears.
pub struct Codec<Out, In> {
    lengths: LengthDelimitedCodec,
    ends: std::marker::PhantomData<fn(Out) -> In>,
}

impl<Out, In> Codec<Out, In> {
    fn with_cap(bytes_max: usize) -> Self {
        let lengths = LengthDelimitedCodec::builder().max_frame_length(bytes_max).new_codec();
        Self { lengths, ends: std::marker::PhantomData }
    }
}

/// The adaptor's end.
pub type AdaptorCodec = Codec<ToCollector, ToAdaptor>;
/// The collector's end.
pub type CollectorCodec = Codec<ToAdaptor, ToCollector>;

impl AdaptorCodec {
    /// A codec that hears control messages only.
    pub fn adaptor() -> Self {
        Self::with_cap(CONTROL_BYTES_MAX + 1)
    }
}

impl CollectorCodec {
    /// A codec that takes blocks only after [`Codec::accept_blocks`]: strangers do not get to send large frames.
    pub fn collector() -> Self {
        Self::with_cap(CONTROL_BYTES_MAX + 1)
    }

    /// Lifts the cap to that of blocks, once the peer has proved itself.
    pub fn accept_blocks(&mut self) {
        self.lengths.set_max_frame_length(BLOCK_BYTES_MAX + 1);
    }
}

impl<Out, In: for<'de> Deserialize<'de>> Decoder for Codec<Out, In> {
    type Item = Frame<In>;
    type Error = FrameError;

    fn decode(&mut self, source: &mut BytesMut) -> Result<Option<Self::Item>, FrameError> {
        let Some(frame) = self.lengths.decode(source)? else { return Ok(None) };
        let mut frame: Bytes = frame.freeze();
        if frame.is_empty() {
            return Err(FrameError::Empty);
        }
        match frame.split_to(1)[0] {
            KIND_CONTROL if frame.len() > CONTROL_BYTES_MAX => Err(FrameError::Control("it is too long".into())),
            KIND_CONTROL => serde_json::from_slice(&frame)
                .map(|message| Some(Frame::Control(message)))
                .map_err(|error| FrameError::Control(error.to_string())),
            KIND_BLOCK => Ok(Some(Frame::Block(Block::parse(frame)?))),
            kind => Err(FrameError::Kind(kind)),
        }
    }
}

impl<Out: Serialize, In> Encoder<Out> for Codec<Out, In> {
    type Error = FrameError;

    fn encode(&mut self, message: Out, out: &mut BytesMut) -> Result<(), FrameError> {
        let json = serde_json::to_vec(&message).map_err(|error| FrameError::Control(error.to_string()))?;
        if json.len() > CONTROL_BYTES_MAX {
            return Err(FrameError::Control("it is too long".into()));
        }
        put_frame(out, KIND_CONTROL, &json);
        Ok(())
    }
}

impl<In> Encoder<Block> for Codec<ToCollector, In> {
    type Error = FrameError;

    fn encode(&mut self, block: Block, out: &mut BytesMut) -> Result<(), FrameError> {
        put_frame(out, KIND_BLOCK, block.bytes());
        Ok(())
    }
}

fn put_frame(out: &mut BytesMut, kind: u8, content: &[u8]) {
    out.reserve(5 + content.len());
    out.put_u32(content.len() as u32 + 1);
    out.put_u8(kind);
    out.put_slice(content);
}
