#!/usr/bin/env bash
# Runs all tests: format, lints, documentation, unit and property tests, loom models, and the
# end-to-end tests on real servers, and some tests of others (docs/compatibility.md).
#
#   ./test.sh            everything but the long runs (under half an hour on two cores)
#   ./test.sh --fast     format, lints, unit and property tests only: no server is needed
#   ./test.sh --all      the long runs too, and property tests that try other cases each time
#
# The property tests try the same cases each time, so that a run can be repeated; a seed of one's own
# is given by PROPTEST_RNG_SEED.
#
# As root on Debian it installs what is missing, and says what; else it says what to install.
set -euo pipefail
cd "$(dirname "$0")"
source ./integration/install.sh

mode=usual
for argument in "$@"; do
    case $argument in
    --fast) mode=fast ;;
    --all) mode=all ;;
    *)
        sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
        exit 2
        ;;
    esac
done

if [ "$mode" = all ]; then
    export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
    echo "property tests: PROPTEST_RNG_SEED=$PROPTEST_RNG_SEED"
else
    export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}
fi

step() {
    echo
    echo "== $* (at ${SECONDS} s)"
}

# nextest where it is there, since it gives each test a process and a deadline.
run_tests() {
    if cargo nextest --version >/dev/null 2>&1; then
        cargo nextest run --locked "$@"
    else
        local arguments=() ignored=()
        for argument in "$@"; do
            case $argument in
            --run-ignored=all) ignored=(--include-ignored) ;;
            *) arguments+=("$argument") ;;
            esac
        done
        cargo test --locked "${arguments[@]}" -- --test-threads=3 "${ignored[@]}"
    fi
}

step "installing what is missing"
install_toolchain
if [ "$mode" != fast ]; then
    install_servers
    install_python
    install_node
fi

step "format"
cargo fmt --all -- --check

step "lints"
cargo clippy --locked --workspace --all-targets --quiet -- -D warnings

if [ "$mode" = fast ]; then
    step "unit and property tests"
    run_tests --workspace --exclude integration --exclude benches
    exit
fi

step "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet

step "loom models of the switch"
RUSTFLAGS="--cfg router_loom" CARGO_TARGET_DIR=target/loom \
    cargo test --locked -p router --release --test switch_loom

step "unit, property and end-to-end tests"
cargo build --locked --quiet -p pointsman
export POINTSMAN_BIN="${CARGO_TARGET_DIR:-$PWD/target}/debug/pointsman"
if [ "$mode" = all ]; then
    run_tests --workspace --run-ignored=all
    for suite in integration/suites/*-*.sh; do
        step "the suite $suite"
        "./$suite"
    done
    step "the same across a cutover"
    ./integration/suites/mariadb-client.sh --cutover
    ./integration/suites/mysql-client.sh --cutover
else
    run_tests --workspace
    step "a short choice of others' tests, without and through the proxy"
    ./integration/suites/pg-regress.sh --short
    ./integration/suites/mariadb-client.sh
fi
step "all passed"
