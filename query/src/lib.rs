//! SQL over the committed sink files of Logboom
