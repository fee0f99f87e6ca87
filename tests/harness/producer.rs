//! Producers: threads that send records and note in the ledger what they were promised.
//!
//! A producer never sends a number twice. When its connection breaks, the outcome of what was not answered stays
//! unknown, and it goes on with the next number.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::oracle::{Account, Record};

/// Groups that may be unanswered at a time.
const GROUPS_WAITING_MAX: usize = 4;
/// How often a producer looks whether it may go on.
const LOOK: Duration = Duration::from_millis(5);

/// How far all producers of a test may go, so that records are spread over its whole time.
#[derive(Debug, Default)]
pub struct Pace {
    allowed: AtomicU64,
    /// The test is over, one way or another: nobody is left behind waiting.
    over: AtomicBool,
}

impl Pace {
    /// Every producer may send up to this number.
    pub fn allow(&self, n: u64) {
        self.allowed.fetch_max(n, Ordering::SeqCst);
    }

    /// All producers end, whatever they wait for.
    pub fn end(&self) {
        self.over.store(true, Ordering::SeqCst);
    }

    /// How far they may go.
    pub fn allowed(&self) -> u64 {
        self.allowed.load(Ordering::SeqCst)
    }

    /// Whether they are to end.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }
}

/// Where a socket producer sends to.
#[derive(Clone, Debug)]
pub enum Target {
    Unix(PathBuf),
    Tcp(u16),
}

impl Target {
    fn connect(&self) -> io::Result<(Box<dyn Read + Send>, Box<dyn Write + Send>)> {
        let timeout = Some(Duration::from_millis(20));
        Ok(match self {
            Self::Unix(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(timeout)?;
                (Box::new(socket.try_clone()?), Box::new(socket))
            }
            Self::Tcp(port) => {
                let socket = TcpStream::connect(("127.0.0.1", *port))?;
                socket.set_read_timeout(timeout)?;
                (Box::new(socket.try_clone()?), Box::new(socket))
            }
        })
    }
}

/// What a socket producer went through.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketFigures {
    pub connections: u64,
    /// The longest time from the first byte of a group to its answer.
    pub slowest_answer: Duration,
}

/// A producer that writes lines to a socket in groups and asks for acknowledgements.
pub struct SocketProducer {
    pub account: Arc<Account>,
    thread: JoinHandle<SocketFigures>,
}

impl SocketProducer {
    /// Starts a producer that ends once it has sent `last` records, one way or another, or is stopped.
    pub fn start(account: Arc<Account>, target: Target, pace: Arc<Pace>, last: u64, group: u64, length: usize) -> Self {
        let sending = SocketSending {
            account: account.clone(),
            target,
            pace,
            last,
            group,
            length,
            figures: SocketFigures::default(),
        };
        Self { account, thread: std::thread::spawn(|| sending.run()) }
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    pub fn join(self) -> SocketFigures {
        self.thread.join().unwrap()
    }
}

struct SocketSending {
    account: Arc<Account>,
    target: Target,
    pace: Arc<Pace>,
    last: u64,
    group: u64,
    length: usize,
    figures: SocketFigures,
}

/// Records that wait for their answer.
struct Group {
    first: u64,
    count: u64,
    begun: Instant,
}

impl SocketSending {
    fn run(mut self) -> SocketFigures {
        while self.account.sent() < self.last && !self.pace.is_over() {
            if let Ok((read, write)) = self.target.connect() {
                self.figures.connections += 1;
                // However it ends: what was not answered stays unknown.
                let _ = self.converse(BufReader::new(read), write);
            }
            std::thread::sleep(LOOK);
        }
        self.figures
    }

    fn converse(&mut self, mut answers: BufReader<impl Read>, mut out: impl Write) -> io::Result<()> {
        // Says that this connection asks; see the rules for producers in docs/acknowledgements.md.
        out.write_all(b"{\"$ack\":0}\n")?;
        let mut waiting = VecDeque::from([Group { first: 1, count: 0, begun: Instant::now() }]);
        let mut answer = Vec::new();
        loop {
            let sent = self.account.sent();
            let count = self.group.min(self.last.min(self.pace.allowed()).saturating_sub(sent));
            if count > 0 && waiting.len() < GROUPS_WAITING_MAX {
                let begun = Instant::now();
                let mut lines = Vec::new();
                for _ in 0..count {
                    let n = self.account.next();
                    let record = Record::new(self.account.producer(), n, self.length);
                    match n % 3 {
                        0 => writeln!(lines, "{{\"category\":\"json-{}\",\"body\":\"{record}\",\"n\":{n}}}", n % 4)?,
                        _ => writeln!(lines, "{record}")?,
                    }
                }
                waiting.push_back(Group { first: sent + 1, count, begun });
                writeln!(lines, "{{\"$ack\":{}}}", sent + count)?;
                out.write_all(&lines)?;
            } else if waiting.is_empty() {
                if sent >= self.last || self.pace.is_over() {
                    return Ok(());
                }
                std::thread::sleep(LOOK);
            } else {
                match answers.read_until(b'\n', &mut answer) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(_) => {
                        let group = waiting.pop_front().expect("checked");
                        self.note(&group, &answer);
                        answer.clear();
                    }
                    Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                        if self.pace.is_over() {
                            return Ok(());
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    fn note(&mut self, group: &Group, answer: &[u8]) {
        let text = String::from_utf8_lossy(answer);
        let answer: serde_json::Value = serde_json::from_slice(answer).unwrap_or_else(|_| panic!("answered {text}"));
        let asked = if group.count == 0 { 0 } else { group.first + group.count - 1 };
        assert_eq!(answer["$ack"], asked, "answered out of order: {text}");
        let records = answer["records"].as_u64().unwrap();
        assert!(records <= group.count, "{text}, asked for {}", group.count);
        self.figures.slowest_answer = self.figures.slowest_answer.max(group.begun.elapsed());
        self.account.acknowledged(group.first, records);
        match answer["status"].as_str().unwrap() {
            "ok" => assert_eq!(records, group.count, "{text}"),
            "refused" => self.account.refused(group.first + records, group.count - records),
            "unknown" => {}
            _ => panic!("answered {text}"),
        }
    }
}

/// A producer that appends lines to a file and rotates it as logrotate does. A whole line that was written counts as
/// acknowledged: files outlive every process.
pub struct FileProducer {
    thread: JoinHandle<Duration>,
}

impl FileProducer {
    /// Starts a producer on `<folder>/<producer>.log` that ends once it has written `last` records or is stopped.
    pub fn start(
        account: Arc<Account>,
        folder: &Path,
        pace: Arc<Pace>,
        last: u64,
        rotate_after: u64,
        length: usize,
    ) -> Self {
        fs::create_dir_all(folder).unwrap();
        let path = folder.join(format!("{}.log", account.producer()));
        Self { thread: std::thread::spawn(move || write_file(&account, &path, &pace, last, rotate_after, length)) }
    }

    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits for its end. Returns how long the slowest write took.
    pub fn join(self) -> Duration {
        self.thread.join().unwrap()
    }
}

fn write_file(account: &Account, path: &Path, pace: &Pace, last: u64, rotate_after: u64, length: usize) -> Duration {
    let create = || File::options().create(true).append(true).open(path).unwrap();
    let (mut file, mut rotations, mut slowest) = (create(), 0, Duration::ZERO);
    while account.sent() < last && !pace.is_over() {
        if account.sent() >= pace.allowed() {
            std::thread::sleep(LOOK);
            continue;
        }
        let n = account.next();
        let line = format!("{}\n", Record::new(account.producer(), n, length));
        let begun = Instant::now();
        // Some lines come in two parts, with a pause in between.
        let (front, back) = line.split_at(if n.is_multiple_of(97) { line.len() / 2 } else { 0 });
        if !front.is_empty() {
            file.write_all(front.as_bytes()).unwrap();
            std::thread::sleep(LOOK);
        }
        file.write_all(back.as_bytes()).unwrap();
        slowest = slowest.max(begun.elapsed());
        account.acknowledged(n, 1);
        if n.is_multiple_of(rotate_after) {
            rotations += 1;
            for number in (1..rotations).rev() {
                fs::rename(rotated(path, number), rotated(path, number + 1)).unwrap();
            }
            fs::rename(path, rotated(path, 1)).unwrap();
            file = create();
        }
    }
    slowest
}

fn rotated(path: &Path, number: u64) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    name.into()
}
