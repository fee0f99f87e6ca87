//! The benchmarks are in `benches/`; they are a crate of their own so that they build without the query engine.
