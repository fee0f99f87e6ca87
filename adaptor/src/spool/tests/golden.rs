use super::*;

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/spool-v1")
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to.join(entry.file_name())),
            false => drop(fs::copy(entry.path(), to.join(entry.file_name())).unwrap()),
        }
    }
}

#[test]
fn a_spool_of_format_version_1_is_read_and_sent() {
    let folder = tempfile::tempdir().unwrap();
    copy(&golden(), folder.path());
    let (spool, recovered, counters) = open(&settings(folder.path()));
    assert_eq!(recovered.positions, BTreeMap::from([("p".into(), "3".into()), ("q".into(), "kept".into())]));
    let streams = spool.streams();
    assert_eq!((streams.len(), streams[0].generation, streams[0].first, streams[0].last), (1, 2, 1, 3));
    assert_eq!(drain(&spool), records_of_blocks(1..=3));
    assert!(spool.streams().is_empty());
    assert_eq!(counters.report(), "");
}

/// Only for a new format version: the files of an old one are never written again.
#[test]
#[ignore = "writes the golden files"]
fn write_the_golden_spool() {
    assert!(!golden().exists(), "golden files are written once");
    let folder = tempfile::tempdir().unwrap();
    let (spool, ..) = open(&Settings { segment_size: 1 << 20, ..settings(folder.path()) });
    let writing = Writing::start(&spool);
    writing.put(chunk("q", 1, Some(("q", "kept"))));
    drain(&spool);
    writing.close();
    write_blocks(&spool, 3);
    drop(spool);
    fs::remove_file(folder.path().join("reserve")).unwrap();
    fs::remove_file(folder.path().join("lock")).unwrap();
    copy(folder.path(), &golden());
}
