//! What every role does as a process: log to stderr, end on a signal, and say in one line why it cannot start.

use std::io::IsTerminal;
use std::process::ExitCode;

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
