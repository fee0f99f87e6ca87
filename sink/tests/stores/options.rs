//! The examples of `docs/stores.md`, as settings that open.

use std::fs;
use std::path::Path;

use logboom_config::Settings;
use logboom_sink::Store;

/// The secret files that the examples name, with something in them that looks right.
const SECRETS: [(&str, &str); 5] = [
    ("gcs.json", r#"{"client_email": "", "private_key": "", "private_key_id": "", "disable_oauth": true}"#),
    ("s3.secret", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY\n"),
    ("azure.key", "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw==\n"),
    ("azure.secret", "secret\n"),
    ("sse.key", "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=\n"),
];

#[test]
fn every_example_of_the_document_opens() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in SECRETS {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/stores.md");
    let text = fs::read_to_string(document).unwrap();
    let examples: Vec<&str> =
        text.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("it ends")).collect();
    assert!(examples.len() >= 8, "{}", examples.len());
    for example in examples {
        let here = format!("{}/", folder.path().display());
        let path = folder.path().join("settings.toml");
        fs::write(&path, example.replace("/etc/logboom/", &here).replace("file:///var/lib/logboom/", "file:///tmp/"))
            .unwrap();
        let sink = Settings::load(&path).unwrap_or_else(|e| panic!("{e}\n{example}")).sink.expect("it has a sink");
        let checked = Store::check(&sink.url, &sink.options);
        match checked {
            Err(error) if sink.url.starts_with("hdfs:") => assert!(error.to_string().contains("--features hdfs")),
            checked => checked.unwrap_or_else(|e| panic!("{e}\n{example}")),
        }
    }
}

#[test]
fn every_option_of_the_documents_tables_is_one_of_the_store() {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/stores.md")).unwrap();
    let (mut url, mut checked) = (None, 0);
    for line in text.lines() {
        if line.starts_with("## ") {
            url = match line {
                "## S3" => Some("s3://bucket"),
                "## Google Cloud Storage" => Some("gs://bucket"),
                "## Azure Blob" => Some("az://container"),
                "## All buckets" => Some("s3://bucket"),
                _ => None,
            };
        }
        let (Some(url), Some(rest)) = (url, line.strip_prefix("| `")) else { continue };
        // The first cell may name several.
        let cell = rest.split(" | ").next().expect("a row has cells");
        for option in cell.split('`').step_by(2).filter(|option| !option.is_empty()) {
            let options = [(option.to_owned(), "1".to_owned())].into();
            // The value may well be wrong; the name must not be.
            if let Err(error) = Store::check(url, &options) {
                assert!(!matches!(error, logboom_sink::Error::BadOption { .. }), "{error}");
            }
            checked += 1;
        }
    }
    assert!(checked > 30, "{checked}");
}
