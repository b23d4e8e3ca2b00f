#!/usr/bin/env bash
# MariaDB's own tests of the C client (prepared statements, cursors, several results, and what else
# the protocol has), against a server and through the proxy.
#
#   integration/suites/mariadb-client.sh [--cutover] [TEST...]     all, or some
#
# With --cutover they run once more, on a server that is moved to another one while one of them
# runs: that must make no difference.
# It needs Debian's apt. As root, which no server runs as, it uses the account `nobody`.
set -euo pipefail
suite=mariadb-client
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/mariadb.sh"
source "$(dirname "$0")/client-test.sh"

client_test=("$usr/bin/mysql_client_test" --no-defaults --basedir="$usr/share/mysql/mysql-test")

if [ ! -e "$work/fetched" ]; then
    fetch_mariadb mariadb-test mariadb-test-data
    touch "$work/fetched"
fi
run_client_tests mariadb "$@"
