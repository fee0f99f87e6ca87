# Every command of the project. `just` lists them.

_default:
    @just --list

# Build the release binaries
build:
    cargo build --release --workspace

# Build the small binary for hosts, target/adaptor/logboom-adaptor: smaller, and slower to build
adaptor:
    cargo build --profile adaptor -p logboom-adaptor

# Run the tests
test:
    cargo test --workspace

# What CI runs
ci:
    .ci/run

# Format, lint, document, check licences
lint:
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
    cargo deny check bans licenses sources

# CPU per GB of the adaptor and the collector, beside their floors
bench *ARGS:
    cargo bench -p logboom-bench -- {{ARGS}}

# Time of questions to a gigabyte of logs, beside DuckDB and zcat (LOGBOOM_BENCH_MB, LOGBOOM_BENCH_PYTHON)
bench-queries *ARGS:
    cargo bench --profile release -p logboom --bench queries -- {{ARGS}}

# 200 rounds of kill -9 with a million records (LOGBOOM_KILL_ROUNDS, LOGBOOM_KILL_RECORDS, LOGBOOM_SEED)
kill-test:
    cargo test --release --test tests -- --ignored --nocapture full_kill --skip rounds_on

# The same with the table on S3 that loses answers: Ceph's gateway (kill-test-s3 ceph) or moto
kill-test-s3 SERVER="ceph":
    cargo test --release --test tests -- --ignored --nocapture full_kill_rounds_on_{{SERVER}}

# Every store that is installed: LOGBOOM_TEST_PYTHON (moto[server]), LOGBOOM_TEST_NODE_MODULES (azurite), radosgw
stores:
    cargo test -p logboom-sink --test stores -- --nocapture

# 20,000 seeds of the simulation; or what ARGS say (docs/simulation.md)
simulate *ARGS="--seeds 20000":
    cargo test --release -p logboom-simulation -- {{ARGS}}

# Plants bugs, and counts the seeds until the simulation finds each
planted-bugs:
    cargo test --release -p logboom-simulation -- --planted
