#!/usr/bin/env bash
# The tests of Python's driver asyncpg, against a server and through the proxy.
#
#   integration/suites/pg-asyncpg.sh [pytest's arguments]
#
# It needs Debian's apt and PyPI. As root, which no server runs as, it uses the account `nobody`.
set -euo pipefail
suite=pg-asyncpg
source "$(dirname "$0")/common.sh"
source "$(dirname "$0")/postgres.sh"

version=0.32.0

fetch() {
    [ -e "$work/fetched" ] && return
    fetch_postgres
    say "fetching asyncpg $version and its tests"
    python3 -m venv "$work/venv"
    "$work/venv/bin/pip" install --quiet --disable-pip-version-check asyncpg==$version distro pytest==8.*
    mkdir -p "$work/packages"
    "$work/venv/bin/pip" download --quiet --disable-pip-version-check --no-deps \
        --no-binary asyncpg --dest "$work/packages" asyncpg==$version
    tar -x -C "$work" --strip-components=1 -f "$work/packages/asyncpg-$version.tar.gz" "asyncpg-$version/tests"
    touch "$work/fetched"
}

# Away from the sources, so that the package that is installed is tested. The few tests that start
# a server of their own need an account that is not root.
run() {
    local way=$1 port=$2
    shift 2
    say "$way (at $SECONDS s)"
    (
        cd "$work"
        PGHOST=127.0.0.1 PGPORT="$port" PGUSER=postgres PGDATABASE=postgres \
            "$work/venv/bin/python" -m pytest -p no:cacheprovider -v --tb=short tests "$@"
    ) >"$work/$way.log" 2>&1 || true
    sed -nE 's/^(tests[^ ]+::[^ ]+) (PASSED|FAILED|ERROR|SKIPPED).*/\2 \1/p' "$work/$way.log" |
        sed 's/^PASSED/ok/' | sort >"$work/$way.txt"
}

encoding=UTF8
fetch
start_server
start_proxy "postgres://postgres@127.0.0.1:$server_port/postgres"
run direct "$server_port" "$@"
run proxied "$proxy_port" "$@"
compare "$work/direct.txt" "$work/proxied.txt"
