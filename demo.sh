#!/usr/bin/env bash
# Moves a database under load from one real server to another, and accounts for every transaction.
#
#   ./demo.sh [postgres] [--from 14] [--to 17] [--scale 10] [--clients 8]
#   ./demo.sh mysql [--from mysql-9.7] [--to mysql-9.7] [--scale 10] [--clients 8]
#   ./demo.sh mysql --from mariadb-10.11 --to mariadb-11.8
#
# As root on Debian it installs what is missing, and says what; else it says what to install.
set -euo pipefail
cd "$(dirname "$0")"
source ./integration/install.sh

install_toolchain
install_servers
echo "building"
cargo build --locked --release --quiet -p pointsman -p integration --bins
target=${CARGO_TARGET_DIR:-$PWD/target}
export POINTSMAN_BIN=$target/release/pointsman
exec "$target/release/demo" "$@"
