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
//! connection on, and only a first group that had records taken after a refused one is answered with `unknown`. A
//! producer that cannot have that begins with a request for nothing.
//!
//! A record that a rule of the operator drops (`[[adaptor.route]]`) is done with and counts like one that is durable:
//! otherwise its producer would send it for ever.
//!
//! No answer at all (the connection broke, the adaptor stopped): the outcome is unknown.
//!
//! This file decides; [`super::answers`] writes.

use std::io::Write;

use serde::Deserialize;
use serde_json::value::RawValue;

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

/// The records since the previous request. `R` tells when records are durable, and all that were taken before them.
#[derive(Debug)]
pub(super) struct Group<R> {
    /// Records taken, or dropped by a rule, before the first that was refused.
    first: u64,
    /// Of the newest records that were taken.
    receipt: Option<R>,
    refused: bool,
    taken_after_refused: bool,
    /// The producer is known to ask.
    asks: bool,
}

impl<R> Default for Group<R> {
    fn default() -> Self {
        Self { first: 0, receipt: None, refused: false, taken_after_refused: false, asks: false }
    }
}

impl<R> Group<R> {
    /// Whether more records of this group must be refused, without trying.
    pub(super) fn refuses(&self) -> bool {
        self.refused && self.asks
    }

    /// Records were taken.
    pub(super) fn take(&mut self, records: u64, receipt: R) {
        match self.refused {
            false => self.first += records,
            true => self.taken_after_refused = true,
        }
        self.receipt = Some(receipt);
    }

    /// Records came that rules drop.
    pub(super) fn pass(&mut self, records: u64) {
        if !self.refused {
            self.first += records;
        }
    }

    /// Records were refused.
    pub(super) fn refuse(&mut self) {
        self.refused = true;
    }

    /// A request ends the group; the next one begins.
    pub(super) fn end(&mut self, id: AckId) -> Answer<R> {
        let group = std::mem::take(self);
        self.asks = true;
        let status = match (group.refused, group.taken_after_refused) {
            (false, _) => Status::Ok,
            (true, false) => Status::Refused,
            (true, true) => Status::Unknown,
        };
        Answer { id, status, records: group.first, receipt: group.receipt }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Status {
    Ok,
    Refused,
    Unknown,
}

/// What a request is answered.
#[derive(Debug)]
pub(super) struct Answer<R> {
    id: AckId,
    status: Status,
    records: u64,
    /// What must be durable before it is said.
    pub(super) receipt: Option<R>,
}

impl<R> Answer<R> {
    /// Adds its line to `out`.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let AckId(id) = &self.id;
        let outcome = match self.status {
            Status::Ok => r#""status":"ok""#,
            Status::Refused => r#""status":"refused","reason":"spool full""#,
            Status::Unknown => {
                r#""status":"unknown","reason":"spool full, then records were taken again; begin a connection with a $ack line to prevent that""#
            }
        };
        // Writing to memory does not fail.
        let _ = writeln!(out, r#"{{"$ack":{id},{outcome},"records":{}}}"#, self.records);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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

    #[test]
    fn a_group_is_what_was_taken_since_the_last_request() {
        let mut group = Group::default();
        group.take(2, 'a');
        group.take(3, 'b');
        let answer = group.end(id());
        assert_eq!(answer.receipt, Some('b'), "the newest covers all");
        assert_eq!(line(&answer), "{\"$ack\":7,\"status\":\"ok\",\"records\":5}\n");
        let answer = group.end(id());
        assert_eq!((answer.receipt, answer.records), (None, 0));
    }

    #[test]
    fn records_that_rules_drop_count_until_one_is_refused() {
        let mut group = Group::default();
        group.end(id());
        group.pass(1);
        group.take(2, 'a');
        group.pass(3);
        group.refuse();
        group.pass(4);
        let answer = group.end(id());
        assert_eq!((answer.status, answer.records, answer.receipt), (Status::Refused, 6, Some('a')));
        group.pass(5);
        let answer = group.end(id());
        assert_eq!((answer.status, answer.records, answer.receipt), (Status::Ok, 5, None));
    }

    #[test]
    fn after_a_refusal_the_rest_of_the_group_is_refused_and_the_next_group_is_not() {
        let mut group = Group::default();
        group.end(id());
        group.take(2, 'a');
        group.refuse();
        assert!(group.refuses());
        let answer = group.end(id());
        assert_eq!(answer.receipt, Some('a'));
        assert_eq!(line(&answer), "{\"$ack\":7,\"status\":\"refused\",\"reason\":\"spool full\",\"records\":2}\n");
        assert!(!group.refuses());
    }

    #[test]
    fn a_producer_that_never_asked_is_tried_again_after_a_refusal_and_told_so_if_it_asks() {
        let mut group = Group::default();
        group.take(2, 'a');
        group.refuse();
        assert!(!group.refuses());
        group.take(4, 'b');
        let answer = group.end(id());
        assert_eq!((answer.status, answer.records, answer.receipt), (Status::Unknown, 2, Some('b')));

        let mut group = Group::default();
        group.take(2, 'a');
        group.refuse();
        assert_eq!(group.end(id()).status, Status::Refused);
    }
}
