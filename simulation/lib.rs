//! Many adaptors and collectors over one store, simulated in one thread from one seed: see `docs/simulation.md`. All of
//! it is in the test, so that nothing that is built for users has what it needs.
