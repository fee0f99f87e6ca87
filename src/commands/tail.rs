//! `logboom tail`: records as collectors receive them, before they are committed.

use std::io::{ErrorKind, IsTerminal, Write, stdout};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::Args;
use logboom_config::{harmless, harmless_json, on_one_line};
use logboom_security::ClientTls;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use url::Url;

/// A collector that says nothing for this long, not even that it lives, is gone.
const SILENCE_MAX: Duration = Duration::from_secs(20);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two tries to reach a collector that is gone.
const RETRY: Duration = Duration::from_secs(1);
/// The most bytes of a line that are held; more than any record has.
const LINE_BYTES_MAX: usize = 256 << 20;

/// Options of `logboom tail`.
#[derive(Args)]
pub struct TailArgs {
    /// The HTTP port of a collector; may be repeated for several
    #[arg(short, long, value_name = "URL", default_value = "http://127.0.0.1:14631")]
    collector: Vec<Url>,
    /// Only these categories, such as 'nginx.*'; may be repeated
    #[arg(short = 'C', long, value_name = "GLOB")]
    category: Vec<String>,
    /// Only from these hosts; may be repeated
    #[arg(short = 'H', long, value_name = "GLOB")]
    host: Vec<String>,
    /// Only of this severity, such as '>=warn'
    #[arg(short, long, value_name = "CONDITION")]
    severity: Option<String>,
    /// Only with a body in which this regular expression is found
    #[arg(short, long, value_name = "REGEX")]
    pattern: Option<String>,
    /// Begin with so many of the newest records; at most 10000
    #[arg(short = 'n', long, value_name = "RECORDS", default_value_t = 10)]
    last: usize,
    /// Print whole records as lines of JSON
    #[arg(long)]
    json: bool,
    /// A file with the token that the collectors ask for
    #[arg(long, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Certificates (PEM) of which one must have signed those of collectors at https://
    #[arg(long, value_name = "FILE")]
    ca_file: Option<PathBuf>,
    /// The certificate (PEM) to show to collectors that ask for one
    #[arg(long, value_name = "FILE", requires_all = ["ca_file", "key_file"])]
    cert_file: Option<PathBuf>,
    /// Its private key
    #[arg(long, value_name = "FILE", requires = "cert_file")]
    key_file: Option<PathBuf>,
}

/// What a collector is asked, and by whom.
#[derive(Clone)]
struct Ask {
    client: Client,
    url: Url,
    token: Option<String>,
}

/// Follows until it is interrupted, nobody reads the output any more, or no collector can be followed.
pub async fn run(args: TailArgs) -> Result<()> {
    let mut client = Client::builder().connect_timeout(CONNECT_TIMEOUT).read_timeout(SILENCE_MAX);
    if let Some(ca_file) = args.ca_file.clone() {
        let cert_and_key_files = args.cert_file.clone().zip(args.key_file.clone());
        let tls = logboom_config::ClientTls { ca_file, cert_and_key_files, server_name: None };
        client = client.use_preconfigured_tls(ClientTls::open("tail", &tls).map_err(|error| anyhow!(error))?.config());
    }
    let client = client.build()?;
    let token = args.token_file.as_ref().map(|path| {
        std::fs::read_to_string(path).with_context(|| format!("cannot read the token in {}", path.display()))
    });
    let token = token.transpose()?.map(|token| token.trim().to_owned());
    let (lines, mut received) = mpsc::channel(64);
    let mut following = JoinSet::new();
    for collector in &args.collector {
        let ask = Ask { client: client.clone(), url: args.url(collector)?, token: token.clone() };
        following.spawn(follow(ask, lines.clone()));
    }
    drop(lines);
    let terminal = stdout().is_terminal();
    while let Some(text) = received.recv().await {
        match print(&text, args.json, terminal) {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => result?,
        }
    }
    // All have ended, which they only do when going on is of no use.
    let ended = following.join_next().await.context("no collector is given")?;
    Err(ended?)
}

impl TailArgs {
    fn url(&self, collector: &Url) -> Result<Url> {
        let mut url = collector.join("tail").with_context(|| format!("{collector} cannot be asked for its tail"))?;
        url.query_pairs_mut()
            .extend_pairs(self.category.iter().map(|glob| ("category", glob)))
            .extend_pairs(self.host.iter().map(|glob| ("host", glob)))
            .extend_pairs(self.severity.iter().map(|severity| ("severity", severity)))
            .extend_pairs(self.pattern.iter().map(|pattern| ("pattern", pattern)))
            .append_pair("last", &self.last.to_string());
        Ok(url)
    }
}

/// Sends whole lines on until that is of no use; returns why. A collector that was reached once is tried again and again.
async fn follow(mut ask: Ask, lines: mpsc::Sender<Vec<u8>>) -> anyhow::Error {
    let mut reached = false;
    loop {
        match ask.listen(&lines, &mut reached).await {
            Ok(Listened::Unread) => return anyhow!("nobody reads"),
            Err(error) if !reached => return error,
            Ok(Listened::Ended) => eprintln!("{}: the collector has ended; waiting for it", ask.place()),
            Err(error) => eprintln!("{}; trying again", on_one_line(&format!("{error:#}"))),
        }
        // What was shown before is not shown again; what comes meanwhile is not seen.
        let rest: Vec<_> = ask
            .url
            .query_pairs()
            .filter(|(key, _)| key != "last")
            .map(|(k, v)| (k.into_owned(), v.into_owned()))
            .collect();
        ask.url.query_pairs_mut().clear().extend_pairs(rest);
        loop {
            tokio::time::sleep(RETRY).await;
            if lines.is_closed() {
                return anyhow!("nobody reads");
            }
            let health = ask.url.join("health").expect("it was joined before");
            if ask.client.get(health).send().await.is_ok() {
                break;
            }
        }
    }
}

/// How a collector's answer ended.
enum Listened {
    Ended,
    Unread,
}

impl Ask {
    fn place(&self) -> String {
        self.url.origin().ascii_serialization()
    }

    async fn listen(&self, lines: &mpsc::Sender<Vec<u8>>, reached: &mut bool) -> Result<Listened> {
        let place = self.place();
        let mut request = self.client.get(self.url.clone());
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let unreachable = || {
            format!(
                "cannot follow the collector at {place}; is one running, and is this its `collector.http`, with https:// where that has TLS?"
            )
        };
        let mut answer = request.send().await.with_context(unreachable)?;
        if answer.status() != StatusCode::OK {
            let status = answer.status();
            let why = answer.text().await.unwrap_or_default();
            *reached = false;
            bail!("the collector at {place} refuses ({status}): {}", why.trim());
        }
        *reached = true;
        let mut waiting = Vec::new();
        loop {
            let chunk = answer.chunk().await.with_context(|| format!("lost the collector at {place}"))?;
            let Some(chunk) = chunk else { return Ok(Listened::Ended) };
            waiting.extend_from_slice(&chunk);
            let Some(end) = waiting.iter().rposition(|byte| *byte == b'\n') else {
                if waiting.len() > LINE_BYTES_MAX {
                    bail!("the collector at {place} sends a line without an end");
                }
                continue;
            };
            let rest = waiting.split_off(end + 1);
            if lines.send(std::mem::replace(&mut waiting, rest)).await.is_err() {
                return Ok(Listened::Unread);
            }
        }
    }
}

/// Prints lines of JSON as they are, or plain.
fn print(lines: &[u8], json: bool, terminal: bool) -> std::io::Result<()> {
    let mut out = stdout().lock();
    for line in lines.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let record: Value = serde_json::from_slice(line).unwrap_or_default();
        if let Some(missed) = record.get("missed") {
            eprintln!("{missed} records were passed over: they come faster than they are read here");
            continue;
        }
        let text = |key: &str| record[key].as_str().unwrap_or_default();
        let plain = || format!("{} {} {} {}", text("timestamp"), text("host"), text("category"), text("body"));
        match (json, terminal) {
            (true, false) => out.write_all(line)?,
            (true, true) => out.write_all(&harmless_json(line))?,
            (false, false) => out.write_all(plain().as_bytes())?,
            (false, true) => out.write_all(harmless(&plain()).as_bytes())?,
        }
        out.write_all(b"\n")?;
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Command {
        #[command(flatten)]
        args: TailArgs,
    }

    #[test]
    fn what_is_wanted_is_in_the_address() {
        let line = ["tail", "-C", "nginx.*", "--severity", ">=warn", "-p", "a b", "-n", "3", "-c", "http://h:1"];
        let args = Command::parse_from(line).args;
        let url = args.url(&args.collector[0]).unwrap();
        assert_eq!(url.as_str(), "http://h:1/tail?category=nginx.*&severity=%3E%3Dwarn&pattern=a+b&last=3");
    }
}
