//! The collector of Logboom: listener, session, batch
