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
    cargo fmt --check --manifest-path query/remote-test/Cargo.toml
    cargo clippy --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --document-private-items
    cargo deny check bans licenses sources

# Ask RustSec about every dependency, with nothing ignored: cargo install cargo-deny cargo-audit
audit:
    cargo deny check advisories
    cargo audit --deny warnings

# Write the bill of materials, *.cdx.json beside each Cargo.toml: cargo install cargo-cyclonedx
sbom:
    cargo cyclonedx --format json --all --target all --spec-version 1.5

# Fuzz every target, ten million inputs each or as many as an hour has; `fuzz/run` lists them
fuzz *ARGS="-runs=10000000 -max_total_time=3600":
    fuzz/run all {{ARGS}}

# Fuzz every target with ten million blind inputs, or as many as 200 s have (LOGBOOM_FUZZ_RUNS, LOGBOOM_FUZZ_MS); or those whose name begins with WHAT
fuzz-blind WHAT="":
    fuzz/blind {{WHAT}}

# Flip every bit of a segment of 64 KiB, as the only one of its stream and as one of two
bit-flips:
    cargo test --release -p logboom-adaptor --lib every_bit_of_a_segment -- --ignored --nocapture

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

# How big spools start, how fast adaptors fail over and come back, crowds, slow collectors; but not the soak. WHAT is a test's
# name or a part of it (LOGBOOM_SPOOL_GIB, LOGBOOM_SPOOL_STREAMS, LOGBOOM_FAIL_OVERS, LOGBOOM_HALF_OPEN_ROUNDS,
# LOGBOOM_ADAPTORS, LOGBOOM_OUTAGE_SECONDS, LOGBOOM_CROWD_RATE, LOGBOOM_CROWD_SECONDS, LOGBOOM_SLOW_SECONDS)
load WHAT="full_load":
    cargo test --release --test tests -- --ignored --nocapture --test-threads 1 --skip soak {{WHAT}}

# Half an hour at 80 % of what was measured before (LOGBOOM_SOAK_SECONDS, LOGBOOM_SOAK_GIB)
soak:
    cargo test --release --test tests -- --ignored --nocapture full_load_a_soak

# 1,000 kills of each role with ten million records (the same variables, LOGBOOM_KILLS_EACH)
kill-test-long:
    LOGBOOM_KILL_ROUNDS=1000 LOGBOOM_KILL_RECORDS=10000000 LOGBOOM_KILLS_EACH=1000 cargo test --release --test tests -- --ignored --nocapture --exact faults::kill_rounds::full_kill_rounds_lose_and_double_nothing

# Kill each role at every one of its system calls, then let each call that changes a disk fail (LOGBOOM_SWEEP_CALLS: at most so many)
sweep-calls:
    cargo test --test tests -- --ignored --nocapture --test-threads=1 full_a_death_at_every full_an_error_of_every

# Cut the power at every call that changes or syncs a disk (LOGBOOM_POWER_CALLS: at most so many, LOGBOOM_POWER_SEEDS)
sweep-power:
    cargo test --test tests -- --ignored --nocapture full_a_power_cut

# Every store that is installed: LOGBOOM_TEST_PYTHON (moto[server]), LOGBOOM_TEST_NODE_MODULES (azurite), radosgw
stores:
    cargo test -p logboom-sink --test sink stores:: -- --nocapture

# Queries that a Ballista cluster answers, which builds one: a scheduler and two executors
remote:
    cargo test --manifest-path query/remote-test/Cargo.toml --target-dir target/remote-test

# 20,000 seeds of the simulation; or what ARGS say (docs/simulation.md)
simulate *ARGS="--seeds 20000":
    cargo test --release -p logboom-simulation -- {{ARGS}}

# Plants bugs, and counts the seeds until the simulation finds each
planted-bugs:
    cargo test --release -p logboom-simulation -- --planted
