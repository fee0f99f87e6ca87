//! Bugs that are planted in the product, each of which the simulation has to find: `logboom_config::planted`.

/// A bug, where it is, and what it is.
pub struct Bug {
    pub name: &'static str,
    /// Seeds that are tried in every run of the tests; none for those that take too many.
    pub quick: Option<u64>,
}

const fn quick(name: &'static str, seeds: u64) -> Bug {
    Bug { name, quick: Some(seeds) }
}

const fn slow(name: &'static str) -> Bug {
    Bug { name, quick: None }
}

/// All of them.
pub const BUGS: &[Bug] = &[
    // adaptor/src/spool
    quick("skip_sync", 40),
    slow("ignore_failed_sync"),
    slow("retry_failed_sync"),
    quick("skip_directory_sync", 30),
    slow("trust_new_folder"),
    slow("replace_without_sync"),
    slow("publish_before_sync"),
    slow("acknowledge_unwritten_tail"),
    quick("reuse_stream_id", 20),
    quick("trim_past_the_mark", 20),
    quick("delete_without_folding_positions", 20),
    slow("skip_recovery_sync"),
    slow("accept_torn_tail"),
    // adaptor/src/sender
    quick("trim_when_sent", 20),
    quick("skip_first_block", 20),
    // collector
    quick("acknowledge_before_commit", 20),
    quick("mark_one_too_high", 20),
    quick("mark_one_too_low", 20),
    quick("filter_lets_mark_through", 40),
    quick("default_table_first", 60),
    slow("ignore_marks_of_routes"),
    quick("refresh_before_commit", 30),
    // sink
    quick("trust_already_exists", 20),
    quick("ignore_lost_race", 60),
    slow("trust_stale_view"),
    slow("trust_own_clock"),
    slow("believe_late_answer"),
    slow("commit_old_files"),
    quick("delete_files_after_error", 20),
    slow("rewrite_ignores_rivals"),
    slow("vacuum_without_grace"),
    slow("vacuum_without_fence"),
    slow("clean_up_by_own_clock"),
];

/// The names in the code of the product.
pub fn in_the_code() -> std::collections::BTreeSet<String> {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("it is in the workspace");
    let mut found = std::collections::BTreeSet::new();
    for folder in ["adaptor", "collector", "config", "query", "sink", "wire", "src"] {
        find(&root.join(folder), &mut found);
    }
    found
}

fn find(folder: &std::path::Path, found: &mut std::collections::BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            find(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).unwrap();
            let calls = text.split("planted::bug(\"").skip(1);
            found.extend(calls.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        }
    }
}
