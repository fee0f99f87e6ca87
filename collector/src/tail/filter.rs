//! What a follower wants to see, as the query of its request says it.

use logboom_config::{Globs, Pattern, Severities};
use logboom_wire::{Header, Run};
use url::form_urlencoded;

/// The most bytes of a request's query.
const QUERY_BYTES_MAX: usize = 8 << 10;
/// The most records that may be asked for of those that came before.
const LAST_MAX: usize = 10_000;

/// What a follower wants. All that is given has to match.
#[derive(Debug, Default)]
pub struct Filter {
    categories: Option<Globs>,
    hosts: Option<Globs>,
    severities: Option<Severities>,
    pattern: Option<Pattern>,
    /// What the follower may see of it.
    allowed: (Option<Globs>, Option<Globs>),
    /// How many of the newest records that came before are shown first.
    pub last: usize,
}

impl Filter {
    /// Reads `category=GLOB&host=GLOB&severity=CONDITION&pattern=REGEX&last=N`, each percent-encoded and at will; `category`
    /// and `host` may be repeated, and one of them has to match.
    ///
    /// # Errors
    /// Names the part that is wrong.
    pub fn parse(query: &str) -> Result<Self, String> {
        if query.len() > QUERY_BYTES_MAX {
            return Err(format!("the query is longer than {QUERY_BYTES_MAX} bytes"));
        }
        let (mut categories, mut hosts, mut filter) = (Vec::new(), Vec::new(), Self::default());
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "category" => categories.push(value.into_owned()),
                "host" => hosts.push(value.into_owned()),
                "severity" => {
                    filter.severities = Some(value.parse().map_err(|error| format!("severity: {error}"))?);
                }
                "pattern" => filter.pattern = Some(value.parse().map_err(|error| format!("pattern: {error}"))?),
                "last" => {
                    let last = value.parse().ok().filter(|last| *last <= LAST_MAX);
                    filter.last = last.ok_or_else(|| format!("last is a number up to {LAST_MAX}"))?;
                }
                _ => return Err(format!("there is no {key:?}; there are category, host, severity, pattern and last")),
            }
        }
        let globs = |texts: Vec<String>, of: &str| match texts.is_empty() {
            true => Ok(None),
            false => Globs::new(texts).map(Some).map_err(|error| format!("{of}: {error}")),
        };
        filter.categories = globs(categories, "category")?;
        filter.hosts = globs(hosts, "host")?;
        Ok(filter)
    }

    /// The same, with only such categories and hosts; `None` is all.
    pub fn within(self, (categories, hosts): (Option<&Globs>, Option<&Globs>)) -> Self {
        Self { allowed: (categories.cloned(), hosts.cloned()), ..self }
    }

    /// Whether a block may hold something of it.
    pub fn wants(&self, header: &Header) -> bool {
        self.wants_host(&header.host) && header.runs.iter().any(|run| self.wants_run(run))
    }

    /// The records of a block that may be of it.
    pub fn wanted_rows(&self, header: &Header) -> u64 {
        header.runs.iter().filter(|run| self.wants_run(run)).map(|run| u64::from(run.rows)).sum()
    }

    /// Whether a run's category is of it.
    pub fn wants_run(&self, run: &Run) -> bool {
        let all = [&self.categories, &self.allowed.0];
        all.into_iter().flatten().all(|globs| globs.matches(&run.key.category))
    }

    /// Whether a record is of it that is of such a run; severity 0 is none.
    pub fn wants_record(&self, severity: u8, body: &[u8]) -> bool {
        self.severities.as_ref().is_none_or(|severities| severities.contains(severity))
            && self.pattern.as_ref().is_none_or(|pattern| pattern.matches(body))
    }

    fn wants_host(&self, host: &str) -> bool {
        [&self.hosts, &self.allowed.1].into_iter().flatten().all(|globs| globs.matches(host))
    }
}

#[cfg(test)]
mod tests {
    use logboom_fuzz::fuzz;

    use super::super::tests::block;
    use super::*;

    #[test]
    fn categories_and_hosts_are_alternatives_and_both_must_match() {
        let block = block(1, &["nginx.access", "syslog"], 0);
        for (query, rows) in [
            ("", Some(2)),
            ("category=nginx.*", Some(1)),
            ("category=x&category=sys%2A", Some(1)),
            ("category=x", None),
            ("host=h&category=*", Some(2)),
            ("host=other", None),
        ] {
            let filter = Filter::parse(query).unwrap();
            let wanted = filter.wants(block.header()).then(|| filter.wanted_rows(block.header()));
            assert_eq!(wanted, rows, "{query}");
        }
    }

    #[test]
    fn nobody_sees_more_than_allowed_whatever_is_asked_for() {
        let block = block(1, &["nginx.access", "syslog"], 0);
        let globs = |text: &str| Globs::new([text]).unwrap();
        let (nginx, other) = (globs("nginx.*"), globs("other"));
        for (query, allowed, rows) in [
            ("", (Some(&nginx), None), Some(1)),
            ("category=*", (Some(&nginx), None), Some(1)),
            ("category=syslog", (Some(&nginx), None), None),
            ("host=h", (None, Some(&other)), None),
            ("", (None, None), Some(2)),
        ] {
            let filter = Filter::parse(query).unwrap().within(allowed);
            let wanted = filter.wants(block.header()).then(|| filter.wanted_rows(block.header()));
            assert_eq!(wanted, rows, "{query}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (query, named) in [
            ("catgory=x", "catgory"),
            ("category=", "category"),
            ("host=%5B", "host"),
            ("severity=loud", "severity"),
            ("pattern=(", "pattern"),
            ("pattern=(a%7B1000%7D)%7B1000%7D", "pattern"),
            ("last=-1", "last"),
            ("last=1000000", "10000"),
        ] {
            let error = Filter::parse(query).unwrap_err();
            assert!(error.contains(named), "{query}: {error}");
        }
        assert!(Filter::parse(&"a=b&".repeat(4000)).is_err());
    }

    #[test]
    fn no_query_makes_it_panic() {
        let block = block(1, &["nginx.access", "syslog"], 0);
        let seed = b"category=nginx.*&category=sys%2A&host=h&severity=%3E%3Dwarn&pattern=%5Cba%7B1,9%7D&last=10";
        fuzz(&[seed], |bytes| {
            if let Ok(filter) = Filter::parse(&String::from_utf8_lossy(bytes)) {
                filter.wants(block.header());
                filter.wants_record(9, bytes);
                assert!(filter.wanted_rows(block.header()) <= 2 && filter.last <= LAST_MAX);
            }
        });
    }
}
