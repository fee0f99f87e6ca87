//! The benchmarks are in `benches/`; they are a crate of their own so that they build without the query engine. Here is
//! what they share with the end-to-end tests.

pub mod encode;
