//! Puts messages together that came in several datagrams.
//!
//! A chunk is `1e 0f`, 8 bytes of an id, the number of the chunk from 0, the count of chunks up to 128, and its piece of the
//! message. They come in any order, or not at all: a message that is not whole 5 seconds after its first chunk came is
//! given up, as GELF says. No I/O and no clock: `now` is given.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

const MAGIC: &[u8] = &[0x1e, 0x0f];
/// Bytes before the piece.
const HEADER_BYTES: usize = 12;
/// Most chunks of a message.
const CHUNKS_MAX: usize = 128;
/// How long a message may take, from its first chunk.
const ASSEMBLY_TIME: Duration = Duration::from_secs(5);
/// Most messages that have begun; beyond, the oldest is given up.
const MESSAGES_MAX: usize = 1024;
/// Most bytes that they hold together; likewise.
const HELD_BYTES_MAX: usize = 32 << 20;
/// What a message costs besides its pieces, about, in bytes.
const MESSAGE_BYTES: usize = 512;

/// Whether a datagram is a chunk of a message.
pub(super) fn is_chunk(datagram: &[u8]) -> bool {
    datagram.starts_with(MAGIC)
}

/// What became of a chunk.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Assembled {
    /// Others of its message are missing.
    Waiting,
    /// It was the last one: the message.
    Whole(Vec<u8>),
}

/// Messages that have begun.
#[derive(Default)]
pub(super) struct Chunks {
    /// By age: numbered as they began.
    messages: BTreeMap<u64, Message>,
    numbers: HashMap<Key, u64>,
    next: u64,
    held: usize,
    given_up: u64,
}

type Key = (Option<SocketAddr>, [u8; 8]);

struct Message {
    key: Key,
    began: Instant,
    pieces: Vec<Option<Box<[u8]>>>,
    missing: usize,
    /// Bytes of the pieces.
    bytes: usize,
}

impl Message {
    fn cost(&self) -> usize {
        MESSAGE_BYTES + self.pieces.len() * size_of::<Option<Box<[u8]>>>() + self.bytes
    }
}

impl Chunks {
    /// Takes a chunk that `peer` sent.
    ///
    /// # Errors
    /// Says what is wrong with the chunk. The message that it belongs to is given up where that is its fault.
    pub(super) fn take(
        &mut self,
        peer: Option<SocketAddr>,
        datagram: &[u8],
        message_max: usize,
        now: Instant,
    ) -> Result<Assembled, String> {
        self.expire(now);
        let (Some(header), Some(piece)) = (datagram.first_chunk::<HEADER_BYTES>(), datagram.get(HEADER_BYTES..)) else {
            return Err("a chunk is shorter than its header".to_owned());
        };
        let (at, count) = (usize::from(header[10]), usize::from(header[11]));
        if count == 0 || count > CHUNKS_MAX || at >= count {
            return Err(format!("a chunk is number {at} of {count}, but there may be {CHUNKS_MAX} from number 0 on"));
        }
        let mut id = [0; 8];
        id.copy_from_slice(&header[2..10]);
        let key = (peer, id);
        let number = match self.numbers.get(&key) {
            Some(&number) => number,
            None => self.begin(key, count, now),
        };
        let Some(message) = self.messages.get_mut(&number) else { return Ok(Assembled::Waiting) };
        if message.pieces.len() != count {
            let other = message.pieces.len();
            self.remove(number);
            return Err(format!("the chunks of a message do not agree whether they are {other} or {count}"));
        }
        if message.bytes + piece.len() > message_max {
            self.remove(number);
            return Err("the chunks of a message have more than `max_frame` bytes together".to_owned());
        }
        let slot = &mut message.pieces[at];
        if slot.is_some() {
            // The network may deliver a datagram twice.
            return Ok(Assembled::Waiting);
        }
        *slot = Some(piece.into());
        message.missing -= 1;
        message.bytes += piece.len();
        self.held += piece.len();
        if message.missing == 0 {
            let pieces = self.remove(number).map(|message| message.pieces).unwrap_or_default();
            return Ok(Assembled::Whole(pieces.into_iter().flatten().flatten().collect()));
        }
        while self.held > HELD_BYTES_MAX || self.messages.len() > MESSAGES_MAX {
            self.give_up_oldest();
        }
        Ok(Assembled::Waiting)
    }

    /// Count of the messages that were given up since this was asked last.
    pub(super) fn given_up(&mut self) -> u64 {
        std::mem::take(&mut self.given_up)
    }

    /// Count of the messages that have begun and not ended.
    pub(super) fn waiting(&self) -> usize {
        self.messages.len()
    }

    fn begin(&mut self, key: Key, count: usize, now: Instant) -> u64 {
        let number = self.next;
        self.next += 1;
        let message = Message { key, began: now, pieces: vec![None; count], missing: count, bytes: 0 };
        self.held += message.cost();
        self.messages.insert(number, message);
        self.numbers.insert(key, number);
        number
    }

    fn expire(&mut self, now: Instant) {
        let is_late = |message: &Message| now.saturating_duration_since(message.began) >= ASSEMBLY_TIME;
        while self.messages.first_key_value().is_some_and(|(_, oldest)| is_late(oldest)) {
            self.give_up_oldest();
        }
    }

    fn give_up_oldest(&mut self) {
        if let Some((&number, _)) = self.messages.first_key_value() {
            self.remove(number);
            self.given_up += 1;
        }
    }

    fn remove(&mut self, number: u64) -> Option<Message> {
        let message = self.messages.remove(&number)?;
        self.numbers.remove(&message.key);
        self.held -= message.cost();
        Some(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::testing::fuzz;

    fn chunk(id: u8, at: u8, count: u8, piece: &[u8]) -> Vec<u8> {
        [MAGIC, &[id; 8], &[at, count], piece].concat()
    }

    fn peer(port: u16) -> Option<SocketAddr> {
        Some(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    struct Desk {
        chunks: Chunks,
        now: Instant,
    }

    impl Desk {
        fn new() -> Self {
            Self { chunks: Chunks::default(), now: Instant::now() }
        }

        fn take(&mut self, from: u16, datagram: &[u8]) -> Result<Assembled, String> {
            self.chunks.take(peer(from), datagram, 1 << 20, self.now)
        }

        fn is_empty(&self) -> bool {
            self.chunks.messages.is_empty() && self.chunks.numbers.is_empty() && self.chunks.held == 0
        }
    }

    #[test]
    fn chunks_in_any_order_and_delivered_twice_make_the_message() {
        let mut desk = Desk::new();
        let pieces = [chunk(1, 0, 3, b"a"), chunk(1, 1, 3, b""), chunk(1, 2, 3, b"c\0")];
        for order in [[0, 1, 2], [2, 1, 0], [1, 2, 0]] {
            for &at in &order[..2] {
                assert_eq!(desk.take(1, &pieces[at]), Ok(Assembled::Waiting));
                assert_eq!(desk.take(1, &pieces[at]), Ok(Assembled::Waiting));
            }
            assert_eq!(desk.take(1, &pieces[order[2]]), Ok(Assembled::Whole(b"ac\0".to_vec())));
            assert!(desk.is_empty());
        }
        assert_eq!(desk.take(1, &chunk(1, 0, 1, b"x")), Ok(Assembled::Whole(b"x".to_vec())));
    }

    #[test]
    fn messages_of_different_peers_or_ids_do_not_mix() {
        let mut desk = Desk::new();
        for (from, id) in [(1, 1), (1, 2), (2, 1)] {
            assert_eq!(desk.take(from, &chunk(id, 0, 2, &[b'0' + id])), Ok(Assembled::Waiting));
        }
        for (from, id) in [(2, 1), (1, 1), (1, 2)] {
            let wanted = vec![b'0' + id, b'a'];
            assert_eq!(desk.take(from, &chunk(id, 1, 2, b"a")), Ok(Assembled::Whole(wanted)));
        }
        assert!(desk.is_empty());
    }

    #[test]
    fn a_message_that_is_not_whole_in_5_seconds_is_given_up_and_counted() {
        let mut desk = Desk::new();
        desk.take(1, &chunk(1, 0, 2, b"a")).unwrap();
        desk.now += Duration::from_millis(4999);
        desk.take(1, &chunk(2, 0, 2, b"b")).unwrap();
        assert_eq!(desk.chunks.given_up(), 0);
        desk.now += Duration::from_millis(1);
        assert_eq!(desk.take(1, &chunk(1, 1, 2, b"a")), Ok(Assembled::Waiting));
        assert_eq!(desk.chunks.given_up(), 1);
        assert_eq!(desk.take(1, &chunk(2, 1, 2, b"b")), Ok(Assembled::Whole(b"bb".to_vec())));
    }

    #[test]
    fn chunks_that_cannot_be_are_refused() {
        let mut desk = Desk::new();
        for datagram in [&chunk(1, 0, 0, b""), &chunk(1, 2, 2, b""), &chunk(1, 0, 129, b""), &chunk(1, 0, 1, b"")[..11]]
        {
            assert!(desk.take(1, datagram).is_err(), "{datagram:?}");
        }
        desk.take(1, &chunk(1, 0, 3, b"")).unwrap();
        assert!(desk.take(1, &chunk(1, 1, 4, b"")).unwrap_err().contains("3 or 4"));
        assert!(desk.is_empty());
        let big = vec![0; 60 << 10];
        let refused = (0..20).map(|at| desk.take(1, &chunk(1, at, 128, &big))).find_map(Result::err).unwrap();
        assert!(refused.contains("max_frame"), "{refused}");
        assert_eq!(desk.chunks.given_up(), 0);
    }

    #[test]
    fn messages_that_are_never_ended_take_bounded_memory_and_the_newest_still_arrive() {
        let mut desk = Desk::new();
        let big = vec![0; 60 << 10];
        for n in 0..20_000u32 {
            let piece = if n % 2 == 0 { &big[..] } else { b"" };
            let mut datagram = chunk(0, 0, 128, piece);
            datagram[2..6].copy_from_slice(&n.to_be_bytes());
            assert_eq!(desk.take(1, &datagram), Ok(Assembled::Waiting));
            assert!(desk.chunks.messages.len() <= MESSAGES_MAX && desk.chunks.held <= HELD_BYTES_MAX);
        }
        assert_eq!(desk.chunks.given_up() + desk.chunks.messages.len() as u64, 20_000);
        desk.take(2, &chunk(9, 0, 2, b"a")).unwrap();
        assert_eq!(desk.take(2, &chunk(9, 1, 2, b"b")), Ok(Assembled::Whole(b"ab".to_vec())));
    }

    #[test]
    fn no_datagrams_make_it_panic_or_its_books_wrong() {
        let corpus: &[&[u8]] =
            &[&chunk(1, 0, 2, b"a"), &chunk(1, 1, 2, b"b"), &chunk(2, 127, 128, b""), &chunk(3, 0, 1, b"x")];
        let mut desk = Desk::new();
        fuzz(corpus, |datagram| {
            let _ = desk.take(1, datagram);
            desk.now += Duration::from_millis(1);
            let held: usize = desk.chunks.messages.values().map(Message::cost).sum();
            assert_eq!(held, desk.chunks.held);
            assert_eq!(desk.chunks.messages.len(), desk.chunks.numbers.len());
        });
    }
}
