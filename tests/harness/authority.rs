//! Certificates for tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, date_time_ymd};

/// An authority and what it has signed, each in a file.
pub struct Authority {
    pub folder: PathBuf,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    /// A new one with its files in a new folder of this name.
    pub fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = folder.join(name);
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("authority.pem"), issuer.pem()).unwrap();
        Self { folder, issuer }
    }

    /// The file of its own certificate.
    pub fn pem(&self) -> PathBuf {
        self.folder.join("authority.pem")
    }

    /// Signs a certificate for this machine that is good until the end of a year. The files of it and of its key.
    pub fn sign(&self, name: &str, last_year: i32) -> (PathBuf, PathBuf) {
        self.sign_for(&["localhost", "127.0.0.1"], name, last_year)
    }

    /// The same for these names and addresses.
    pub fn sign_for(&self, names: &[&str], file: &str, last_year: i32) -> (PathBuf, PathBuf) {
        self.sign_until(names, file, date_time_ymd(last_year, 12, 31).into())
    }

    /// The same, good until a moment, to the second.
    pub fn sign_until(&self, names: &[&str], file: &str, until: SystemTime) -> (PathBuf, PathBuf) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = until.into();
        let key = KeyPair::generate().unwrap();
        let files = (self.folder.join(format!("{file}.pem")), self.folder.join(format!("{file}.key")));
        fs::write(&files.0, params.signed_by(&key, &self.issuer).unwrap().pem()).unwrap();
        fs::write(&files.1, key.serialize_pem()).unwrap();
        files
    }
}
