//! Every protocol, spoken by a real client library to a real adaptor, with a real collector and table behind it.
//!
//! - `client`: runs the scripts in `tests/clients`, each of which uses a library as its users do
//! - `delivery`: what was sent is in the table, byte for byte
//! - `refusal`: a full spool is shown to the client, and what was answered with OK arrives all the same
//! - `hostile`: clients that mean harm take nothing from those who do not
//! - `journald`: the journal of systemd, which nobody sends
//! - `tls`: the same encrypted, and who is kept out
//! - `kills`: the adaptor is killed under load; nothing that was acknowledged is lost
//!
//! The scripts need Python and Node with the packages that `tests/clients/requirements.txt` and
//! `tests/clients/package.json` name: `LOGBOOM_TEST_PYTHON` is the interpreter, `LOGBOOM_TEST_NODE_MODULES` the folder of
//! the installed packages. What else they need are the Debian packages in `tests/clients/packages.txt`. Without them a test
//! says so and passes.

mod client;
mod delivery;
mod hostile;
mod journald;
mod kills;
mod refusal;
mod tls;

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
    answers: Answers,
}

/// What a client learns of its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answers {
    /// Nothing.
    None,
    /// Whether they are durable.
    Each,
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
    /// Such lines that a datagram holds.
    ShortLine,
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
        answers: Answers::Each,
    },
    scribe_facebook_scribe: Protocol {
        source: "type = \"scribe\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Python,
        script: "scribe.py",
        address: "127.0.0.1:{port}",
        carries: Carries::Bytes,
        answers: Answers::Each,
    },
    scribe_npm: Protocol {
        source: "type = \"scribe\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Node,
        script: "scribe.js",
        address: "127.0.0.1:{port}",
        carries: Carries::Bytes,
        answers: Answers::Each,
    },
    forward_fluent_logger: Protocol {
        source: "type = \"forward\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Python,
        script: "forward.py",
        address: "127.0.0.1:{port}",
        carries: Carries::Bytes,
        answers: Answers::Each,
    },
    forward_fluent_org_logger_over_a_unix_socket: Protocol {
        source: "type = \"forward\"\ntransport = \"unix\"\npath = \"{socket}\"",
        interpreter: Interpreter::Node,
        script: "forward.js",
        address: "{socket}",
        carries: Carries::Bytes,
        answers: Answers::Each,
    },
    forward_docker_driver_that_asks_for_acknowledgements: Protocol {
        source: "type = \"forward\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Go,
        script: "fluentd_driver.go",
        address: "127.0.0.1:{port}?request-ack&sub-second-precision",
        carries: Carries::Bytes,
        answers: Answers::Each,
    },
    forward_docker_driver_over_a_unix_socket: Protocol {
        source: "type = \"forward\"\ntransport = \"unix\"\npath = \"{socket}\"",
        interpreter: Interpreter::Go,
        script: "fluentd_driver.go",
        address: "{socket}",
        carries: Carries::Bytes,
        answers: Answers::None,
    },
    otlp_grpc_python_sdk: Protocol {
        source: "type = \"otlp\"\ngrpc_listen = \"127.0.0.1:{port}\"\nhttp_listen = \"\"",
        interpreter: Interpreter::Python,
        script: "otlp_grpc.py",
        address: "127.0.0.1:{port}",
        carries: Carries::Bytes,
        answers: Answers::Each,
    },
    otlp_http_python_sdk: Protocol {
        source: "type = \"otlp\"\nhttp_listen = \"127.0.0.1:{port}\"\ngrpc_listen = \"\"",
        interpreter: Interpreter::Python,
        script: "otlp_http.py",
        address: "127.0.0.1:{port}",
        carries: Carries::Bytes,
        answers: Answers::Each,
    },
    http: Protocol {
        source: "type = \"http\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Python,
        script: "http_post.py",
        address: "127.0.0.1:{port}",
        carries: Carries::Bytes,
        answers: Answers::Each,
    },
    elasticsearch_python_client: Protocol {
        source: "type = \"http\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Python,
        script: "elasticsearch_bulk.py",
        address: "127.0.0.1:{port}",
        carries: Carries::Text,
        answers: Answers::Each,
    },
    loki_python_logging_loki: Protocol {
        source: "type = \"http\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Python,
        script: "loki.py",
        address: "127.0.0.1:{port}",
        carries: Carries::Text,
        answers: Answers::Each,
    },
    splunk_hec: Protocol {
        source: "type = \"http\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Python,
        script: "splunk.py",
        address: "127.0.0.1:{port}",
        carries: Carries::Text,
        answers: Answers::Each,
    },
    syslog_octets_counted: Protocol {
        source: "type = \"syslog\"\ntransport = \"tcp\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Python,
        script: "syslog.py",
        address: "tcp://127.0.0.1:{port}",
        carries: Carries::Bytes,
        answers: Answers::None,
    },
    syslog_logger_over_tcp: Protocol {
        source: "type = \"syslog\"\ntransport = \"tcp\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Shell,
        script: "syslog.sh",
        address: "tcp://127.0.0.1:{port}",
        carries: Carries::Line,
        answers: Answers::None,
    },
    syslog_logger_over_udp: Protocol {
        source: "type = \"syslog\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Shell,
        script: "syslog.sh",
        address: "udp://127.0.0.1:{port}",
        carries: Carries::ShortLine,
        answers: Answers::None,
    },
    syslog_logger_over_a_unix_datagram_socket: Protocol {
        source: "type = \"syslog\"\ntransport = \"unix\"\nsocket = \"datagram\"\npath = \"{socket}\"",
        interpreter: Interpreter::Shell,
        script: "syslog.sh",
        address: "{socket}",
        carries: Carries::ShortLine,
        answers: Answers::None,
    },
    syslog_logger_over_a_unix_stream_socket: Protocol {
        source: "type = \"syslog\"\ntransport = \"unix\"\npath = \"{socket}\"",
        interpreter: Interpreter::Shell,
        script: "syslog.sh",
        address: "{socket}",
        carries: Carries::Line,
        answers: Answers::None,
    },
    syslog_rsyslog_omfwd: Protocol {
        source: "type = \"syslog\"\ntransport = \"tcp\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Shell,
        script: "rsyslog.sh",
        address: "127.0.0.1:{port}",
        carries: Carries::Line,
        answers: Answers::None,
    },
    gelf_graypy: Protocol {
        source: "type = \"gelf\"\ntransport = \"tcp\"\nlisten = \"127.0.0.1:{port}\"",
        interpreter: Interpreter::Python,
        script: "gelf.py",
        address: "tcp://127.0.0.1:{port}",
        carries: Carries::Text,
        answers: Answers::None,
    },
}
