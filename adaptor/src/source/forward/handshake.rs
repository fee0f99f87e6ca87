//! The handshake, by which both ends prove that they know the shared key without saying it.
//!
//! | who | message |
//! |---|---|
//! | server | `["HELO", {"nonce": N, "auth": "", "keepalive": true}]` |
//! | client | `["PING", hostname, salt, digest(salt, hostname, N, key), user, password digest]` |
//! | server | `["PONG", accepted, reason, own hostname, digest(salt, own hostname, N, key)]` |
//!
//! The digest is SHA-512 in hexadecimal. An empty `auth` means that no user has to be named. See the Forward Protocol
//! Specification v1, "Handshake Messages".

use constant_time_eq::constant_time_eq;
use logboom_config::Secret;
use rand::Rng;
use sha2::{Digest, Sha512};

use super::msgpack::{Reader, Value};
use super::write;

/// Bytes of a PING, at most.
pub(super) const PING_BYTES_MAX: usize = 4 << 10;

/// The server's part.
pub(super) struct Handshake {
    key: Secret,
    hostname: String,
    nonce: [u8; 16],
}

impl Handshake {
    /// Clients refuse a server that calls itself as they do, and a client on this host may: hence the prefix.
    pub(super) fn new(key: Secret, host: &str) -> Self {
        Self { key, hostname: format!("logboom@{host}"), nonce: rand::rng().random() }
    }

    /// HELO.
    pub(super) fn helo(&self) -> Vec<u8> {
        let mut out = vec![0x92];
        write::text(&mut out, "HELO");
        out.push(0x83);
        write::text(&mut out, "nonce");
        write::binary(&mut out, &self.nonce);
        write::text(&mut out, "auth");
        write::text(&mut out, "");
        write::text(&mut out, "keepalive");
        out.push(write::TRUE);
        out
    }

    /// Adds the PONG to a message that should be a PING. `Err` says why the client is not accepted, which it is told.
    pub(super) fn pong(&self, message: &[u8], out: &mut Vec<u8>) -> Result<(), &'static str> {
        let checked = self.check(message);
        let (reason, hostname, proof) = match checked {
            Ok(salt) => ("", self.hostname.as_str(), self.digest(salt, self.hostname.as_bytes())),
            Err(reason) => (reason, "", String::new()),
        };
        out.push(0x95);
        write::text(out, "PONG");
        out.push(if checked.is_ok() { write::TRUE } else { write::FALSE });
        for part in [reason, hostname, &proof] {
            write::text(out, part);
        }
        checked.map(drop)
    }

    /// The salt of a PING that proves the key.
    fn check<'a>(&self, message: &'a [u8]) -> Result<&'a [u8], &'static str> {
        let mut reader = Reader::new(message);
        let mut text = || match reader.value() {
            Ok(Value::Str(bytes) | Value::Bin(bytes)) => Some(bytes),
            _ => None,
        };
        let parts = match message.first() {
            Some(0x96) => {
                // The array's head is read like any value and is not a text.
                text();
                [text(), text(), text(), text()]
            }
            _ => [None; 4],
        };
        let [Some(b"PING"), Some(hostname), Some(salt), Some(proof)] = parts else {
            return Err("a PING is expected");
        };
        match constant_time_eq(self.digest(salt, hostname).as_bytes(), &proof.to_ascii_lowercase()) {
            true => Ok(salt),
            false => Err("the shared key is not the same"),
        }
    }

    fn digest(&self, salt: &[u8], hostname: &[u8]) -> String {
        let parts = [salt, hostname, &self.nonce, self.key.expose().as_bytes()];
        let digest = parts.iter().fold(Sha512::new(), Sha512::chain_update).finalize();
        digest.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::source::testing::fuzz;

    pub(crate) fn hex_digest(parts: &[&[u8]]) -> String {
        Sha512::digest(parts.concat()).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// A PING for the nonce in `helo`, which is at a known place.
    pub(crate) fn ping(helo: &[u8], key: &str) -> Vec<u8> {
        let at = helo.windows(5).position(|bytes| bytes == b"nonce").unwrap() + 7;
        let nonce = &helo[at..at + 16];
        let mut out = vec![0x96];
        let proof = hex_digest(&[b"salt", b"client", nonce, key.as_bytes()]);
        ["PING", "client", "salt", &proof, "", ""].iter().for_each(|part| write::text(&mut out, part));
        out
    }

    fn handshake() -> Handshake {
        Handshake::new(Secret::new("swordfish"), "host-1")
    }

    #[test]
    fn both_ends_prove_the_key() {
        let handshake = handshake();
        let mut out = Vec::new();
        handshake.pong(&ping(&handshake.helo(), "swordfish"), &mut out).unwrap();
        let proof = hex_digest(&[b"salt", b"logboom@host-1", &handshake.nonce, b"swordfish"]);
        let wanted = [b"\x95\xa4PONG\xc3\xa0\xaelogboom@host-1\xd9\x80", proof.as_bytes()].concat();
        assert_eq!(out, wanted);
    }

    #[test]
    fn a_wrong_key_an_old_nonce_or_something_else_than_a_ping_is_refused() {
        let (handshake, other) = (handshake(), self::handshake());
        for (message, reason) in [
            (ping(&handshake.helo(), "sword"), "the shared key is not the same"),
            (ping(&other.helo(), "swordfish"), "the shared key is not the same"),
            (b"\x93\xa1t\x01\x80".to_vec(), "a PING is expected"),
            (b"\x96\xa4PING\x01\x01\x01\x01\x01".to_vec(), "a PING is expected"),
            (b"\xc0".to_vec(), "a PING is expected"),
        ] {
            let mut out = Vec::new();
            assert_eq!(handshake.pong(&message, &mut out), Err(reason));
            assert!(out.starts_with(b"\x95\xa4PONG\xc2"));
        }
    }

    #[test]
    fn no_bytes_make_the_handshake_panic_or_succeed() {
        let handshake = handshake();
        let ping = ping(&handshake.helo(), "sword");
        fuzz(&[&ping], |bytes| assert!(handshake.pong(bytes, &mut Vec::new()).is_err()));
    }
}
