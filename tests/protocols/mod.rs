//! Every protocol, spoken by a real client library to a real adaptor, with a real collector and table behind it.
//!
//! - `client`: runs the scripts in `tests/clients`, each of which uses a library as its users do
//! - `delivery`: what was sent is in the table, byte for byte
//! - `refusal`: a full spool is shown to the client, and what was answered with OK arrives all the same
//! - `hostile`: clients that mean harm take nothing from those who do not
//! - `kills`: the adaptor is killed under load; nothing that was acknowledged is lost
//!
//! The scripts need Python and Node with the packages that `tests/clients/requirements.txt` and
//! `tests/clients/package.json` name: `LOGBOOM_TEST_PYTHON` is the interpreter, `LOGBOOM_TEST_NODE_MODULES` the folder of
//! the installed packages. Without them a test says so and passes.

mod client;
mod delivery;
mod hostile;
mod kills;
mod refusal;

use client::Interpreter;

/// How a protocol is spoken in tests.
#[derive(Clone, Copy, Debug)]
pub struct Protocol {
    /// The settings of its source, with `{port}` for the port and `{socket}` for the path of a Unix socket.
    source: &'static str,
    interpreter: Interpreter,
    /// The script in `tests/clients`.
    script: &'static str,
    /// What the script is told to send to, with the same placeholders.
    address: &'static str,
    carries: Carries,
    acknowledges: bool,
}

/// What bodies a protocol can carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// Any bytes.
    Bytes,
    /// Any UTF-8.
    Text,
    /// UTF-8 without newlines, and not empty.
    Line,
}

macro_rules! protocols {
    ($($name:ident: $protocol:expr,)*) => {
        $(mod $name {
            use super::*;

            const PROTOCOL: Protocol = $protocol;

            #[test]
            fn every_record_arrives_byte_for_byte() {
                delivery::check(&PROTOCOL);
            }

            #[test]
            fn a_full_spool_is_shown_and_what_was_answered_arrives() {
                refusal::check(&PROTOCOL);
            }

            #[test]
            fn killed_under_load_nothing_acknowledged_is_lost() {
                kills::check(&PROTOCOL, 2);
            }

            /// `LOGBOOM_KILL_ROUNDS` says how many.
            #[test]
            #[ignore = "takes minutes"]
            fn full_kill_rounds() {
                kills::check(&PROTOCOL, crate::harness::env_number("LOGBOOM_KILL_ROUNDS", 50));
            }
        })*
    };
}

protocols! {
    lines: Protocol {
        source: "type = \"tcp\"\nlisten = \"127.0.0.1:{port}\"\nformat = \"json\"\nmax_line = \"2MiB\"",
        interpreter: Interpreter::Python,
        script: "lines.py",
        address: "127.0.0.1:{port}",
        carries: Carries::Text,
        acknowledges: true,
    },
}
