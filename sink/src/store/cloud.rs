//! Buckets: S3 and what speaks like it, Google Cloud Storage, Azure Blob.
//!
//! Owns which options there are and where they come from: `object_store` parses them and finds the credentials. What
//! the environment says comes first, [sink.options] go over it, and the bucket's name is the URL's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::path::Path;
use object_store::prefix::PrefixStore;
use object_store::{BackoffConfig, ObjectStore, RetryConfig};
use url::Url;

use super::class::{Classed, STORAGE_CLASS};
use crate::Error;

/// Whose bucket it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Provider {
    S3,
    Gcs,
    Azure,
}

/// Options that a misspelled one may have meant; `object_store` knows more spellings. In `docs/stores.md`.
const CLIENT_KEYS: &[&str] = &["allow_http", "allow_invalid_certificates", "connect_timeout", "proxy_url", "timeout"];
const S3_KEYS: &[&str] = &[
    "access_key_id",
    "checksum_algorithm",
    "container_credentials_relative_uri",
    "conditional_put",
    "endpoint",
    "imdsv1_fallback",
    "metadata_endpoint",
    "region",
    "request_payer",
    "role_arn",
    "role_session_name",
    "s3_express",
    "secret_access_key",
    "server_side_encryption",
    "session_token",
    "skip_signature",
    "sse_bucket_key_enabled",
    "sse_customer_key_base64",
    "sse_kms_key_id",
    "unsigned_payload",
    "virtual_hosted_style_request",
    "web_identity_token_file",
];
const GCS_KEYS: &[&str] =
    &["application_credentials", "base_url", "service_account", "service_account_key", "skip_signature"];
const AZURE_KEYS: &[&str] = &[
    "access_key",
    "account_name",
    "authority_host",
    "client_id",
    "client_secret",
    "endpoint",
    "federated_token_file",
    "msi_endpoint",
    "sas_token",
    "skip_signature",
    "tenant_id",
    "token",
    "use_azure_cli",
    "use_emulator",
];

impl Provider {
    fn keys(self) -> impl Iterator<Item = &'static str> {
        let own = match self {
            Self::S3 => S3_KEYS,
            Self::Gcs => GCS_KEYS,
            Self::Azure => AZURE_KEYS,
        };
        own.iter().chain(CLIENT_KEYS).copied().chain([STORAGE_CLASS])
    }

    /// How its URLs are written.
    fn example(self) -> &'static str {
        match self {
            Self::S3 => "`s3://bucket/prefix`",
            Self::Gcs => "`gs://bucket/prefix`",
            Self::Azure => "`az://container/prefix` or `abfss://container@account.dfs.core.windows.net/prefix`",
        }
    }
}

/// Answers of 5xx and broken connections are tried again, by the client itself, for up to half the deadline of a commit.
///
/// A conditional put is tried again too, after which "exists already" may mean the first try's own object. The commit
/// believes no such answer before it has read the log.
fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(5),
            base: 2.0,
        },
        max_retries: 8,
        retry_timeout: Duration::from_secs(30),
    }
}

/// A client of one provider, from the environment, the options and the URL.
macro_rules! client {
    ($builder:ty, $key:ty, $url:expr, $options:expr, $unknown:expr) => {{
        let mut builder = <$builder>::from_env().with_retry(retry());
        for (key, value) in $options {
            let known: $key = key.to_ascii_lowercase().parse().map_err(|_| $unknown(key))?;
            builder = builder.with_config(known, value);
        }
        builder.with_url($url.as_str()).build().map(|client| Arc::new(client) as Arc<dyn ObjectStore>)
    }};
}

/// Opens a bucket at the prefix that `url` names. Asks nothing of it.
pub(super) fn open(
    provider: Provider,
    url: &Url,
    options: &BTreeMap<String, String>,
) -> Result<Arc<dyn ObjectStore>, Error> {
    let bad = |reason: String| Error::BadUrl { url: url.to_string(), reason };
    let unknown = |key: &str| unknown(provider, url, key);
    if url.host_str().is_none_or(str::is_empty) {
        return Err(bad(format!("it names no bucket; write {}", provider.example())));
    }
    let prefix = Path::from_url_path(url.path()).map_err(|e| bad(e.to_string()))?;
    let client_options = || options.iter().filter(|(key, _)| *key != STORAGE_CLASS);
    let client = match provider {
        Provider::S3 => client!(AmazonS3Builder, AmazonS3ConfigKey, url, client_options(), unknown),
        Provider::Gcs => client!(GoogleCloudStorageBuilder, GoogleConfigKey, url, client_options(), unknown),
        Provider::Azure => client!(MicrosoftAzureBuilder, AzureConfigKey, url, client_options(), unknown),
    };
    let mut objects = client.map_err(|e| bad(e.to_string()))?;
    if !prefix.as_ref().is_empty() {
        objects = Arc::new(PrefixStore::new(objects, prefix));
    }
    Ok(match options.get(STORAGE_CLASS) {
        Some(class) => Arc::new(Classed::new(objects, class)),
        None => objects,
    })
}

fn unknown(provider: Provider, url: &Url, key: &str) -> Error {
    let wrong = key.to_ascii_lowercase();
    let nearest = provider.keys().min_by_key(|known| strsim::damerau_levenshtein(&wrong, known));
    let near = nearest.filter(|known| strsim::damerau_levenshtein(&wrong, known) <= 1 + known.len() / 4);
    let fix =
        near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_else(|| "; docs/stores.md lists them".into());
    Error::BadOption { url: url.to_string(), key: key.to_owned(), fix }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        options.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_option_that_we_name_is_one_of_the_client() {
        for key in Provider::S3.keys().filter(|key| *key != STORAGE_CLASS) {
            assert!(key.parse::<AmazonS3ConfigKey>().is_ok(), "{key}");
        }
        for key in Provider::Gcs.keys().filter(|key| *key != STORAGE_CLASS) {
            assert!(key.parse::<GoogleConfigKey>().is_ok(), "{key}");
        }
        for key in Provider::Azure.keys().filter(|key| *key != STORAGE_CLASS) {
            assert!(key.parse::<AzureConfigKey>().is_ok(), "{key}");
        }
    }

    #[test]
    fn a_misspelled_option_is_refused_with_what_was_meant() {
        for (url, key, meant) in [
            ("s3://bucket/x", "regoin", "`region`"),
            ("s3://bucket/x", "acess_key", "`access_key_id`"),
            ("gs://bucket", "service_acount", "`service_account`"),
            ("az://container", "acount_name", "`account_name`"),
            ("az://container", "region", "docs/stores.md"),
            ("s3://bucket", "storage_clas", "`storage_class`"),
        ] {
            let error = super::super::Store::open(url, &options(&[(key, "x")])).unwrap_err().to_string();
            assert!(error.contains(key) && error.contains(meant), "{error}");
        }
    }

    #[test]
    fn a_value_that_cannot_be_is_refused() {
        let bad = [
            ("s3://bucket/x", options(&[("allow_http", "perhaps")])),
            ("s3://bucket/x", options(&[("access_key_id", "only")])),
            ("az://container/x", options(&[])),
        ];
        for (url, options) in bad {
            let error = super::super::Store::open(url, &options).unwrap_err().to_string();
            assert!(error.contains(url) && error.lines().count() == 1, "{error}");
        }
    }
}
