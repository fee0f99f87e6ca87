//! Only the tests beside this.
