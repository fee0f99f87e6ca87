use bytes::{BufMut, BytesMut};
use logboom_wire::message::{
    AdaptorCodec, CONTROL_BYTES_MAX, CollectorCodec, Frame, FrameError, Refusal, ToAdaptor, ToCollector,
};
use tokio_util::codec::{Decoder, Encoder};

use crate::records::{STREAM, sample};

fn frame(content: &[u8]) -> BytesMut {
    let mut bytes = BytesMut::new();
    bytes.put_u32(content.len() as u32);
    bytes.put_slice(content);
    bytes
}

#[test]
fn frames_survive_being_cut_at_every_byte() {
    let (block, ..) = sample();
    let mut bytes = BytesMut::new();
    let mut adaptor = AdaptorCodec::adaptor();
    let open = ToCollector::Open { stream: STREAM, first: 7 };
    adaptor.encode(open.clone(), &mut bytes).unwrap();
    adaptor.encode(block.clone(), &mut bytes).unwrap();
    adaptor.encode(ToCollector::Ping, &mut bytes).unwrap();
    for cut in 0..=bytes.len() {
        let mut collector = CollectorCodec::collector();
        collector.accept_blocks();
        let mut frames = Vec::new();
        let mut buffer = BytesMut::new();
        for part in [&bytes[..cut], &bytes[cut..]] {
            buffer.extend_from_slice(part);
            while let Some(frame) = collector.decode(&mut buffer).unwrap() {
                frames.push(frame);
            }
        }
        let [Frame::Control(first), Frame::Block(second), Frame::Control(third)] = &frames[..] else {
            panic!("cut at {cut}: {frames:?}");
        };
        assert_eq!((first, third), (&open, &ToCollector::Ping));
        assert_eq!(second.bytes(), block.bytes());
        assert!(buffer.is_empty());
    }
}

#[test]
fn a_stranger_cannot_announce_a_large_frame() {
    let announced = (CONTROL_BYTES_MAX + 2) as u32;
    let mut head = BytesMut::from(&announced.to_be_bytes()[..]);
    let mut collector = CollectorCodec::collector();
    assert!(matches!(collector.decode(&mut head.clone()), Err(FrameError::Io(_))));
    collector.accept_blocks();
    assert!(matches!(collector.decode(&mut head), Ok(None)));
    for too_large in [u32::MAX, 64 << 20] {
        let mut head = BytesMut::from(&too_large.to_be_bytes()[..]);
        let mut collector = CollectorCodec::collector();
        collector.accept_blocks();
        assert!(matches!(collector.decode(&mut head), Err(FrameError::Io(_))), "{too_large}");
    }
}

#[test]
fn a_control_message_stays_short_when_blocks_are_accepted() {
    let mut collector = CollectorCodec::collector();
    collector.accept_blocks();
    let mut bytes = frame(&[b"C", &vec![b' '; CONTROL_BYTES_MAX + 1][..]].concat());
    assert!(matches!(collector.decode(&mut bytes), Err(FrameError::Control(_))));
}

#[test]
fn what_is_no_frame_is_refused() {
    let decode = |content: &[u8]| CollectorCodec::collector().decode(&mut frame(content));
    assert!(matches!(decode(b""), Err(FrameError::Empty)));
    assert!(matches!(decode(b"X"), Err(FrameError::Kind(b'X'))));
    assert!(matches!(decode(b"B"), Err(FrameError::Block(_))));
    assert!(matches!(decode(b"Bnonsense that is longer than a prefix"), Err(FrameError::Block(_))));
    let bad: [&[u8]; 9] = [
        b"C",
        b"C{",
        b"Cnull",
        b"C{}",
        b"C{\"type\":\"unheard_of\"}",
        b"C{\"type\":\"open\",\"stream\":\"00\",\"first\":1}",
        b"C{\"type\":\"open\",\"stream\":\"00000000000000000000000000000000\",\"first\":-1}",
        b"C{\"type\":\"ping\"} trailing",
        b"C\xff\xfe",
    ];
    for content in bad {
        assert!(matches!(decode(content), Err(FrameError::Control(_))), "{content:?}");
    }
    let nested = [b"C", "[".repeat(CONTROL_BYTES_MAX - 1).as_bytes()].concat();
    assert!(matches!(decode(&nested), Err(FrameError::Control(_))));
}

#[test]
fn later_versions_may_add_fields_and_reasons() {
    let decode = |json: &[u8]| AdaptorCodec::adaptor().decode(&mut frame(&[b"C", json].concat()));
    let credit = decode(br#"{"type":"credit","bytes":5,"colour":"red"}"#);
    assert!(matches!(credit, Ok(Some(Frame::Control(ToAdaptor::Credit { bytes: 5 })))));
    let refused = decode(br#"{"type":"refused","code":"moon_phase","message":"m","retry_after_ms":1}"#);
    assert!(matches!(refused, Ok(Some(Frame::Control(ToAdaptor::Refused { code: Refusal::Other, .. })))));
}

#[test]
fn random_bytes_never_panic_the_codec() {
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let mut content = vec![0; (random % 200) as usize];
        for byte in &mut content {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            *byte = random as u8;
        }
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if let Some(kind) = content.first_mut() {
            *kind = *b"CBX".get((random % 3) as usize).unwrap();
        }
        let mut bytes = frame(&content);
        assert!(CollectorCodec::collector().decode(&mut bytes).is_err(), "{content:?}");
    }
}
