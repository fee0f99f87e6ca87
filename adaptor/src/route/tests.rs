//! Records through funnels, past rules as an operator writes them.
//!
//! What rules do: [`rules`]. What is shared and bounded: [`shared`]. Lanes against a plain reading of the rules:
//! [`random`]. What it costs: [`costs`].

mod costs;
mod random;
mod rules;
mod shared;

use logboom_config::{Source, SourceKind};
use logboom_wire::Record;

use super::Reason;
use crate::intake::Chunk;
use crate::source::testing::{Seen, context, routes, taken};
use crate::source::{Context, Funnel};

/// A context with these rules.
fn with_rules(rules: &str) -> Context {
    Context { routes: routes(rules), ..context() }
}

fn source(category: &str) -> Source {
    Source { category: category.parse().unwrap(), ..Source::new("in", SourceKind::Stdin) }
}

fn funnel(context: &Context) -> Funnel {
    Funnel::new(&source("home"), context, None)
}

fn record(body: &str) -> Record<'_> {
    Record { body: body.as_bytes(), ..Record::default() }
}

/// What is stored of records that name these categories.
fn stored(rules: &str, records: &[(&str, Record<'_>)]) -> Vec<Seen> {
    let context = with_rules(rules);
    let mut funnel = funnel(&context);
    let mut chunk = Chunk::default();
    records.iter().for_each(|(category, record)| funnel.record(Some(category), record, &mut chunk));
    assert_eq!(chunk.records() + chunk.dropped(), records.len());
    assert_eq!(context.counters.records_dropped_by_route.get(), chunk.dropped() as u64);
    assert_eq!(context.routes.counts().iter().map(|(_, count)| *count as usize).sum::<usize>(), chunk.dropped());
    seen(&context, chunk)
}

fn seen(context: &Context, chunk: Chunk) -> Vec<Seen> {
    match chunk.records() {
        0 => Vec::new(),
        _ => taken(&context.intake, chunk),
    }
}

/// The same, as `category:body`, sorted.
fn places(rules: &str, records: &[(&str, Record<'_>)]) -> Vec<String> {
    let mut places: Vec<_> =
        stored(rules, records).iter().map(|seen| format!("{}:{}", seen.category, seen.body)).collect();
    places.sort();
    places
}
