//! Files and indexes that are not what they say: an error that names them, never a panic, never more memory than allowed.

#![expect(clippy::disallowed_types, reason = "it unpacks what it has packed itself")]

use std::io::Write;
use std::sync::Arc;

use arrow_array::RecordBatch;
use flate2::Compression;
use flate2::write::GzEncoder;
use logboom_sink::Error;
use logboom_sink::json::{Decoder, Member, read_index};
use logboom_sink::schema::file_schema;
use logboom_sink::table::FileStats;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use crate::json::fixture::{Row, batch, decode, members, object, row, settings, snapshot_file, store, write};
use crate::json::layout::noisy;

/// Good members with their bytes.
async fn good() -> (Vec<Member>, Vec<u8>) {
    let store = store();
    let mut rows = noisy("a", 300);
    rows.extend([Row { body_bytes: Some(vec![0xff]), ..row("b", 0, "x") }, row("c", 0, "x")]);
    let file = write(&store, &batch(&rows), &settings()).await.unwrap();
    let members = members(&store, &file).await;
    let bytes = object(&store, &members[0].path).await;
    (members, bytes.to_vec())
}

/// A member with these lines, of which the index says what is true.
fn member(lines: &[u8], records: u64) -> (Vec<Member>, Vec<u8>) {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(lines).unwrap();
    let bytes = gzip.finish().unwrap();
    let member = Member {
        path: "_json/x".into(),
        offset: 0,
        length: bytes.len() as u64,
        raw_length: lines.len() as u64,
        crc32c: crc32c::crc32c(&bytes),
        stats: FileStats { records, ..FileStats::default() },
    };
    (vec![member], bytes)
}

fn all(members: &[Member], bytes: &[u8]) -> Result<Vec<RecordBatch>, Error> {
    decode(members, bytes, file_schema(), 7777)
}

#[track_caller]
fn assert_bad(members: &[Member], bytes: &[u8], named: &str) {
    let error = all(members, bytes).expect_err(named);
    let text = error.to_string();
    assert!(matches!(error, Error::BadMember { .. }), "{error:?}");
    assert!(text.contains(named), "{text}");
    assert!(text.contains(&*members[0].path) && text.contains("bytes "), "{text}");
}

#[tokio::test]
async fn a_member_that_differs_from_its_index_is_refused_by_what_differs() {
    let (members, bytes) = good().await;
    all(&members, &bytes).unwrap();
    type Lie = fn(&mut Member);
    let lies: [(Lie, &str); 6] = [
        (|member| member.raw_length += 1, "not"),
        (|member| member.raw_length -= 1, "more than"),
        (|member| member.stats.records += 1, "lines, not"),
        (|member| member.crc32c ^= 1, "checksum"),
        (|member| member.length -= 1, "gzip"),
        (|member| member.length += 1, "gzip"),
    ];
    for (lie, named) in lies {
        let mut members = members.clone();
        lie(&mut members[0]);
        assert_bad(&members, &bytes, named);
    }
}

#[tokio::test]
async fn bytes_that_are_missing_are_missed_wherever_the_file_ends() {
    let (members, bytes) = good().await;
    for end in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
        assert_bad(&members, &bytes[..end], "missing");
    }
}

#[tokio::test]
async fn a_changed_bit_anywhere_is_found() {
    let (members, bytes) = good().await;
    for at in (0..bytes.len()).step_by(13) {
        let mut bytes = bytes.clone();
        bytes[at] ^= 1 << (at % 8);
        assert!(all(&members, &bytes).is_err(), "bit {} of byte {at}", at % 8);
    }
}

#[test]
fn a_bomb_is_refused_before_it_is_unpacked() {
    let (mut members, bytes) = member(&vec![b' '; 20 << 20], 1);
    members[0].raw_length = 1000;
    let mut decoder = Decoder::new(members, file_schema(), 1000);
    decoder.push(bytes.into());
    assert!(decoder.next_batch().unwrap_err().to_string().contains("more than 1000 bytes"));
}

#[test]
fn rows_are_given_away_while_a_member_unpacks() {
    let line = r#"{"timestamp":"2026-01-01T00:00:00Z","observed_timestamp":"2026-01-01T00:00:00Z","category":"a","host":"h","source":"s","body":"BODY","stream":"x","seq":1}"#;
    let line = line.replace("BODY", &"b".repeat(1 << 20)) + "\n";
    let (members, bytes) = member(line.repeat(64).as_bytes(), 64);
    let batches = all(&members, &bytes).unwrap();
    assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 64);
    assert!(batches.iter().all(|batch| batch.num_rows() <= 16), "they are held back for too long");
}

#[test]
fn lines_that_are_no_records_are_refused() {
    let head = r#"{"timestamp":"2026-01-01T00:00:00Z","observed_timestamp":"2026-01-01T00:00:00Z","category":"a","host":"h","source":"s","stream":"x","seq":1"#;
    let line = |rest: &str| format!("{head}{rest}\n");
    let good = line(r#","body":"x""#).replace("\n", "}\n");
    let (members, bytes) = member(good.as_bytes(), 1);
    all(&members, &bytes).unwrap();
    for lines in [
        "x\n".to_owned(),
        "[]\n".to_owned(),
        "1\n".to_owned(),
        "null\n".to_owned(),
        "\n".to_owned(),
        "{}\n".to_owned(),
        line("}"),
        line(r#","body":null}"#),
        line(r#","body":1}"#),
        line(r#","body":"\ud800"}"#),
        line(r#","body":"x","body_bytes":"!"}"#),
        line(r#","body":"x","attributes":[]}"#),
        line(r#","body":"x","attributes":{"a":{}}}"#),
        line(r#","body":"x""#),
        good.replace("2026-01", "2026-99"),
        good.replace("\"seq\":1", "\"seq\":99999999999999999999"),
        good.replace("\"seq\":1", "\"seq\":\"one\""),
        good.trim_end().trim_end_matches('}').to_owned(),
        format!("{good}{good}"),
        format!("{}\n", "{\"a\":".repeat(100_000)),
        format!("{}\n", "[".repeat(100_000)),
    ] {
        let (members, bytes) = member(lines.as_bytes(), 1);
        assert_bad(&members, &bytes, "damaged");
    }
    let (members, bytes) = member(b"{\"body\":\"\xff\"}\n", 1);
    assert_bad(&members, &bytes, "damaged");
}

/// Whatever bytes come: rows or an error. `LOGBOOM_SEED` repeats a run.
#[tokio::test]
async fn mangled_members_are_read_or_refused_but_never_panic() {
    let seed = std::env::var("LOGBOOM_SEED").map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("LOGBOOM_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let (members, bytes) = good().await;
    for _ in 0..500 {
        let (mut members, mut bytes) = (members.clone(), bytes.clone());
        let mut plain = Vec::new();
        std::io::Read::read_to_end(&mut flate2::read::MultiGzDecoder::new(&bytes[..]), &mut plain).unwrap();
        if random.random() {
            // The lines are mangled, and the gzip around them is right.
            mangle(&mut random, &mut plain);
            (members, bytes) = member(&plain, members[0].stats.records);
        } else {
            mangle(&mut random, &mut bytes);
            if random.random() {
                members[0].crc32c = random.random();
                members[0].length = random.random_range(0..2 * bytes.len() as u64);
            }
        }
        let _ = decode(&members, &bytes, file_schema(), random.random_range(1..20_000));
    }
}

fn mangle(random: &mut StdRng, bytes: &mut Vec<u8>) {
    for _ in 0..random.random_range(1..4) {
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..4) {
            0 => bytes[at] = random.random(),
            1 => bytes.truncate(at.max(1)),
            2 => bytes.insert(at, *b"{}[]\",:\\\n\0"[..].get(random.random_range(0..10)).unwrap()),
            _ => {
                let piece = bytes[at..(at + random.random_range(1..200)).min(bytes.len())].to_vec();
                bytes.splice(at..at, piece);
            }
        }
    }
}

#[tokio::test]
async fn an_index_that_cannot_be_true_is_refused_by_name() {
    let store = store();
    let file = write(&store, &batch(&noisy("a", 10)), &settings()).await.unwrap();
    let listed = snapshot_file(&file);
    let good = object(&store, &file.path).await;
    read_index(&**store.objects(), &listed.path, listed.size).await.unwrap();
    for bytes in [&b""[..], b"x", &good[..good.len() - 1], &good[1..]] {
        store.put(logboom_sink::paths::Name::parse(&file.path).unwrap(), bytes.to_vec().into()).await.unwrap();
        let mut listed = listed.clone();
        listed.size = bytes.len() as u64;
        let error = read_index(&**store.objects(), &listed.path, listed.size).await.unwrap_err().to_string();
        assert!(error.contains(&file.path), "{error}");
    }
    let mut large = listed;
    large.size = 1 << 40;
    assert!(
        read_index(&**store.objects(), &large.path, large.size).await.unwrap_err().to_string().contains("far too many")
    );
}

#[tokio::test]
async fn a_row_of_an_index_names_a_json_file_and_nothing_else() {
    let store = store();
    let file = write(&store, &batch(&noisy("a", 10)), &settings()).await.unwrap();
    let path = members(&store, &file).await[0].path.to_string();
    let content = object(&store, &file.path).await;
    let mut reader =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(content).unwrap().build().unwrap();
    let row = reader.next().unwrap().unwrap();
    let with = |name: &str, column: arrow_array::ArrayRef| {
        let mut columns = row.columns().to_vec();
        columns[row.schema().index_of(name).unwrap()] = column;
        RecordBatch::try_new(row.schema(), columns).unwrap()
    };
    let number = |name: &str, value: i64| with(name, Arc::new(arrow_array::Int64Array::from(vec![value])));
    let text = |name: &str, value: &str| with(name, Arc::new(arrow_array::StringArray::from(vec![value])));
    for (rows, named) in [
        (text("path", "_delta_log/00000000000000000000.json"), "_delta_log"),
        (text("path", "../secret.json.gz"), "secret"),
        (text("path", &path.replace("_json/", "/")), "not the name"),
        (number("offset", -1), "offset is -1"),
        (number("length", 0), "0 bytes at 0"),
        (number("offset", i64::MAX), "cannot be"),
        (number("raw_length", 1 << 40), "cannot be"),
        (number("records", 0), "cannot be"),
        (number("records", 1 << 40), "cannot be"),
        (number("crc32c", 1 << 32), "32 bits"),
        (row.project(&[0, 1, 2]).unwrap(), "no column"),
    ] {
        let mut content = Vec::new();
        let mut writer = parquet::arrow::ArrowWriter::try_new(&mut content, rows.schema(), None).unwrap();
        writer.write(&rows).unwrap();
        writer.close().unwrap();
        let mut listed = snapshot_file(&file);
        listed.size = content.len() as u64;
        store.put(logboom_sink::paths::Name::parse(&file.path).unwrap(), content.into()).await.unwrap();
        let error = read_index(&**store.objects(), &listed.path, listed.size).await.unwrap_err().to_string();
        assert!(error.contains(named) && error.contains(&file.path), "{error}");
    }
}
