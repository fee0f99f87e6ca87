//! Acknowledgements on the `json` form of Unix stream and TCP sockets: what is asked, what is answered, and when.
//!
//! A producer sends a *request* after its records: a line with an object whose only member is `$ack`, a text or an
//! integer of at most 64 bytes. The records since the previous request are its *group*. The adaptor answers each
//! request, in order, with a line that repeats the `$ack`:
//!
//! | answer | meaning |
//! |---|---|
//! | `{"$ack":7,"status":"ok","records":N}` | the N records of the group are synced to disk |
//! | `{"$ack":7,"status":"refused","reason":"spool full","records":K}` | the first K are synced; the others were refused and may be sent again |
//! | `{"$ack":7,"status":"unknown","reason":"…","records":K}` | the first K are synced; of the others, some |
//!
//! Once one record of a group is refused the rest of it is, which makes K exact. That would be wrong for a producer
//! that never asks: it would lose all that it sends after one refusal. So it holds from the first request of a
//! connection on. A group that had records taken after a refused one is answered with `unknown`: a first group, which a
//! producer prevents by beginning with a request for nothing; or one of which a part was refused after it was taken into
//! memory, just when the spool had room again.
//!
//! A record that a rule of the operator drops (`[[adaptor.route]]`) is done with and counts like one that is durable:
//! otherwise its producer would send it for ever.
//!
//! No answer at all (the connection broke, the adaptor stopped): the outcome is unknown.
//!
//! This file decides; [`answers`] writes.

use std::collections::VecDeque;
use std::io::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::intake::Refused;
use crate::source::answers;

/// Longest `$ack`, in bytes, without its quotes.
const ID_BYTES_MAX: usize = 64;
/// A longer line is not looked at.
const REQUEST_BYTES_MAX: usize = 256;
const NAME: &[u8] = b"\"$ack\"";

/// The `$ack` of a request, as the producer wrote it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct AckId(Box<str>);

/// Whether `line` is a request. An object that is not exactly one is a record like any other.
pub(super) fn request(line: &[u8]) -> Option<AckId> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Request<'a> {
        #[serde(rename = "$ack", borrow)]
        id: &'a RawValue,
    }

    let inside = line.strip_prefix(b"{")?;
    if line.len() > REQUEST_BYTES_MAX || !inside.trim_ascii_start().starts_with(NAME) {
        return None;
    }
    let id = serde_json::from_slice::<Request<'_>>(line).ok()?.id.get();
    let text = id.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
    let integer = || id.strip_prefix('-').unwrap_or(id).bytes().all(|byte| byte.is_ascii_digit());
    let fits = text.unwrap_or(id).len() <= ID_BYTES_MAX;
    (fits && (text.is_some() || integer())).then(|| AckId(id.into()))
}

/// What became of the records of a group, as far as that is known.
#[derive(Debug, Default)]
struct Tally {
    /// Records that are durable, or were dropped by a rule, up to the first that was refused.
    first: u64,
    refused: bool,
    durable_after_refused: bool,
}

impl Tally {
    fn add(&mut self, records: u64, outcome: Result<(), Refused>) {
        match (outcome, self.refused) {
            (Err(_), _) => self.refused = true,
            (Ok(()), false) => self.first += records,
            (Ok(()), true) => self.durable_after_refused = true,
        }
    }

    /// A rule dropped records.
    fn pass(&mut self, records: u64) {
        if !self.refused {
            self.first += records;
        }
    }
}

/// Records that were taken and whose outcome `R` will tell, that a rule dropped, or that were refused at once.
#[derive(Debug)]
enum Part<R> {
    Taken(u64, R),
    Dropped(u64),
    Refused,
}

/// The records since the previous request.
#[derive(Debug)]
pub(super) struct Group<R> {
    tally: Tally,
    /// What follows on the tally, in order.
    parts: VecDeque<Part<R>>,
    refused: bool,
    /// The producer is known to ask.
    asks: bool,
}

impl<R> Default for Group<R> {
    fn default() -> Self {
        Self { tally: Tally::default(), parts: VecDeque::new(), refused: false, asks: false }
    }
}

impl<R> Group<R> {
    /// Whether more records of this group must be refused, without trying.
    pub(super) fn refuses(&self) -> bool {
        self.refused && self.asks
    }

    /// Records were taken. `outcome` tells what became of those taken earlier, where that is known: a producer may never
    /// ask, and what is known needs no memory.
    pub(super) fn take(&mut self, records: u64, receipt: R, outcome: impl Fn(&R) -> Option<Result<(), Refused>>) {
        while let Some(part) = self.parts.front() {
            match part {
                Part::Refused => self.tally.add(0, Err(Refused::Full)),
                Part::Dropped(records) => self.tally.pass(*records),
                Part::Taken(records, receipt) => match outcome(receipt) {
                    Some(outcome) => self.tally.add(*records, outcome),
                    None => break,
                },
            }
            self.parts.pop_front();
        }
        self.parts.push_back(Part::Taken(records, receipt));
    }

    /// Records came that rules drop.
    pub(super) fn pass(&mut self, records: u64) {
        match self.parts.back_mut() {
            _ if records == 0 => {}
            Some(Part::Dropped(dropped)) => *dropped += records,
            _ => self.parts.push_back(Part::Dropped(records)),
        }
    }

    /// Records were refused.
    pub(super) fn refuse(&mut self) {
        if !matches!(self.parts.back(), Some(Part::Refused)) {
            self.parts.push_back(Part::Refused);
        }
        self.refused = true;
    }

    /// A request ends the group; the next one begins.
    pub(super) fn end(&mut self, id: AckId) -> Answer<R> {
        let group = std::mem::take(self);
        self.asks = true;
        Answer { id, tally: group.tally, parts: group.parts, awaited: 0 }
    }
}

/// What a request is answered, once the outcome of every part is known.
#[derive(Debug)]
pub(super) struct Answer<R> {
    id: AckId,
    tally: Tally,
    parts: VecDeque<Part<R>>,
    /// Records of the receipt that was given last.
    awaited: u64,
}

impl<R> answers::Answer<R> for Answer<R> {
    fn next(&mut self) -> Option<R> {
        loop {
            match self.parts.pop_front()? {
                Part::Refused => self.tally.add(0, Err(Refused::Full)),
                Part::Dropped(records) => self.tally.pass(records),
                Part::Taken(records, receipt) => {
                    self.awaited = records;
                    return Some(receipt);
                }
            }
        }
    }

    fn settle(&mut self, outcome: Result<(), Refused>) -> Result<(), Refused> {
        self.tally.add(self.awaited, outcome);
        Ok(())
    }

    fn write(&self, out: &mut Vec<u8>) {
        let AckId(id) = &self.id;
        let outcome = match (self.tally.refused, self.tally.durable_after_refused) {
            (false, _) => r#""status":"ok""#,
            (true, false) => r#""status":"refused","reason":"spool full""#,
            (true, true) => {
                r#""status":"unknown","reason":"spool full, then records were taken again; begin a connection with a $ack line to prevent that""#
            }
        };
        // Writing to memory does not fail.
        let _ = writeln!(out, r#"{{"$ack":{id},{outcome},"records":{}}}"#, self.tally.first);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source::answers::Answer as _;

    fn line<R>(answer: &Answer<R>) -> String {
        let mut out = Vec::new();
        answer.write(&mut out);
        String::from_utf8(out).unwrap()
    }

    fn id() -> AckId {
        request(b"{\"$ack\":7}").unwrap()
    }

    #[test]
    fn a_request_is_an_object_with_nothing_but_an_ack() {
        let longest = format!("{{\"$ack\":\"{}\"}}", "x".repeat(64));
        for (line, id) in [
            (r#"{"$ack":7}"#, "7"),
            (r#"{ "$ack" : -12 } "#, "-12"),
            (r#"{"$ack":"a\"b"}"#, r#""a\"b""#),
            (r#"{"$ack":""}"#, r#""""#),
            (&longest, &longest[8..74]),
        ] {
            assert_eq!(request(line.as_bytes()), Some(AckId(id.into())), "{line}");
        }
        let too_long = format!("{{\"$ack\":\"{}\"}}", "x".repeat(65));
        for line in [
            "",
            "{",
            "{}",
            "7",
            r#"{"$ack":1.5}"#,
            r#"{"$ack":1e3}"#,
            r#"{"$ack":null}"#,
            r#"{"$ack":[1]}"#,
            r#"{"$ack":true}"#,
            r#"{"$ack":7,"n":1}"#,
            r#"{"n":1,"$ack":7}"#,
            r#"{"$ack":7,"$ack":8}"#,
            r#"{"$ack":7}}"#,
            r#"{"$acks":7}"#,
            &too_long,
        ] {
            assert_eq!(request(line.as_bytes()), None, "{line}");
        }
    }

    const OPEN: fn(&char) -> Option<Result<(), Refused>> = |_| None;

    /// The answer once the receipts have these outcomes.
    fn answered<const N: usize>(mut answer: Answer<char>, outcomes: [(char, Result<(), Refused>); N]) -> String {
        for (expected, outcome) in outcomes {
            assert_eq!(answer.next(), Some(expected));
            answer.settle(outcome).unwrap();
        }
        assert_eq!(answer.next(), None);
        line(&answer)
    }

    const FULL: Result<(), Refused> = Err(Refused::Full);

    #[test]
    fn a_group_is_what_was_taken_since_the_last_request() {
        let mut group = Group::default();
        group.take(2, 'a', OPEN);
        group.take(3, 'b', OPEN);
        let answer = answered(group.end(id()), [('a', Ok(())), ('b', Ok(()))]);
        assert_eq!(answer, "{\"$ack\":7,\"status\":\"ok\",\"records\":5}\n");
        let answer = answered(group.end(id()), []);
        assert_eq!(answer, "{\"$ack\":7,\"status\":\"ok\",\"records\":0}\n");
    }

    #[test]
    fn records_that_rules_drop_count_until_one_is_refused() {
        let mut group = Group::default();
        group.end(id());
        group.pass(1);
        group.take(2, 'a', OPEN);
        group.pass(3);
        group.refuse();
        group.pass(4);
        let answer = answered(group.end(id()), [('a', Ok(()))]);
        assert_eq!(answer, "{\"$ack\":7,\"status\":\"refused\",\"reason\":\"spool full\",\"records\":6}\n");
        group.pass(5);
        let answer = answered(group.end(id()), []);
        assert_eq!(answer, "{\"$ack\":7,\"status\":\"ok\",\"records\":5}\n");
    }

    #[test]
    fn after_a_refusal_the_rest_of_the_group_is_refused_and_the_next_group_is_not() {
        let mut group = Group::default();
        group.end(id());
        group.take(2, 'a', OPEN);
        group.refuse();
        assert!(group.refuses());
        let answer = answered(group.end(id()), [('a', Ok(()))]);
        assert_eq!(answer, "{\"$ack\":7,\"status\":\"refused\",\"reason\":\"spool full\",\"records\":2}\n");
        assert!(!group.refuses());
    }

    #[test]
    fn what_is_refused_after_it_was_taken_counts_as_refused() {
        let mut group = Group::default();
        group.take(2, 'a', OPEN);
        group.take(3, 'b', OPEN);
        group.take(4, 'c', OPEN);
        let answer = answered(group.end(id()), [('a', Ok(())), ('b', FULL), ('c', FULL)]);
        assert_eq!(answer, "{\"$ack\":7,\"status\":\"refused\",\"reason\":\"spool full\",\"records\":2}\n");
        group.take(2, 'a', OPEN);
        group.take(3, 'b', OPEN);
        let answer = answered(group.end(id()), [('a', FULL), ('b', Ok(()))]);
        assert!(answer.contains("\"unknown\"") && answer.ends_with("\"records\":0}\n"), "{answer}");
    }

    #[test]
    fn a_producer_that_never_asked_is_tried_again_after_a_refusal_and_told_so_if_it_asks() {
        let mut group = Group::default();
        group.take(2, 'a', OPEN);
        group.refuse();
        assert!(!group.refuses());
        group.take(4, 'b', OPEN);
        let answer = answered(group.end(id()), [('a', Ok(())), ('b', Ok(()))]);
        assert!(answer.contains("\"unknown\"") && answer.ends_with("\"records\":2}\n"), "{answer}");
    }

    #[test]
    fn a_producer_that_never_asks_takes_no_memory_for_what_is_settled() {
        let mut group = Group::default();
        for _ in 0..1000 {
            group.take(2, 'a', |_| Some(Ok(())));
            group.refuse();
            group.refuse();
        }
        assert!(group.parts.len() <= 2);
    }
}
