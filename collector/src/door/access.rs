//! Who may do what. Pure: tokens and names come in.

use std::sync::Arc;

use logboom_config::{Client, Globs, TokenHash, Tokens};
use logboom_security::Certificate;
use logboom_wire::Header;

use super::Reason;

/// The most characters of a name of a peer's that a message quotes.
const QUOTED_CHARS_MAX: usize = 100;

/// The tokens and clients of the settings.
#[derive(Default)]
pub struct Access {
    /// Those that open everything.
    tokens: Option<Tokens>,
    clients: Vec<Arc<Client>>,
}

/// What a peer has shown to prove who it is.
pub struct Credentials {
    token: Option<TokenHash>,
    /// Its certificate, which is of an authority that is trusted.
    pub certificate: Option<Certificate>,
    names: Vec<String>,
}

impl Credentials {
    /// `token` is empty if the peer has shown none.
    pub fn new(token: &str, certificate: Option<Certificate>) -> Self {
        let names = certificate.as_ref().map(Certificate::names).unwrap_or_default();
        Self { token: (!token.is_empty()).then(|| TokenHash::of(token)), certificate, names }
    }
}

/// What a peer may do.
#[derive(Clone, Debug, Default)]
pub struct Grant {
    /// The client that it is; none may do everything.
    client: Option<Arc<Client>>,
}

/// Why a block may not be written.
#[derive(Debug, PartialEq, Eq)]
pub struct Forbidden {
    /// What is wrong with it.
    pub reason: Reason,
    /// In words, with the rule.
    pub message: String,
}

impl Access {
    /// Without any tokens and clients, everyone may do everything.
    pub fn new(tokens: Option<Tokens>, clients: Vec<Client>) -> Self {
        Self { tokens, clients: clients.into_iter().map(Arc::new).collect() }
    }

    /// Whether anybody may do everything.
    pub fn is_open(&self) -> bool {
        self.tokens.is_none() && self.clients.is_empty()
    }

    /// What a peer may do that shows `credentials`: what the first client may that it can be, else everything if it has a
    /// token for that.
    ///
    /// # Errors
    /// Nobody is known by these credentials; says so without saying what was near.
    pub fn identify(&self, credentials: &Credentials) -> Result<Grant, &'static str> {
        if self.is_open() {
            return Ok(Grant::default());
        }
        // All of them are looked at, whichever matches: the time that this takes tells nothing about the others.
        let mut found = None;
        for client in &self.clients {
            let token = client.token_hashes.iter().fold(client.token_hashes.is_empty(), |right, hash| {
                right | credentials.token.as_ref().is_some_and(|shown| shown.matches(hash))
            });
            let name =
                client.cert_names.as_ref().is_none_or(|globs| credentials.names.iter().any(|it| globs.matches(it)));
            if token && name && found.is_none() {
                found = Some(client);
            }
        }
        let all = self.tokens.as_ref().zip(credentials.token.as_ref()).is_some_and(|(all, shown)| all.contain(shown));
        match found {
            Some(client) => Ok(Grant { client: Some(client.clone()) }),
            None if all => Ok(Grant::default()),
            None if credentials.token.is_none() && credentials.certificate.is_none() => Err("it shows no token"),
            None => Err("nobody is known by its token and certificate"),
        }
    }
}

impl Grant {
    /// The name of the client that it is, if it is not one that may do everything.
    pub fn name(&self) -> Option<&str> {
        self.client.as_ref().map(|client| client.name.as_str())
    }

    /// Whether it is the same client with the same rights.
    pub fn same_as(&self, other: &Grant) -> bool {
        self.client == other.client
    }

    /// Whether a block may be written.
    ///
    /// # Errors
    /// By which rule it may not.
    pub fn check(&self, header: &Header) -> Result<(), Forbidden> {
        let Some(client) = &self.client else { return Ok(()) };
        let forbidden = |reason, what: &str, key: &str, globs: &Globs| {
            let message = format!("client `{}` may not write {what}: its `{key}` are {globs}", client.name);
            Err(Forbidden { reason, message })
        };
        if let Some(hosts) = &client.hosts
            && !hosts.matches(&header.host)
        {
            return forbidden(Reason::Host, &format!("for the host `{}`", quoted(&header.host)), "hosts", hosts);
        }
        let Some(categories) = &client.categories else { return Ok(()) };
        match header.runs.iter().find(|run| !categories.matches(&run.key.category)) {
            None => Ok(()),
            Some(run) => {
                let what = format!("the category `{}`", quoted(&run.key.category));
                forbidden(Reason::Category, &what, "categories", categories)
            }
        }
    }

    /// Whether records may be seen as they come in, and of these only those of some categories and hosts.
    ///
    /// # Errors
    /// They may not.
    pub fn tail(&self) -> Result<(Option<&Globs>, Option<&Globs>), String> {
        match &self.client {
            None => Ok((None, None)),
            Some(client) if client.tail => Ok((client.categories.as_ref(), client.hosts.as_ref())),
            Some(client) => Err(format!("client `{}` may not see records: it has no `tail = true`", client.name)),
        }
    }
}

/// What a peer says, as it may stand in a log.
fn quoted(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(QUOTED_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tail::tests::block;

    fn client(name: &str, token: Option<&str>, cert_name: Option<&str>) -> Client {
        Client {
            name: name.to_owned(),
            token_hashes: token.map(TokenHash::of).into_iter().collect(),
            cert_names: cert_name.map(|glob| Globs::new([glob]).unwrap()),
            categories: None,
            hosts: None,
            tail: false,
        }
    }

    fn shown(token: &str, name: &str) -> Credentials {
        let names = if name.is_empty() { vec![] } else { vec!["other.example".to_owned(), name.to_owned()] };
        Credentials { names, ..Credentials::new(token, None) }
    }

    #[test]
    fn a_peer_is_the_first_client_of_which_it_shows_everything() {
        let clients = vec![
            client("both", Some("t1"), Some("web-*.example")),
            client("token", Some("t1"), None),
            client("certificate", None, Some("db.example")),
        ];
        let access = Access::new(Some(Tokens::of("all")), clients);
        for (token, name, is) in [
            ("t1", "web-1.example", Ok(Some("both"))),
            ("t1", "", Ok(Some("token"))),
            ("t1", "db.example", Ok(Some("token"))),
            ("", "db.example", Ok(Some("certificate"))),
            ("wrong", "db.example", Ok(Some("certificate"))),
            ("all", "", Ok(None)),
            ("all", "db.example", Ok(Some("certificate"))),
            ("", "web-1.example", Err(())),
            ("t", "", Err(())),
            ("t11", "", Err(())),
            ("", "", Err(())),
            (&TokenHash::of("t1").to_string(), "", Err(())),
        ] {
            let found = access.identify(&shown(token, name));
            let found = found.as_ref().map(Grant::name).map_err(|_| ());
            assert_eq!(found, is, "{token:?} {name:?}");
        }
        assert_eq!(Access::default().identify(&shown("any", "")).unwrap().name(), None, "nobody is asked");
        let only_clients = Access::new(None, vec![client("a", Some("t"), None)]);
        assert!(only_clients.identify(&shown("", "")).is_err() && only_clients.identify(&shown("t", "")).is_ok());
    }

    #[test]
    fn a_block_is_written_only_if_host_and_every_category_are_granted() {
        let globs = |text: &str| Some(Globs::new([text]).unwrap());
        let block = block(1, &["nginx.access", "sys\u{1b}log"], 0);
        for (categories, hosts, refused) in [
            (None, None, None),
            (globs("*"), globs("h"), None),
            (globs("nginx.*"), None, Some((Reason::Category, "the category `syslog`: its `categories` are nginx.*"))),
            (None, globs("web-*"), Some((Reason::Host, "for the host `h`: its `hosts` are web-*"))),
        ] {
            let client = Client { categories, hosts, ..client("web", None, None) };
            let checked = Grant { client: Some(Arc::new(client)) }.check(block.header());
            let refused = refused.map(|(reason, rule)| (reason, format!("client `web` may not write {rule}")));
            assert_eq!(checked.err().map(|it| (it.reason, it.message)), refused);
        }
        assert_eq!(Grant::default().check(block.header()), Ok(()));
    }
}
