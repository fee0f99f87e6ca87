use bytes::Bytes;
use logboom_wire::block::{BlockPlace, Encoder, VERSION};
use logboom_wire::{Block, Position, Rows, column};

use crate::records::{Plain, STREAM, assert_is_sample, canonical, decoded, key, rows, sample};

const PLACE: BlockPlace<'_> = BlockPlace { stream: STREAM, number: 1, first_record: 0, host: "h" };

#[test]
fn a_block_gives_back_what_went_in() {
    let (block, ..) = sample();
    assert_is_sample(&block);
    let parsed = Block::parse(block.bytes().clone()).unwrap();
    assert_eq!(parsed.header(), block.header());
    assert_is_sample(&parsed);
    assert_eq!(parsed.bytes()[4], VERSION);
}

#[test]
fn columns_that_no_record_needs_are_absent() {
    let block = Encoder::default().encode(PLACE, [(key("c", &[]), rows(&[Plain::line(3, b"x")]))], vec![]).unwrap();
    let batch = block.decode_run(0).unwrap();
    let schema = batch.schema();
    let names: Vec<_> = schema.fields().iter().map(|field| field.name().as_str()).collect();
    assert_eq!(names, [column::OBSERVED_TIMESTAMP, column::BODY]);
}

#[test]
fn each_column_alone_round_trips() {
    let lone = [
        Plain { timestamp: Some(-5), ..Plain::line(1, b"a") },
        Plain { severity_number: 24, ..Plain::line(1, b"a") },
        Plain { severity_text: "warn".into(), ..Plain::line(1, b"a") },
        Plain { attributes: vec![("k".into(), "v".into())], ..Plain::line(1, b"a") },
        Plain { trace_id: Some([9; 16]), ..Plain::line(1, b"a") },
        Plain { span_id: Some([9; 8]), ..Plain::line(1, b"a") },
    ];
    for record in lone {
        for records in [vec![record.clone()], vec![Plain::line(0, b""), record.clone(), Plain::line(2, b"z")]] {
            let block = Encoder::default().encode(PLACE, [(key("c", &[]), rows(&records))], vec![]).unwrap();
            assert_eq!(decoded(&block.decode_run(0).unwrap()), canonical(&records), "{record:?}");
            assert_eq!(block.decode_run(0).unwrap().num_columns(), 3);
        }
    }
}

#[test]
fn a_block_of_positions_only_round_trips() {
    let positions = vec![Position { key: "k".into(), value: "v".repeat(65_535) }];
    let block = Encoder::default().encode(PLACE, [(key("c", &[]), Rows::default())], positions.clone()).unwrap();
    let parsed = Block::parse(block.bytes().clone()).unwrap();
    assert!(parsed.header().runs.is_empty());
    assert_eq!(parsed.header().records(), 0);
    assert_eq!(parsed.header().positions, positions);
}

#[test]
fn appended_rows_are_as_if_pushed_one_by_one() {
    let plain = [Plain::line(1, b"one"), Plain::line(2, b"")];
    let full = [Plain::full(3, b"three"), Plain::line(4, b"four"), Plain::full(5, b"\x80")];
    let none: [Plain; 0] = [];
    for first in [&plain[..], &full, &none] {
        for second in [&plain[..], &full, &none] {
            let both = [first, second].concat();
            let mut appended = rows(first);
            appended.append(rows(second));
            // And once more, on top of what the first append made.
            appended.append(rows(second));
            let all = [&both[..], second].concat();
            assert_eq!(appended.len(), all.len());
            assert_eq!(appended.time_range(), rows(&all).time_range());
            if all.is_empty() {
                continue;
            }
            let block = Encoder::default().encode(PLACE, [(key("c", &[]), appended)], vec![]).unwrap();
            assert_eq!(decoded(&block.decode_run(0).unwrap()), canonical(&all));
        }
    }
}

#[test]
fn what_the_format_cannot_say_is_refused() {
    let long = "x".repeat(65_536);
    let mut encoder = Encoder::default();
    let position = Position { key: long.clone(), value: String::new() };
    assert!(encoder.encode(PLACE, [], vec![position]).is_err());
    assert!(encoder.encode(BlockPlace { host: &long, ..PLACE }, [], vec![]).is_err());
    assert!(encoder.encode(PLACE, [(key(&long, &[]), rows(&[Plain::line(1, b"")]))], vec![]).is_err());
    let position = Position { key: "k".into(), value: String::new() };
    assert!(encoder.encode(PLACE, [], vec![position; 65_536]).is_err());
}

#[test]
fn a_block_cut_or_prolonged_anywhere_is_refused() {
    let (block, ..) = sample();
    for length in 0..block.bytes().len() {
        assert!(Block::parse(block.bytes().slice(..length)).is_err(), "{length} bytes");
    }
    let longer = [block.bytes(), &[0][..]].concat();
    assert!(Block::parse(Bytes::from(longer)).is_err());
}

#[test]
fn every_flipped_bit_is_noticed() {
    let (block, ..) = sample();
    let mut bytes = block.bytes().to_vec();
    for at in 0..bytes.len() * 8 {
        bytes[at / 8] ^= 1 << (at % 8);
        assert!(Block::parse(Bytes::copy_from_slice(&bytes)).is_err(), "bit {at}");
        bytes[at / 8] ^= 1 << (at % 8);
    }
}
