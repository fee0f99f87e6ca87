//! What every role does as a process: log to stderr, say that it is ready, end on a signal, and say in one line why it
//! cannot start. What a peer made up reaches no terminal and no log as it came.

use std::ffi::OsStr;
use std::fmt::Debug;
use std::io::{self, IsTerminal};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::ExitCode;

use logboom_config::{harmless, on_one_line};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tracing::Subscriber;
use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{Writer, debug_fn};
use tracing_subscriber::util::SubscriberInitExt;

/// Exit code for settings that are wrong (`EX_CONFIG` of sysexits.h).
pub const EXIT_CONFIG: u8 = 78;

/// Logs to stderr at level `info`; `LOGBOOM_LOG` says otherwise, in the syntax of `tracing_subscriber::EnvFilter`.
pub fn init_logging(default: &str) {
    let filter = EnvFilter::try_from_env("LOGBOOM_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    subscriber(filter, io::stderr().is_terminal(), io::stderr).init();
}

/// What writes log lines to `writer`, in colours if it `is_terminal`.
fn subscriber<W>(filter: EnvFilter, is_terminal: bool, writer: W) -> impl SubscriberInitExt + Subscriber
where
    W: for<'a> MakeWriter<'a> + Send + Sync + 'static,
{
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_terminal)
        .with_writer(writer)
        .fmt_fields(debug_fn(field))
        .finish()
}

/// One field of a log line. Names, addresses and errors in it may be a peer's: it stays on its line and shows its control
/// characters.
fn field(to: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> std::fmt::Result {
    let value = format!("{value:?}");
    match field.name() {
        "message" => write!(to, "{}", on_one_line(&value)),
        name => write!(to, " {name}={}", on_one_line(&value)),
    }
}

/// Tells a service manager that waits for it that this role is ready: `sd_notify(3)`.
///
/// Without one, and where it does not listen, this does nothing: the role runs all the same.
pub fn notify_ready() {
    let told = std::env::var_os("NOTIFY_SOCKET").map(|path| notify(&path));
    if let Some(Err(error)) = told {
        tracing::debug!(%error, "cannot tell the service manager that this is ready");
    }
}

fn notify(path: &OsStr) -> io::Result<()> {
    let address = match path.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    UnixDatagram::unbound()?.send_to_addr(b"READY=1", &address).map(drop)
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
pub async fn stop_signal() -> io::Result<()> {
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
    eprintln!("logboom: {}", harmless(&message));
    let wrong_settings = error.chain().any(|cause| cause.is::<logboom_config::Error>());
    ExitCode::from(if wrong_settings { EXIT_CONFIG } else { 1 })
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_a_peer_made_up_stays_on_its_line_of_the_log() {
        let written = Written::default();
        let writer = written.clone();
        let subscriber = subscriber(EnvFilter::new("info"), false, move || writer.clone());
        tracing::subscriber::with_default(subscriber, || {
            let (host, error) = ("web\u{1b}[2J\n2026-01-01 ERROR made up", io::Error::other("no\r\u{9b}31m\u{202e}"));
            tracing::warn!(host, %error, shown = %host, listed = ?[host], "a session of {host} ended");
        });
        let text = String::from_utf8(written.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches('\n').count(), 1, "{text:?}");
        assert!(text.ends_with('\n') && !text.trim_end().contains(char::is_control), "{text:?}");
        assert!(!text.contains('\u{202e}') && text.contains("web\\u{1b}[2J\\n2026"), "{text:?}");
        assert!(text.contains("error=no\\r\\u{9b}31m\\u{202e}"), "{text:?}");
    }

    #[test]
    fn a_service_manager_that_waits_is_told_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        notify(path.as_os_str()).unwrap();
        let mut message = [0; 64];
        let bytes = socket.recv(&mut message).unwrap();
        assert_eq!(&message[..bytes], b"READY=1");
        assert!(notify(folder.path().join("nobody").as_os_str()).is_err());
        // As containers have it: a name without a file.
        let name = format!("logboom-test-{}", std::process::id());
        let socket = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
        notify(format!("@{name}").as_ref()).unwrap();
        assert_eq!(socket.recv(&mut message).unwrap(), 7);
    }

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
