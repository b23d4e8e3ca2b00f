#!/usr/bin/env bash
# Takes the figures that are reported: medians of five runs, alternating with other tools.
#
#   benches/run.sh [cutover] [select] [copy] [backlog] [sessions]
#                  [mysql-cutover] [mysql-relay] [mysql-copy] [mysql-backlog] [mysql-sessions]
#                  [mysql-snapshot]
#                  [--runs 5] [--json]
#
# As root on Debian it installs what is missing, and says what; else it says what to install.
set -euo pipefail
cd "$(dirname "$0")/.."
source ./integration/install.sh

install_toolchain
install_servers
install_peers
install_pgbench
install_commands pgbouncer=pgbouncer
cargo build --locked --release --quiet -p pointsman -p benches --bins
target=${CARGO_TARGET_DIR:-$PWD/target}
export POINTSMAN_BIN=$target/release/pointsman
exec "$target/release/figures" "$@"
