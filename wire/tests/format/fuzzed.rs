//! Fuzz targets of the wire. Checksums are put right before decoding where they would only hide what is behind them.

use bytes::BytesMut;
use logboom_fuzz::fuzz;
use logboom_wire::block::{PREFIX_BYTES, Prefix};
use logboom_wire::message::{AdaptorCodec, CollectorCodec, Frame, Refusal, ToAdaptor, ToCollector};
use logboom_wire::{Block, StreamId};
use tokio_util::codec::{Decoder, Encoder};

use crate::hostile::{raw_streams, sealed, with_stream};
use crate::records::{STREAM, sample};

/// What a codec makes of `bytes` that come in two parts: shown frames, and whether it refused the rest.
fn decoded<C>(mut codec: C, parts: [&[u8]; 2]) -> (Vec<String>, bool)
where
    C: Decoder,
    C::Item: std::fmt::Debug,
{
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for part in parts {
        buffer.extend_from_slice(part);
        loop {
            match codec.decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(format!("{frame:?}")),
                Ok(None) => break,
                Err(_) => return (frames, true),
            }
        }
    }
    (frames, false)
}

#[test]
fn no_bytes_make_the_collectors_codec_panic_and_any_split_gives_the_same() {
    let (block, ..) = sample();
    let mut seeds = vec![BytesMut::new(); 3];
    let mut adaptor = AdaptorCodec::adaptor();
    let hello = ToCollector::Hello { version: 1, token: "t".into(), host: "h".into(), agent: "a".into() };
    for message in [hello, ToCollector::Open { stream: STREAM, first: 7 }, ToCollector::Flush, ToCollector::Ping] {
        adaptor.encode(message, &mut seeds[0]).unwrap();
    }
    adaptor.encode(block, &mut seeds[1]).unwrap();
    seeds[2].extend_from_slice(b"\0\0\0\x01C\0\0\0\0\0\0\0\x02Z");
    let seeds: Vec<&[u8]> = seeds.iter().map(|seed| &seed[..]).collect();
    let codec = || {
        let mut codec = CollectorCodec::collector();
        codec.accept_blocks();
        codec
    };
    fuzz(&seeds, |bytes| {
        let halves = bytes.split_at(bytes.len() / 2);
        assert_eq!(decoded(codec(), [halves.0, halves.1]), decoded(codec(), [bytes, b""]));
        // A stranger's frames are no larger than a control message.
        let (frames, _) = decoded(CollectorCodec::collector(), [bytes, b""]);
        assert!(frames.len() <= bytes.len());
    });
}

#[test]
fn no_bytes_make_the_adaptors_codec_panic() {
    let mut seed = BytesMut::new();
    let mut collector = CollectorCodec::collector();
    let stream = StreamId::from_bytes([7; 16]);
    let refused = ToAdaptor::Refused { code: Refusal::Busy, message: "later".into(), retry_after_ms: 5 };
    for message in [
        ToAdaptor::Welcome { version: 1, server_time_ms: 5 },
        ToAdaptor::Opened { stream, mark: 3 },
        ToAdaptor::Credit { bytes: 1 << 20 },
        ToAdaptor::Committed { stream, mark: 4 },
        refused,
        ToAdaptor::Draining,
        ToAdaptor::Ping,
    ] {
        collector.encode(message, &mut seed).unwrap();
    }
    fuzz(&[&seed], |bytes| {
        let halves = bytes.split_at(bytes.len() / 2);
        let whole = decoded(AdaptorCodec::adaptor(), [bytes, b""]);
        assert_eq!(decoded(AdaptorCodec::adaptor(), [halves.0, halves.1]), whole);
        // What is understood can be said again.
        let mut codec = AdaptorCodec::adaptor();
        if let Ok(Some(Frame::Control(message))) = codec.decode(&mut BytesMut::from(bytes)) {
            let message: ToAdaptor = message;
            CollectorCodec::collector().encode(message, &mut BytesMut::new()).unwrap();
        }
    });
}

#[test]
fn no_header_of_a_block_makes_it_panic_or_makes_no_sense() {
    let (block, ..) = sample();
    let end = PREFIX_BYTES + Prefix::parse(block.bytes()).unwrap().header_bytes();
    let payload = block.bytes().slice(end..);
    fuzz(&[&block.bytes()[PREFIX_BYTES..end]], |header| {
        let Ok(block) = Block::parse(sealed(header, &payload)) else { return };
        let header = block.header();
        assert!(header.number > 0 && header.first_record.checked_add(header.records()).is_some());
        assert!(header.runs.is_sorted_by(|a, b| a.key <= b.key), "{header:?}");
        for (index, run) in header.runs.iter().enumerate() {
            if let Ok(batch) = block.decode_run(index) {
                assert_eq!(batch.num_rows(), run.rows as usize);
            }
        }
    });
}

#[test]
fn no_bytes_make_a_block_panic() {
    let (block, ..) = sample();
    fuzz(&[block.bytes()], |bytes| {
        // As they come, the checksums refuse all that is not the block.
        if let Ok(parsed) = Block::parse(bytes.to_vec().into()) {
            (0..parsed.header().runs.len()).for_each(|run| drop(parsed.decode_run(run)));
        }
    });
}

#[test]
fn no_payload_makes_the_decoder_panic_or_give_more_than_was_announced() {
    let (block, ..) = sample();
    let streams = raw_streams(&block);
    let rows: Vec<u32> = block.header().runs.iter().map(|run| run.rows).collect();
    let seeds: Vec<&[u8]> = streams.iter().map(Vec::as_slice).collect();
    fuzz(&seeds, |raw| {
        for rows in &rows {
            let block = Block::parse(with_stream(raw, *rows, raw.len() as u32));
            if let Ok(batch) = block.and_then(|block| block.decode_run(0)) {
                assert_eq!(batch.num_rows(), *rows as usize);
                assert!(batch.get_array_memory_size() <= 64 * raw.len() + 4096, "{}", batch.get_array_memory_size());
            }
        }
    });
}
