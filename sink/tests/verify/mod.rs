//! What a verification finds in tables that were made, damaged and told about on purpose.

mod bench;
mod damage;
mod json;
mod losses;
mod scope;
mod table;
