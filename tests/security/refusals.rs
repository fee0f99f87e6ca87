//! Everything that can be wrong with who an adaptor is and what it sends: refused, counted and logged with its reason,
//! kept in the spool, and sent once it is right.

use std::fs;
use std::io::Write;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use super::{Secured, TOKEN, WRONG};
use crate::harness::{PATIENCE, Plan, wait_until};

const RECORDS: u64 = 200;

/// One thing that is wrong.
struct Case {
    what: &'static str,
    /// Makes it wrong, before anything is started.
    spoil: fn(&Secured),
    /// What the collector counts it as; empty where it is the adaptor that refuses.
    reason: &'static str,
    /// What collector and adaptor say.
    said: [&'static str; 2],
    /// Makes it right, while everything runs.
    mend: fn(&mut Secured),
}

const CASES: &[Case] = &[
    Case {
        what: "no certificate",
        spoil: |it| it.edit("adaptor", "tls_cert_file = \"adaptor.pem\"\ntls_key_file = \"adaptor.key\"\n", ""),
        reason: "certificate",
        said: ["the peer shows no certificate", "the peer asks for a certificate, and we show none"],
        // Only the files are read again, so this one takes a restart.
        mend: |it| {
            let key = "token_file = \"token\"\n";
            it.edit("adaptor", key, &format!("{key}tls_cert_file = \"adaptor.pem\"\ntls_key_file = \"adaptor.key\"\n"));
            it.pipeline.adaptors[0].node.kill();
            it.pipeline.start_adaptor(0);
        },
    },
    Case {
        what: "a certificate of another authority",
        spoil: |it| it.adaptor_certificate(&it.other, 2099),
        reason: "certificate",
        said: ["signed by an authority that is not trusted here", "it does not trust the authority that signed it"],
        mend: |it| it.adaptor_certificate(&it.ours, 2099),
    },
    Case {
        what: "an expired certificate",
        spoil: |it| it.adaptor_certificate(&it.ours, 2020),
        reason: "certificate",
        said: ["the peer's certificate is wrong: certificate expired", "refuses our certificate: it has expired"],
        mend: |it| it.adaptor_certificate(&it.ours, 2099),
    },
    Case {
        what: "a certificate of another name",
        spoil: |it| it.put(it.ours.sign_for(&["db-1.example"], "adaptor", 2099), "adaptor"),
        reason: "token",
        said: ["nobody is known by its token and certificate", "nobody is known by its token and certificate"],
        mend: |it| it.adaptor_certificate(&it.ours, 2099),
    },
    Case {
        what: "a collector with an expired certificate",
        spoil: |it| it.collector_certificate(&it.ours, 2020),
        reason: "handshake",
        said: ["refuses our certificate: it has expired", "the peer's certificate is wrong: certificate expired"],
        mend: |it| it.collector_certificate(&it.ours, 2099),
    },
    Case {
        what: "a collector of another authority",
        spoil: |it| it.collector_certificate(&it.other, 2099),
        reason: "handshake",
        said: ["does not trust the authority that signed it", "signed by an authority that is not trusted here"],
        mend: |it| it.collector_certificate(&it.ours, 2099),
    },
    Case {
        what: "a wrong token",
        spoil: |it| fs::write(it.file("token"), WRONG).unwrap(),
        reason: "token",
        said: ["nobody is known by its token and certificate", "check `token_file` and `tls_cert_file` of [adaptor]"],
        mend: |it| fs::write(it.file("token"), TOKEN).unwrap(),
    },
    Case {
        what: "a category that is not granted",
        spoil: |it| it.edit("collector", "categories = [\"*\"]", "categories = [\"nginx.*\"]"),
        reason: "category",
        said: [
            "client `web` may not write the category",
            "the collector does not take a stream; its records stay in the spool",
        ],
        mend: |it| it.edit("collector", "categories = [\"nginx.*\"]", "categories = [\"*\"]"),
    },
    Case {
        what: "a host that is not granted",
        spoil: |it| it.edit("collector", "hosts = [\"adaptor-*\"]", "hosts = [\"web-*\"]"),
        reason: "host",
        said: [
            "client `web` may not write for the host `adaptor-0`: its `hosts` are web-*",
            "the collector does not take a stream; its records stay in the spool",
        ],
        mend: |it| it.edit("collector", "hosts = [\"web-*\"]", "hosts = [\"adaptor-*\"]"),
    },
];

impl Case {
    fn check(&self) {
        let mut secured = Secured::new(Plan::default());
        (self.spoil)(&secured);
        secured.start();
        let producer = secured.pipeline.socket_producer(0, RECORDS, 100);
        secured.pipeline.pace.allow(RECORDS);
        producer.join();
        let (collector, adaptor) = (&secured.pipeline.collectors[0].node, &secured.pipeline.adaptors[0].node);
        adaptor.wait_for(self.said[1], PATIENCE);
        collector.wait_for(self.said[0], PATIENCE);
        let log = collector.log();
        let counted = format!("reason=\"{}\" refused=", self.reason);
        let line = log.lines().find(|line| line.contains(self.said[0])).unwrap();
        assert!(line.contains(&counted) && line.contains("peer=127.0.0.1:"), "{}: {line}", self.what);
        let verdict = secured.pipeline.judge();
        assert_eq!((verdict.rows, verdict.lost), (0, RECORDS), "{}: nothing is taken", self.what);

        (self.mend)(&mut secured);
        let verdict = secured.pipeline.finish(PATIENCE);
        verdict.assert_clean(self.what);
        assert_eq!(verdict.acknowledged, RECORDS, "{}", self.what);
    }
}

#[test]
fn whatever_is_wrong_is_refused_with_its_reason_and_nothing_is_lost_once_it_is_right() {
    std::thread::scope(|scope| {
        CASES.iter().for_each(|case| {
            drop(std::thread::Builder::new().name(case.what.into()).spawn_scoped(scope, || case.check()).unwrap())
        });
    });
}

#[test]
fn a_client_that_is_taken_away_is_cut_off_and_goes_on_when_it_is_there_again() {
    let mut secured = Secured::new(Plan::default());
    secured.start();
    let producer = secured.pipeline.socket_producer(0, RECORDS, 100);
    secured.pipeline.pace.allow(RECORDS / 2);
    wait_until("the first half is in the table", PATIENCE, || secured.pipeline.judge().rows == RECORDS / 2);
    secured.edit("collector", "name = \"web\"\ntoken_hash = \"sha256:", "name = \"web\"\ntoken_hash = \"sha256:\u{0}");
    let collector = &secured.pipeline.collectors[0].node;
    collector.wait_for("changed files cannot be used", PATIENCE);
    assert!(!collector.log().contains("refused="), "a broken file changes nothing");
    let right = logboom_config::TokenHash::of(TOKEN).to_string();
    secured.edit("collector", "token_hash = \"sha256:\u{0}", "token_hash = \"sha256:");
    secured.edit("collector", &right, &logboom_config::TokenHash::of(WRONG).to_string());
    collector.wait_for("nobody is known by its token and certificate any more", PATIENCE);
    secured.pipeline.pace.allow(RECORDS);
    producer.join();
    std::thread::sleep(Duration::from_millis(500));
    assert_eq!(secured.pipeline.judge().rows, RECORDS / 2);
    secured.edit("collector", &logboom_config::TokenHash::of(WRONG).to_string(), &right);
    let verdict = secured.pipeline.finish(PATIENCE);
    verdict.assert_clean("revoked");
    assert_eq!(verdict.acknowledged, RECORDS);
}

#[test]
fn a_stream_that_is_refused_holds_up_no_other_stream_and_no_neighbour() {
    let mut secured = Secured::new(Plan { adaptors: 2, ..Plan::default() });
    secured.edit("collector", "categories = [\"*\"]", "categories = [\"good\"]");
    secured.start();
    let send = |secured: &Secured, adaptor: usize, category: &str, body: &str| {
        let mut socket = UnixStream::connect(&secured.pipeline.adaptors[adaptor].socket).unwrap();
        writeln!(socket, "{{\"category\":\"{category}\",\"body\":\"{body}\"}}").unwrap();
    };
    send(&secured, 0, "bad", "first");
    let said = "client `web` may not write the category `bad`: its `categories` are good";
    secured.pipeline.collectors[0].node.wait_for(said, PATIENCE);
    // Another stream of the same adaptor, on the same connection as the one that is refused.
    secured.pipeline.adaptors[0].node.kill();
    secured.pipeline.start_adaptor(0);
    send(&secured, 0, "good", "second");
    send(&secured, 1, "good", "neighbour");
    wait_until("what may be written is", PATIENCE, || secured.pipeline.rows().len() == 2);
    let refused = secured.pipeline.collectors[0].node.log().matches(said).count();
    assert!(refused >= 2, "it was tried again by the new process: {refused}");
    let mut rows = secured.pipeline.rows();
    rows.sort();
    assert_eq!(rows, [b"neighbour".to_vec(), b"second".to_vec()]);
    assert_eq!(secured.pipeline.collectors[0].node.log().matches("adaptor connected").count(), 3);
    secured.edit("collector", "categories = [\"good\"]", "categories = [\"good\", \"bad\"]");
    wait_until("all is", PATIENCE, || secured.pipeline.rows().len() == 3);
    let connections = secured.pipeline.collectors[0].node.log().matches("adaptor connected").count();
    assert_eq!(connections, 3, "a stream that is refused breaks no connection");
}

#[test]
fn a_stream_that_one_collector_refuses_goes_to_another_that_takes_it() {
    let mut secured = Secured::new(Plan { collectors: 2, ..Plan::default() });
    super::edit(&secured.file("collector-0.toml"), "categories = [\"*\"]", "categories = [\"nothing\"]");
    secured.start();
    let producer = secured.pipeline.socket_producer(0, RECORDS, 100);
    secured.pipeline.pace.allow(RECORDS);
    producer.join();
    let verdict = secured.pipeline.finish(PATIENCE);
    verdict.assert_clean("two collectors");
    assert_eq!(verdict.rows, RECORDS);
}
