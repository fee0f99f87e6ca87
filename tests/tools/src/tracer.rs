//! `tracer all|disk kill|eio|enospc N COMMAND…` runs a command and does something to it at its N-th system call that has
//! to do with files or the network, or only of those that change a disk, counted over all of its threads from its
//! first instruction to its last (of those to its standard streams and to what is no file, a disk knows nothing). With `kill` it is killed before the call is made; else the call is not made and fails.
//! 0 counts only. It says on standard error what it has done.
//!
//! `strace --inject` counts each thread for itself, so which call is the n-th depends on which thread comes first, and
//! some calls are nobody's n-th. Hence this.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::process::{Command, Stdio};

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

const DISK: &[(i64, &str)] = &[
    (libc::SYS_fallocate, "fallocate"),
    (libc::SYS_fdatasync, "fdatasync"),
    (libc::SYS_fsync, "fsync"),
    (libc::SYS_ftruncate, "ftruncate"),
    (libc::SYS_link, "link"),
    (libc::SYS_linkat, "linkat"),
    (libc::SYS_mkdir, "mkdir"),
    (libc::SYS_mkdirat, "mkdirat"),
    (libc::SYS_open, "open"),
    (libc::SYS_openat, "openat"),
    (libc::SYS_pwrite64, "pwrite64"),
    (libc::SYS_pwritev, "pwritev"),
    (libc::SYS_rename, "rename"),
    (libc::SYS_renameat, "renameat"),
    (libc::SYS_renameat2, "renameat2"),
    (libc::SYS_rmdir, "rmdir"),
    (libc::SYS_unlink, "unlink"),
    (libc::SYS_unlinkat, "unlinkat"),
    (libc::SYS_write, "write"),
];
const OTHERS: &[(i64, &str)] = &[
    (libc::SYS_accept4, "accept4"),
    (libc::SYS_access, "access"),
    (libc::SYS_bind, "bind"),
    (libc::SYS_chmod, "chmod"),
    (libc::SYS_close, "close"),
    (libc::SYS_connect, "connect"),
    (libc::SYS_copy_file_range, "copy_file_range"),
    (libc::SYS_fchmod, "fchmod"),
    (libc::SYS_fcntl, "fcntl"),
    (libc::SYS_flock, "flock"),
    (libc::SYS_fstat, "fstat"),
    (libc::SYS_getdents64, "getdents64"),
    (libc::SYS_getpeername, "getpeername"),
    (libc::SYS_getsockname, "getsockname"),
    (libc::SYS_getsockopt, "getsockopt"),
    (libc::SYS_listen, "listen"),
    (libc::SYS_lseek, "lseek"),
    (libc::SYS_newfstatat, "newfstatat"),
    (libc::SYS_pread64, "pread64"),
    (libc::SYS_preadv, "preadv"),
    (libc::SYS_read, "read"),
    (libc::SYS_readlink, "readlink"),
    (libc::SYS_readv, "readv"),
    (libc::SYS_recvfrom, "recvfrom"),
    (libc::SYS_recvmsg, "recvmsg"),
    (libc::SYS_sendmsg, "sendmsg"),
    (libc::SYS_sendto, "sendto"),
    (libc::SYS_setsockopt, "setsockopt"),
    (libc::SYS_shutdown, "shutdown"),
    (libc::SYS_socket, "socket"),
    (libc::SYS_socketpair, "socketpair"),
    (libc::SYS_statx, "statx"),
    (libc::SYS_writev, "writev"),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [calls, fate, at, command @ ..] = &arguments[..] else { panic!("see the module") };
    let mut known: BTreeMap<i64, &str> = DISK.iter().copied().collect();
    if calls == "all" {
        known.extend(OTHERS.iter().copied());
    }
    let error = match fate.as_str() {
        "kill" => None,
        "eio" => Some(Errno::EIO),
        "enospc" => Some(Errno::ENOSPC),
        _ => panic!("{fate}"),
    };
    let only_disk = calls == "disk";
    let process = start(command);
    let at = at.parse().unwrap();
    let mut tracer = Tracer {
        known,
        only_disk,
        error,
        at,
        process,
        running: false,
        calls: 0,
        within: HashSet::new(),
        failing: None,
    };
    tracer.run();
}

/// Starts a process that is traced from its first instruction on: a shell that waits for a word before it becomes it.
// The tracer waits for it, stop by stop.
#[allow(clippy::zombie_processes)]
fn start(command: &[String]) -> Pid {
    let mut shell = Command::new("sh");
    shell.args(["-c", "read go; exec \"$@\" </dev/null", "sh"]).args(command);
    let mut child = shell.stdin(Stdio::piped()).spawn().unwrap();
    let pid = Pid::from_raw(child.id() as i32);
    let options = Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC
        | Options::PTRACE_O_EXITKILL;
    ptrace::seize(pid, options).unwrap();
    ptrace::interrupt(pid).unwrap();
    assert!(matches!(waitpid(pid, Some(WaitPidFlag::__WALL)), Ok(WaitStatus::PtraceEvent(..))));
    child.stdin.take().unwrap().write_all(b"go\n").unwrap();
    eprintln!("the tracer has started process {pid}");
    ptrace::syscall(pid, None).unwrap();
    pid
}

struct Tracer {
    known: BTreeMap<i64, &'static str>,
    only_disk: bool,
    /// What the call fails with; `None` to kill.
    error: Option<Errno>,
    at: u64,
    process: Pid,
    /// It is no shell any more.
    running: bool,
    calls: u64,
    /// Threads that are within a call.
    within: HashSet<Pid>,
    /// The thread whose call is to fail.
    failing: Option<Pid>,
}

impl Tracer {
    fn run(&mut self) {
        loop {
            let status = match waitpid(None, Some(WaitPidFlag::__WALL)) {
                Ok(status) => status,
                Err(Errno::EINTR) => continue,
                Err(error) => panic!("{error}"),
            };
            let (thread, signal) = match status {
                WaitStatus::Exited(pid, _) | WaitStatus::Signaled(pid, ..) if pid == self.process => break,
                WaitStatus::Exited(..) | WaitStatus::Signaled(..) => continue,
                WaitStatus::PtraceEvent(pid, _, event) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        self.running = true;
                    }
                    (pid, None)
                }
                WaitStatus::PtraceSyscall(pid) => {
                    self.call(pid);
                    (pid, None)
                }
                WaitStatus::Stopped(pid, signal) => (pid, Some(signal)),
                _ => continue,
            };
            // It may have been killed meanwhile.
            let _ = ptrace::syscall(thread, signal);
        }
        eprintln!("the tracer has counted {} calls", self.calls);
    }

    fn call(&mut self, thread: Pid) {
        if self.within.remove(&thread) {
            if let Some(error) = self.error
                && self.failing.take_if(|failing| *failing == thread).is_some()
                && let Ok(mut registers) = ptrace::getregs(thread)
            {
                registers.rax = -i64::from(error as i32) as u64;
                ptrace::setregs(thread, registers).unwrap();
            }
            return;
        }
        self.within.insert(thread);
        // A thread that is being killed has no registers any more.
        let Ok(mut registers) = ptrace::getregs(thread) else { return };
        let Some(name) = self.known.get(&(registers.orig_rax as i64)).filter(|_| self.running) else { return };
        if self.only_disk && *name == "write" && !self.is_file(registers.rdi) {
            return;
        }
        self.calls += 1;
        if self.calls != self.at {
            return;
        }
        let whose = std::fs::read_to_string(format!("/proc/{}/task/{thread}/comm", self.process)).unwrap_or_default();
        eprintln!("the tracer has come to {name} in {}", whose.trim_end());
        if self.error.is_none() {
            kill(self.process, Signal::SIGKILL).unwrap();
        } else {
            // No such call.
            registers.orig_rax = u64::MAX;
            ptrace::setregs(thread, registers).unwrap();
            self.failing = Some(thread);
        }
    }

    fn is_file(&self, descriptor: u64) -> bool {
        let link = std::fs::read_link(format!("/proc/{}/fd/{descriptor}", self.process));
        descriptor > 2 && link.is_ok_and(|path| path.is_absolute() && !path.starts_with("/dev"))
    }
}
