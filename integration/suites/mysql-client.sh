#!/usr/bin/env bash
# MySQL 9.7's own tests of the C client (prepared statements, cursors, several results, and what else
# the protocol has), against a server and through the proxy.
#
#   integration/suites/mysql-client.sh [--cutover] [TEST...]     all, or some
#
# With --cutover they run once more, on a server that is moved to another one while one of them
# runs: that must make no difference.
# It needs Debian's apt.
set -euo pipefail
suite=mysql-client
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/mysql.sh"
source "$(dirname "$0")/client-test.sh"

client_test=("$tree/bin/mysql_client_test" --basedir="$tree/usr/lib/mysql-test")

fetch_mysql mysql-testsuite
run_client_tests mysql "$@"
