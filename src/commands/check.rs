//! `logboom check`: settings, before anything runs on them; and the store, before anything is written to it.

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, anyhow};
use clap::Args;
use logboom_config::{Settings, Sink, defaults_toml};
use logboom_security::{ClientTls, ServerTls};
use logboom_sink::Store;
use logboom_sink::store::probe::{Depth, probe};

/// Options of `logboom check`.
#[derive(Args)]
pub struct CheckArgs {
    /// The settings file
    #[arg(required_unless_present = "defaults")]
    file: Option<PathBuf>,
    /// Print every key with its default and meaning, as a settings file
    #[arg(long)]
    defaults: bool,
    /// Connect to the store of `[sink]`, and show that it does what a commit needs: of eight who put one object at the same
    /// moment exactly one wins, a hundred times over. What it puts there it deletes again
    #[arg(long, requires = "file")]
    connect: bool,
}

/// Checks a settings file and prints what it will do.
pub async fn run(args: CheckArgs) -> Result<()> {
    if args.defaults {
        print!("{}", defaults_toml());
    }
    let Some(file) = &args.file else { return Ok(()) };
    let settings = Settings::load(file)?;
    if let Some(sink) = &settings.sink {
        Store::check(&sink.url, &sink.options).with_context(|| format!("{}: [sink]", file.display()))?;
    }
    check_tls(&settings).map_err(|error| anyhow!("{}: {error}", file.display()))?;
    print!("{}", settings.describe());
    match args.connect {
        true => connect(file, settings.sink.as_ref()).await,
        false => Ok(()),
    }
}

/// Reads the files of certificates and keys, as the roles do when they start.
fn check_tls(settings: &Settings) -> Result<(), String> {
    let adaptor = settings.adaptor.as_ref();
    let sources =
        adaptor.into_iter().flat_map(|adaptor| &adaptor.sources).flat_map(|source| source.kind.tcp_listeners());
    let listeners = sources.filter_map(|tcp| tcp.tls.as_ref());
    let collector = settings.collector.as_ref().and_then(|collector| collector.tls.as_ref());
    listeners.chain(collector).try_for_each(|tls| ServerTls::open("it", tls, &[]).map(drop))?;
    let client = adaptor.and_then(|adaptor| adaptor.tls.as_ref());
    client.map_or(Ok(()), |tls| ClientTls::open("it", tls).map(drop))
}

async fn connect(file: &Path, sink: Option<&Sink>) -> Result<()> {
    let missing =
        || format!("{}: there is no [sink] section in it, so there is no store to connect to", file.display());
    let sink = sink.with_context(missing)?;
    let store = Store::open(&sink.url, &sink.options)?;
    let races = Depth::Full.races(&store);
    let terminal = std::io::stderr().is_terminal();
    let progress = |done| {
        if terminal {
            eprint!("\rprobing {}: race {done} of {races}", store.url());
            let _ = std::io::stderr().flush();
        }
    };
    let found = probe(&store, Depth::Full, progress).await;
    if terminal {
        eprint!("\r\x1b[K");
    }
    let report = found?;
    println!("store");
    println!("  {} is fit for a table", store.url());
    println!("  a second put-if-absent of an object is refused, and what is put is read, listed and deleted");
    println!("  in {} of {races} races of eight concurrent puts exactly one won", report.races);
    println!("  a put takes {:.1?}; all of this took {:.1?}", report.put_median, report.took);
    Ok(())
}
