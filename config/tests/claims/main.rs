//! Claims about settings files. Contents:
//!
//! * `values`: what a good file becomes
//! * `errors`: what a bad file is answered, word for word
//! * `defaults`: the file of all defaults and the defaults are the same
//! * `routes`: rules, good and bad
//! * `sink_routes`: tables for some categories, good and bad
//! * `secrets`: where secrets come from and where they do not go
//! * `parsing`: how lines become records, and what cannot be
//! * `manual`: the manual of sources is complete
//! * `mangled`: no text makes it panic, or answer with more than one line
//! * `fuzzed`: the same, as fuzz targets
//! * `project`: what the project says of itself: threats and their tests, fuzz targets, units of systemd

mod defaults;
mod errors;
mod fuzzed;
mod mangled;
mod manual;
mod parsing;
mod project;
mod routes;
mod secrets;
mod sink_routes;
mod values;

use logboom_config::Settings;

/// Parses a text that must be good.
fn parse(text: &str) -> Settings {
    Settings::parse("l.toml", text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// The answer to a text that must be bad.
fn refuse(text: &str) -> String {
    match Settings::parse("l.toml", text) {
        Ok(_) => panic!("this was not refused:\n{text}"),
        Err(error) => error.to_string(),
    }
}

/// Everything that a file can say, without secrets.
const FULL: &str = r#"
[adaptor]
host = "web-1"
collectors = ["a.example.com", "10.0.0.2:9", "::1"]
insecure = true
drain_timeout = "5s"
labels = { region = "eu" }

[adaptor.spool]
path = "/tmp/spool"
max_size = "1GB"
segment_size = "1MiB"
block_size = 65536
linger = "0s"
buffer_size = "128KiB"
when_full = "drop_oldest"
max_age = "2d"
send_expired = true

[[adaptor.source]]
type = "file"
name = "nginx"
include = ["/var/log/nginx/*.log", "more/*.log"]
exclude = ["*.gz"]
read_from = "end"
poll_interval = "1s"
max_open = 7
format = "json"
category = "nginx.{file_stem}"
max_line = "64KiB"
on_long_line = "split"

[adaptor.source.attributes]
team = "web"

[[adaptor.source]]
type = "unix"
path = "/run/a.sock"
socket = "datagram"
mode = "0600"
owner = "root:adm"
max_connections = 3
idle_timeout = "1m"

[[adaptor.source]]
type = "tcp"
listen = "[::1]:1514"

[[adaptor.source]]
type = "udp"
listen = "0.0.0.0:1514"
insecure = true
receive_buffer = "64KiB"

[[adaptor.source]]
type = "stdin"

[collector]
listen = "0.0.0.0:14630"
insecure = true
flush_interval = "2s"
memory = "16MiB"
max_connections = 1
drain_timeout = "1m"

[sink]
url = "s3://logs/table"
target_file_size = "1MiB"
compression_level = 19
row_group_rows = 1_024
log_retention = "1d"
checkpoint_interval = 1

[sink.options]
aws_region = "eu-central-1"
"#;
