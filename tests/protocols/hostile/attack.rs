//! Attackers that can be called off and on again, so that throughput is measured in turns with and without them. What they
//! cost themselves is kept small: it is the same machine.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Off,
    On,
    Over,
}

/// Tells the attackers when.
pub struct Switch {
    state: Mutex<State>,
    changed: Condvar,
}

impl Switch {
    fn set(&self, state: State) {
        *self.state.lock().unwrap() = state;
        self.changed.notify_all();
    }

    /// Waits for the attack. Whether there will be one.
    pub fn wait(&self) -> bool {
        let state = self.changed.wait_while(self.state.lock().unwrap(), |state| *state == State::Off).unwrap();
        *state == State::On
    }

    /// Does nothing for so long, or until the attack is called off. Whether it goes on.
    pub fn rest(&self, time: Duration) -> bool {
        let state = self.state.lock().unwrap();
        let (state, _) = self.changed.wait_timeout_while(state, time, |state| *state == State::On).unwrap();
        *state == State::On
    }
}

/// The attackers of one listener.
pub struct Attack {
    switch: Arc<Switch>,
    attackers: Vec<JoinHandle<()>>,
}

impl Attack {
    /// Nobody attacks yet.
    pub fn new() -> Self {
        let switch = Switch { state: Mutex::new(State::Off), changed: Condvar::new() };
        Self { switch: Arc::new(switch), attackers: Vec::new() }
    }

    /// One more attacker, who does this again and again while the attack is on.
    pub fn add(&mut self, mut conduct: impl FnMut(&Switch) + Send + 'static) {
        let switch = self.switch.clone();
        let attacker = std::thread::Builder::new().stack_size(256 << 10).spawn(move || {
            while switch.wait() {
                conduct(&switch);
            }
        });
        self.attackers.push(attacker.unwrap());
    }

    /// Somebody who sends `bytes` at once, reads what is answered, and comes again every second.
    pub fn add_sender(&mut self, address: &str, bytes: Vec<u8>) {
        let address = address.to_owned();
        self.add(move |switch| {
            if let Ok(mut socket) = connect(&address) {
                let _ = socket.write_all(&bytes);
                let _ = socket.shutdown(Shutdown::Write);
                while switch.rest(Duration::ZERO) && matches!(socket.read(&mut [0; 4096]), Ok(1..)) {}
            }
            switch.rest(Duration::from_secs(1));
        });
    }

    /// Somebody who sends a byte of a good message a second, and comes again when the connection is closed.
    pub fn add_slow(&mut self, address: &str, message: &[u8]) {
        let (address, message) = (address.to_owned(), message[..message.len().min(20)].to_vec());
        self.add(move |switch| {
            let Ok(mut socket) = connect(&address) else {
                switch.rest(Duration::from_secs(1));
                return;
            };
            for byte in &message {
                let failed = socket.write_all(&[*byte]).is_err();
                if !switch.rest(Duration::from_secs(1)) || failed {
                    return;
                }
            }
        });
    }

    /// Calls it on or off.
    pub fn turn(&self, on: bool) {
        self.switch.set(if on { State::On } else { State::Off });
    }

    /// It is over.
    pub fn end(self) {
        self.switch.set(State::Over);
        self.attackers.into_iter().for_each(|attacker| attacker.join().unwrap());
    }
}

fn connect(address: &str) -> std::io::Result<TcpStream> {
    let socket = TcpStream::connect(address)?;
    socket.set_read_timeout(Some(Duration::from_millis(500)))?;
    socket.set_write_timeout(Some(Duration::from_millis(500)))?;
    Ok(socket)
}
