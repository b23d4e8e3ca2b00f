#!/usr/bin/env bash
# MariaDB's own tests of the C client (prepared statements, cursors, several results, and what else
# the protocol has), against a server and through the proxy.
#
#   integration/suites/mariadb-client.sh [--cutover] [TEST...]     all, or some
#
# With --cutover they run once more, on a server that is moved to another one while the one in the middle
# runs: that must make no difference.
# It needs Debian's apt. As root, which no server runs as, it uses the account `nobody`.
set -euo pipefail
suite=mariadb-client
source "$(dirname "$0")/common.sh"

source "$(dirname "$0")/mariadb.sh"

fetch() {
    [ -e "$work/fetched" ] && return
    fetch_mariadb mariadb-test mariadb-test-data
    touch "$work/fetched"
}

# Every test in a database of its own, so that one that fails harms no other.
run() {
    local way=$1 port=$2 reset_port=${3:-$server_port} test number=0
    say "$way (at $SECONDS s)"
    for test in "${names[@]}"; do
        sql_at "$reset_port" "DROP DATABASE IF EXISTS client_test_db; CREATE DATABASE IF NOT EXISTS test; SET GLOBAL general_log = DEFAULT, GLOBAL sql_mode = DEFAULT; FLUSH PRIVILEGES"
        number=$((number + 1))
        if [ "$way" = moved ] && [ "$number" = $(((${#names[@]} + 1) / 2)) ]; then
            pointsman cutover >"$work/cutover.txt" 2>&1 &
            cutover=$!
        fi
        if (cd "$work/run" && timeout 60 "$usr/bin/mysql_client_test" --no-defaults -h127.0.0.1 -P"$port" -uroot \
            --vardir="$work/run" --basedir="$usr/share/mysql/mysql-test" -s "$test") >&2; then
            echo "ok $test"
        else
            echo "FAILED $test"
        fi
    done >"$work/$way.txt" 2>"$work/$way.log"
}

# The same on a server that moves meanwhile.
run_moved() {
    start_move
    run moved "$proxy_port" "$proxy_port"
    wait "$cutover" || fail "the cutover was refused: $(cat "$work/cutover.txt")"
    phase_is switched || fail "nothing was switched: $(cat "$work/cutover.txt")"
    say "moved: $(grep '^pause' "$work/cutover.txt")"
    compare "$work/direct.txt" "$work/moved.txt"
}

with_cutover=no
if [ "${1:-}" = --cutover ]; then
    with_cutover=yes
    shift
fi
fetch
start_server
start_proxy "mariadb://root@127.0.0.1:$server_port"
if [ $# -gt 0 ]; then
    names=("$@")
else
    mapfile -t names < <("$usr/bin/mysql_client_test" --no-defaults -T 2>/dev/null | grep -oE '^test_[a-z0-9_]+' | sort)
fi
run direct "$server_port"
run proxied "$proxy_port"
compare "$work/direct.txt" "$work/proxied.txt"
[ "$with_cutover" = no ] || run_moved
