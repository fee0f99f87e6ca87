//! What every role does as a process: log to stderr, end on a signal, and say in one line why it cannot start.

use std::io::IsTerminal;
use std::process::ExitCode;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

/// Exit code for settings that are wrong (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// Logs to stderr at level `info`; `LOGBOOM_LOG` says otherwise, in the syntax of `tracing_subscriber::EnvFilter`.
pub fn init_logging(default: &str) {
    let filter = EnvFilter::try_from_env("LOGBOOM_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        .init();
}

/// Lets this process open as many files and connections as the system allows it to. What a shell or an init system gives
/// by default, often 1024, is for programs that cannot count further; a collector alone may have 4096 connections.
pub fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        // What it may not raise it keeps: connections beyond are refused, and said to be.
        let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
    }
}

/// Waits for SIGTERM or SIGINT. A second one while draining ends the process at once: the spool is made for that.
pub async fn stop_signal() -> std::io::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        eprintln!("logboom: stopped while draining; what is not committed waits in the spool");
        std::process::exit(1);
    });
    Ok(())
}

/// Says why the process ends, in one line, and gives the exit code: 78 for wrong settings, 1 for all else.
pub fn report(error: &anyhow::Error) -> ExitCode {
    let mut message = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        // Some errors say in their own words what caused them.
        if !message.contains(&cause) {
            message = format!("{message}: {cause}");
        }
    }
    eprintln!("logboom: {message}");
    let wrong_settings = error.chain().any(|cause| cause.is::<logboom_config::Error>());
    ExitCode::from(if wrong_settings { EXIT_CONFIG } else { 1 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_opens_as_many_files_as_it_may() {
        let limit = getrlimit(Resource::Nofile);
        let lower = limit.maximum.map_or(1024, |maximum| maximum.min(1024) - 1);
        setrlimit(Resource::Nofile, Rlimit { current: Some(lower), ..limit }).unwrap();
        raise_open_files();
        assert_eq!(getrlimit(Resource::Nofile).current, limit.maximum);
        setrlimit(Resource::Nofile, limit).unwrap();
    }
}
