#!/usr/bin/env bash
# PostgreSQL's own regression and isolation tests, against a server and through the proxy.
#
#   integration/suites/pg-regress.sh [--short | TEST...]
#
# All of both, a short choice of both, or some of the regression tests.
# It needs Debian's apt and a C compiler. As root, which no server runs as, it uses the account
# `nobody`.
set -euo pipefail
suite=pg-regress
source "$(dirname "$0")/common.sh"

source "$(dirname "$0")/postgres.sh"

tests=$lib/lib/pgxs/src/test

# What a relay could spoil: messages of all kinds, settings, statements that are kept, notifications,
# several sessions that wait for each other.
short_regress=(test_setup boolean char int8 float8 numeric text date timestamptz interval jsonb arrays
    guc prepare plancache copy2 transactions sequence temp rangetypes largeobject conversion prepared_xacts async)
short_isolation=(read-write-unique two-ids deadlock-simple deadlock-soft fk-contention lock-update-delete nowait
    skip-locked async-notify)

fetch() {
    [ -e "$work/fetched" ] && return
    fetch_postgres postgresql-server-dev-$major
    fetch_source postgresql-$major "$work/source"
    (
        cd "$work/source/src/test/regress"
        gcc -O2 -fPIC -shared -I"$work/root/usr/include/postgresql/$major/server" -I. -o regress.so regress.c
        cp "$lib"/lib/{autoinc,refint}.so .
    )
    touch "$work/fetched"
}

# Runs a suite by one port; the results go to $work/NAME-WAY.txt.
run() {
    local name=$1 way=$2 port=$3 program=$4 folder=$5
    shift 5
    local out=$work/run/$name-$way
    as_server mkdir -p "$out"
    say "$name, $way (at $SECONDS s)"
    (
        cd "$folder"
        as_server env PATH="$tests/isolation:$PATH" "$program" --host=127.0.0.1 --port="$port" --user=postgres \
            --bindir="$lib/bin" --inputdir=. --dlpath=. --outputdir="$out" --max-concurrent-tests=20 "$@"
    ) >"$work/$name-$way.log" 2>&1 || true
    sed -nE 's/^(test|    ) *([a-z0-9_.-]+) +\.\.\. (ok|FAILED).*/\3 \2/p' "$work/$name-$way.log" | sort >"$work/$name-$way.txt"
}

both() {
    local name=$1
    shift
    run "$name" direct "$server_port" "$@"
    run "$name" proxied "$proxy_port" "$@"
    compare "$work/$name-direct.txt" "$work/$name-proxied.txt"
}

fetch
start_server
start_proxy "postgres://postgres@127.0.0.1:$server_port/postgres"
chmod -R a+rX "$work"
source_tests=$work/source/src/test
if [ "${1:-}" = --short ]; then
    both regress "$tests/regress/pg_regress" "$source_tests/regress" "${short_regress[@]}"
    both isolation "$tests/isolation/pg_isolation_regress" "$source_tests/isolation" "${short_isolation[@]}"
elif [ $# -gt 0 ]; then
    both regress "$tests/regress/pg_regress" "$source_tests/regress" "$@"
else
    both regress "$tests/regress/pg_regress" "$source_tests/regress" --schedule=parallel_schedule
    both isolation "$tests/isolation/pg_isolation_regress" "$source_tests/isolation" --schedule=isolation_schedule
fi
