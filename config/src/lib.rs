//! Settings of every role of Logboom: read once, checked, turned into types that cannot be wrong
