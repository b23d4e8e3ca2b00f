#!/usr/bin/env bash
# The tests of Go's drivers pgx and pq, against a server and through the proxy.
#
#   integration/suites/pg-go.sh [pgx] [pq]
#
# It needs Debian's apt. As root, which no server runs as, it uses the account `nobody`.
set -euo pipefail
suite=pg-go
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/postgres.sh"
source "$(dirname "$0")/go.sh"

fetch() {
    [ -e "$work/fetched" ] && return
    fetch_postgres
    fetch_go golang-github-jackc-{pgpassfile,pgservicefile,puddle-v2}-dev \
        golang-github-stretchr-{testify,objx}-dev golang-golang-x-{crypto,sync,text,sys}-dev \
        golang-github-davecgh-go-spew-dev golang-github-pmezard-go-difflib-dev golang-gopkg-yaml.v3-dev
    fetch_go_library golang-github-jackc-pgx-v5 github.com/jackc/pgx/v5
    fetch_go_library golang-github-lib-pq github.com/lib/pq
    touch "$work/fetched"
}

run_pgx() {
    say "pgx, $1 (at $SECONDS s)"
    sql -c 'DROP DATABASE IF EXISTS pgx_test WITH (FORCE)' -c 'CREATE DATABASE pgx_test'
    sql -d pgx_test -f "$work/gopath/src/github.com/jackc/pgx/v5/testsetup/postgresql_setup.sql" 2>/dev/null || true
    PGX_TEST_DATABASE="host=127.0.0.1 port=$2 user=postgres dbname=pgx_test" \
        run_go_tests github.com/jackc/pgx/v5 "pgx-$1" ./...
}

run_pq() {
    say "pq, $1 (at $SECONDS s)"
    sql -c 'DROP DATABASE IF EXISTS pqgotest WITH (FORCE)' -c 'CREATE DATABASE pqgotest'
    PGHOST=127.0.0.1 PGPORT=$2 PGUSER=postgres PGDATABASE=pqgotest PGSSLMODE=disable \
        run_go_tests github.com/lib/pq "pq-$1" .
}

[ $# -gt 0 ] || set -- pgx pq
encoding=UTF8
fetch
start_server
for driver in "$@"; do
    start_proxy "postgres://postgres@127.0.0.1:$server_port/postgres"
    "run_$driver" direct "$server_port"
    "run_$driver" proxied "$proxy_port"
    compare "$work/$driver-direct.txt" "$work/$driver-proxied.txt"
done
