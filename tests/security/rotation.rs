//! Certificates, authorities and tokens change under load, and nobody notices; or they run out, and everybody does.

use std::fs;
use std::time::{Duration, SystemTime};

use logboom_config::TokenHash;

use super::{Secured, TOKEN};
use crate::harness::{Authority, PATIENCE, Plan, wait_until};

/// Long enough for every process to see what has changed.
const SEEN: Duration = Duration::from_millis(3500);

#[test]
fn certificates_and_tokens_that_change_under_load_lose_nothing() {
    const PER_STEP: u64 = 400;
    let mut secured = Secured::new(Plan { adaptors: 2, collectors: 2, ..Plan::default() });
    secured.start();
    let (old, new) = (TokenHash::of(TOKEN).to_string(), TokenHash::of("tuna").to_string());
    let both = format!("token_hash = [\"{old}\", \"{new}\"]");
    let trust = |secured: &Secured, file: &str, authorities: &[&Authority]| {
        let pem: String = authorities.iter().map(|it| fs::read_to_string(it.pem()).unwrap()).collect();
        fs::write(secured.file(file), pem).unwrap();
    };
    // In the order of the manual: first trust the new, then show it, then forget the old.
    let steps: [&dyn Fn(&Secured); 6] = [
        &|it| it.edit("collector", &format!("token_hash = \"{old}\""), &both),
        &|it| fs::write(it.file("token"), "tuna").unwrap(),
        &|it| it.edit("collector", &both, &format!("token_hash = \"{new}\"")),
        &|it| {
            trust(it, "servers.pem", &[&it.ours, &it.other]);
            trust(it, "clients.pem", &[&it.ours, &it.other]);
        },
        &|it| {
            it.collector_certificate(&it.other, 2099);
            it.adaptor_certificate(&it.other, 2099);
        },
        &|it| {
            trust(it, "servers.pem", &[&it.other]);
            trust(it, "clients.pem", &[&it.other]);
        },
    ];
    let last = (steps.len() as u64 + 1) * PER_STEP;
    let producers = [0, 1].map(|index| secured.pipeline.socket_producer(index, last, 150));
    let files = [0, 1].map(|index| secured.pipeline.file_producer(index, last, PER_STEP, 150));
    let mut allowed = 0;
    let mut go_on = |secured: &Secured| {
        for _ in 0..50 {
            allowed += PER_STEP / 50;
            secured.pipeline.pace.allow(allowed);
            std::thread::sleep(SEEN / 50);
        }
    };
    for step in steps {
        go_on(&secured);
        step(&secured);
    }
    go_on(&secured);
    for producer in producers {
        producer.join();
    }
    for file in files {
        file.join();
    }
    // Whoever has been cut off by what was forgotten is back.
    let verdict = secured.pipeline.finish(PATIENCE);
    verdict.assert_clean("rotation");
    assert_eq!((verdict.acknowledged, verdict.rows), (verdict.sent, 4 * last));
    for collector in &secured.pipeline.collectors {
        assert!(collector.node.log().matches("changed files are in force").count() >= 4);
    }
    for adaptor in &secured.pipeline.adaptors {
        assert!(adaptor.node.log().contains("changed files are in force"));
    }
}

/// A certificate that is good while its connection is made, and not for long.
struct RunsOut {
    /// File and names.
    certificate: (&'static str, &'static [&'static str]),
    /// What the adaptor says once it is over.
    said: &'static str,
}

const RUNS_OUT: [RunsOut; 2] = [
    RunsOut {
        certificate: ("adaptor", &["web-1.example"]),
        said: "refused (Token): the peer's certificate is wrong: certificate expired",
    },
    RunsOut {
        certificate: ("collector", &["localhost", "127.0.0.1"]),
        said: "no TLS with the collector: the peer's certificate is wrong: certificate expired",
    },
];

impl RunsOut {
    fn check(&self) {
        const RECORDS: u64 = 200;
        // Long enough to start on a busy machine.
        const LIFE: Duration = Duration::from_secs(15);
        let mut secured = Secured::new(Plan::default());
        let (file, names) = self.certificate;
        let until = SystemTime::now() + LIFE;
        secured.put(secured.ours.sign_until(names, file, until), file);
        secured.start();
        let producer = secured.pipeline.socket_producer(0, RECORDS, 100);
        secured.pipeline.pace.allow(RECORDS / 2);
        wait_until("the first half is in the table", PATIENCE, || secured.pipeline.judge().rows == RECORDS / 2);
        let adaptor = &secured.pipeline.adaptors[0].node;
        assert!(!adaptor.log().contains("expired"), "{}", adaptor.log());
        adaptor.wait_for(self.said, PATIENCE);
        assert!(SystemTime::now() > until);
        secured.pipeline.pace.allow(RECORDS);
        producer.join();
        assert_eq!(secured.pipeline.judge().rows, RECORDS / 2, "nothing goes to whoever may not be spoken to");
        secured.put(secured.ours.sign_for(names, file, 2099), file);
        let verdict = secured.pipeline.finish(PATIENCE);
        verdict.assert_clean(file);
        assert_eq!(verdict.acknowledged, RECORDS);
    }
}

#[test]
fn a_certificate_that_runs_out_ends_its_connection_and_the_next_one_goes_on() {
    std::thread::scope(|scope| RUNS_OUT.iter().for_each(|case| drop(scope.spawn(|| case.check()))));
}
