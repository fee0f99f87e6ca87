use super::*;

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap()
}

fn key(category: &str) -> Arc<RunKey> {
    Arc::new(RunKey { category: category.into(), source: "s".into(), attributes: vec![] })
}

fn chunk(bytes: usize) -> Chunk {
    let mut chunk = Chunk::default();
    chunk.rows(&key("c")).push_line(1, &vec![b'x'; bytes]);
    chunk
}

const MOMENT: Duration = Duration::from_millis(30);

#[test]
fn what_comes_during_a_sync_lands_in_one_next_block() {
    let intake = Intake::new(1 << 20, 16 << 20);
    runtime().block_on(async {
        let first = intake.append(chunk(1)).await.unwrap();
        let mut taken = intake.take(Duration::ZERO, None).unwrap();
        // The sync is running.
        let mut receipts = vec![first];
        for _ in 0..10 {
            receipts.push(intake.append(chunk(1)).await.unwrap());
        }
        intake.synced(taken.tickets());
        let last = receipts.pop().unwrap();
        receipts.remove(0).durable().await.unwrap();
        assert!(tokio::time::timeout(MOMENT, last.durable()).await.is_err(), "the next sync is not yet");
        let mut next = intake.take(Duration::from_secs(100), None).expect("somebody waits, so there is no lingering");
        assert_eq!(next.blocks.len(), 1);
        assert_eq!(next.blocks[0].records(), 10);
        intake.synced(next.tickets());
        for receipt in receipts {
            receipt.durable().await.unwrap();
        }
    });
}

#[test]
fn a_block_lingers_for_more_unless_it_is_full() {
    let intake = Intake::new(1000, 1 << 20);
    runtime().block_on(async {
        let start = Instant::now();
        let _receipt = intake.append(chunk(1)).await.unwrap();
        assert_eq!(intake.take(MOMENT, None).unwrap().blocks.len(), 1);
        assert!(start.elapsed() >= MOMENT);
        for _ in 0..3 {
            let _receipt = intake.append(chunk(1000)).await.unwrap();
        }
        let full = intake.take(Duration::from_secs(100), None).unwrap();
        assert_eq!(full.blocks.len(), 3);
    });
}

#[test]
fn a_producer_waits_at_the_bound_and_goes_on_after_the_sync() {
    let intake = Intake::new(100, 1000);
    runtime().block_on(async {
        let _first = intake.append(chunk(900)).await.unwrap();
        let waiting = tokio::spawn({
            let intake = intake.clone();
            async move { intake.append(chunk(900)).await.map(|_| ()) }
        });
        tokio::time::sleep(MOMENT).await;
        assert!(!waiting.is_finished());
        let mut taken = intake.take(Duration::ZERO, None).unwrap();
        tokio::time::sleep(MOMENT).await;
        assert!(!waiting.is_finished(), "what is being written is still in memory");
        intake.synced(taken.tickets());
        waiting.await.unwrap().unwrap();
        // Larger than everything: it comes alone.
        let mut taken = intake.take(Duration::ZERO, None).unwrap();
        intake.synced(taken.tickets());
        let _alone = intake.append(chunk(5000)).await.unwrap();
    });
}

#[test]
fn a_closed_intake_hands_out_the_rest_and_takes_no_more() {
    let intake = Intake::new(100, 1000);
    runtime().block_on(async {
        let _first = intake.append(chunk(995)).await.unwrap();
        let waiting = tokio::spawn({
            let intake = intake.clone();
            async move { intake.append(chunk(900)).await.map(|_| ()) }
        });
        tokio::time::sleep(MOMENT).await;
        intake.close();
        assert_eq!(waiting.await.unwrap(), Err(Refused::Closed));
        assert_eq!(intake.append(chunk(1)).await.err(), Some(Refused::Closed));
        assert_eq!(intake.take(Duration::from_secs(100), None).unwrap().blocks.len(), 1);
        assert!(intake.take(Duration::from_secs(100), None).is_none());
    });
}

#[test]
fn nobody_waits_for_a_writer_that_has_ended() {
    let intake = Intake::new(100, 1000);
    runtime().block_on(async {
        let synced = intake.append(chunk(1)).await.unwrap();
        let mut taken = intake.take(Duration::ZERO, None).unwrap();
        intake.synced(taken.tickets());
        let lost = intake.append(chunk(1)).await.unwrap();
        let late = intake.append(chunk(1)).await.unwrap();
        let waiting = tokio::spawn(lost.durable());
        tokio::time::sleep(MOMENT).await;
        intake.end();
        assert_eq!(waiting.await.unwrap(), Err(Refused::Closed));
        assert_eq!(late.durable().await, Err(Refused::Closed));
        assert_eq!(synced.durable().await, Ok(()));
    });
}

#[test]
fn a_refusing_intake_still_takes_from_sources_that_can_wait() {
    let intake = Intake::new(100, 1000);
    runtime().block_on(async {
        intake.refuse_all(true);
        assert_eq!(intake.append(chunk(1)).await.err(), Some(Refused::Full));
        let _receipt = intake.append_or_wait(chunk(1)).await.unwrap();
        intake.refuse_all(false);
        let _receipt = intake.append(chunk(1)).await.unwrap();
    });
}

#[test]
fn what_may_be_refused_is_refused_after_it_was_taken_and_what_may_not_stays() {
    let intake = Intake::new(100, 10_000);
    runtime().block_on(async {
        let mut receipts = Vec::new();
        for _ in 0..5 {
            receipts.push(intake.append_asked(chunk(60)).await.unwrap());
        }
        let kept = intake.append(chunk(60)).await.unwrap();
        let waits = intake.append_or_wait(chunk(60)).await.unwrap();
        let mut joined = receipts.pop().unwrap();
        joined.join(receipts.pop().unwrap());
        intake.refuse_pending(|records| assert_eq!(records, 5));
        assert_eq!(joined.outcome(), Some(Err(Refused::Full)));
        assert_eq!(joined.durable().await, Err(Refused::Full));
        assert_eq!(receipts.remove(0).durable().await, Err(Refused::Full));
        assert_eq!(kept.outcome(), None);
        let mut taken = intake.take(Duration::ZERO, None).unwrap();
        assert_eq!(taken.blocks.iter().map(Pending::records).sum::<u64>(), 2);
        intake.synced(taken.tickets());
        kept.durable().await.unwrap();
        waits.durable().await.unwrap();
        intake.set_refusing(Refusing::Asked);
        assert_eq!(intake.append_asked(chunk(1)).await.err(), Some(Refused::Full));
        let _taken = intake.append(chunk(1)).await.unwrap();
    });
}

#[test]
fn a_producer_that_can_be_told_does_not_wait_for_memory_when_the_spool_is_full() {
    let intake = Intake::new(100, 1000);
    runtime().block_on(async {
        let _fills = intake.append_or_wait(chunk(900)).await.unwrap();
        let waiting = tokio::spawn({
            let intake = intake.clone();
            async move { intake.append_asked(chunk(900)).await.map(|_| ()) }
        });
        tokio::time::sleep(MOMENT).await;
        assert!(!waiting.is_finished());
        intake.set_refusing(Refusing::Asked);
        assert_eq!(waiting.await.unwrap(), Err(Refused::Full));
    });
}

#[test]
fn equal_keys_share_a_run_and_the_newest_position_counts() {
    let intake = Intake::new(1 << 20, 1 << 20);
    runtime().block_on(async {
        for n in 0..3 {
            let mut chunk = Chunk::default();
            chunk.rows(&key("b")).push_line(1, b"x");
            chunk.rows(&key("a")).push_line(1, b"x");
            chunk.set_position(Position { key: "p".into(), value: "stale".into() });
            chunk.set_position(Position { key: "p".into(), value: n.to_string() });
            assert_eq!(chunk.records(), 2);
            let _receipt = intake.append(chunk).await.unwrap();
        }
    });
    let taken = intake.take(Duration::ZERO, None).unwrap();
    let runs: Vec<_> = taken.blocks[0].runs.iter().map(|(key, rows)| (&key.category[..], rows.len())).collect();
    assert_eq!(runs, [("a", 3), ("b", 3)]);
    assert_eq!(taken.blocks[0].positions, BTreeMap::from([("p".into(), "2".into())]));
}

#[test]
fn many_producers_at_the_bound_all_get_through() {
    let intake = Intake::new(300, 1000);
    let runtime = runtime();
    let writer = std::thread::spawn({
        let intake = intake.clone();
        move || {
            let mut records = 0;
            // Without receipts nobody is urgent; a lost wake-up would linger for ever.
            while let Some(mut taken) = intake.take(Duration::from_millis(1), None) {
                let tickets = taken.tickets();
                records += taken.blocks.iter().map(Pending::records).sum::<u64>();
                intake.synced(tickets);
            }
            records
        }
    });
    let producers: Vec<_> = (0..16)
        .map(|producer| {
            let intake = intake.clone();
            runtime.spawn(async move {
                for n in 0..300 {
                    let receipt = intake.append(chunk(1 + (n * 37 + producer) % 400)).await.unwrap();
                    if n % 7 == producer % 7 {
                        receipt.durable().await.unwrap();
                    }
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for producer in producers {
            tokio::time::timeout(Duration::from_secs(60), producer).await.expect("nobody hangs").unwrap();
        }
    });
    intake.close();
    assert_eq!(writer.join().unwrap(), 16 * 300);
}
