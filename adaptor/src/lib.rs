//! The adaptor of Logboom: sources, spool, sender
