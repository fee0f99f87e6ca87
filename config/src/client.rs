//! `[[collector.client]]`: who may send, and what.

use std::collections::BTreeSet;

use crate::error::Error;
use crate::pattern::Globs;
use crate::section::Section;
use crate::token::TokenHash;

/// Those who show one token, or a certificate of one name, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// A unique name for logs; 1 to 128 bytes.
    pub name: String,
    /// Hashes of tokens of which one must be shown. Empty: no token is asked for, but a name.
    pub token_hashes: Vec<TokenHash>,
    /// What one of the DNS names in the certificate must match. None: whatever certificate, but a token.
    pub cert_names: Option<Globs>,
    /// The categories that it may write; none is all.
    pub categories: Option<Globs>,
    /// The hosts whose records it may write; none is all.
    pub hosts: Option<Globs>,
    /// Whether it may see records as they come in, of these categories and hosts.
    pub tail: bool,
}

impl Client {
    fn read(section: &Section<'_>) -> Result<Client, Error> {
        let mut token_hashes = Vec::new();
        if let Some(value) = section.given("token_hash") {
            let values = if value.is_list() { value.list()? } else { vec![value] };
            for value in values {
                token_hashes.push(value.parsed("the hash of a token")?);
            }
        }
        let globs = |name: &str| section.given(name).map(|value| value.globs()).transpose();
        let client = Client {
            name: section.required("name")?.name(128)?,
            token_hashes,
            cert_names: globs("cert_name")?,
            categories: globs("categories")?,
            hosts: globs("hosts")?,
            tail: section.get("tail").flag()?,
        };
        match client.token_hashes.is_empty() && client.cert_names.is_none() {
            true => Err(section.wrong("name", "stands for anyone; set `token_hash`, `cert_name` or both")),
            false => Ok(client),
        }
    }
}

/// Reads every client. `certificates` is whether peers must show some.
pub(crate) fn read_all(sections: &[Section<'_>], certificates: bool) -> Result<Vec<Client>, Error> {
    let (mut clients, mut names) = (Vec::with_capacity(sections.len()), BTreeSet::new());
    for section in sections {
        let client = Client::read(section)?;
        if !names.insert(client.name.clone()) {
            let message = format!("is `{}`, the name of another client; names must be unique", client.name);
            return Err(section.wrong("name", &message));
        }
        if client.cert_names.is_some() && !certificates {
            return Err(section.wrong(
                "cert_name",
                "needs `collector.tls_client_ca_file`, by which certificates are asked for; set it",
            ));
        }
        clients.push(client);
    }
    Ok(clients)
}
