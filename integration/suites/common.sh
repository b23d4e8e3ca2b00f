# What the suites share: fetching packages of Debian without installing them, servers of their own,
# the proxy in front, and the comparison. Sourced by each suite's script.
#
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
work=${POINTSMAN_SUITES_DIR:-$root/.suites}/${suite:?}
mkdir -p "$work"
bin=${POINTSMAN_BIN:-${CARGO_TARGET_DIR:-$root/target}/debug/pointsman}
pids=()

say() { echo "$suite: $*"; }

fail() {
    echo "$suite: $*" >&2
    exit 1
}

# The proxy before the server: a server waits for its clients.
stop_all() {
    local i
    for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
        kill -TERM "${pids[i]}" 2>/dev/null || continue
        wait "${pids[i]}" 2>/dev/null || true
    done
    pids=()
}
trap stop_all EXIT

# apt with lists of its own, for one release of Debian: packages and sources are then of one version.
own_apt() {
    local command=$1
    shift
    "$command" -qq \
        -o Dir::Etc::sourcelist="$work/apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
        -o Dir::State::lists="$work/apt/lists" -o Dir::Cache::pkgcache= -o Dir::Cache::srcpkgcache= \
        -o APT::Sandbox::User=root -o Acquire::Retries=3 "$@"
}

use_release() {
    local release=$1 kind
    mkdir -p "$work/apt/lists/partial"
    for kind in deb deb-src; do
        echo "$kind [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://deb.debian.org/debian $release main"
    done >"$work/apt/sources.list"
    own_apt apt-get update
}

# Unpacks packages into $work/root; nothing is installed.
fetch_packages() {
    local package
    mkdir -p "$work/packages" "$work/root"
    (cd "$work/packages" && own_apt apt-get download "$@")
    for package in "$work"/packages/*.deb; do
        dpkg -x "$package" "$work/root"
    done
}

# Unpacks the upstream source of a source package into a folder.
fetch_source() {
    local package=$1 into=$2
    mkdir -p "$work/packages" "$into"
    (cd "$work/packages" && own_apt apt-get --download-only source "$package")
    tar -x --strip-components=1 -C "$into" -f "$(ls "$work/packages/${package}"_*.orig.tar.*)"
}

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# Waits until a command succeeds.
wait_for() {
    local deadline=$((SECONDS + 60))
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$deadline" ] || fail "not within 60 s: $*"
        sleep 0.1
    done
}

accepts() { (: </dev/tcp/127.0.0.1/"$1"); }

# Starts pointsman in front of a server, with the lines of configuration that are named; its port is then
# in $proxy_port.
start_proxy() {
    local url=$1
    shift
    [ -x "$bin" ] || fail "there is no $bin: build it, or name it by POINTSMAN_BIN"
    proxy_port=$(free_port)
    rm -rf "$work/proxy"
    mkdir -p "$work/proxy"
    {
        echo "source = \"$url\""
        echo "listen = \"127.0.0.1:$proxy_port\""
        echo "spool.dir = \"$work/proxy/spool\""
        echo "admin.socket = \"$work/proxy/admin.sock\""
        printf '%s\n' "$@"
    } >"$work/proxy/pointsman.toml"
    "$bin" run -c "$work/proxy/pointsman.toml" >"$work/proxy/log" 2>&1 &
    pids+=($!)
    wait_for accepts "$proxy_port"
}

# A command of the operator's.
pointsman() { "$bin" "$@" -c "$work/proxy/pointsman.toml"; }

phase_is() { pointsman status --json | grep -q "\"phase\": *\"$1\""; }

# Runs a program as an account that is not root, which no server runs as.
as_server() { (exec_as_server "$@"); }

exec_as_server() {
    if [ "$(id -u)" = 0 ]; then
        exec setpriv --reuid=nobody --regid=nogroup --clear-groups env HOME="$work/run" "$@"
    fi
    exec "$@"
}

# An empty folder that the server's account may write to.
make_run_folder() {
    rm -rf "$work/run"
    mkdir -p "$work/run"
    [ "$(id -u)" != 0 ] || chown -R nobody:nogroup "$work/run"
}

# Compares the lists of results, one line a test: both ways must be the same, but for the differences
# in known/SUITE.txt (a test and the reason a line).
compare() {
    local direct=$1 proxied=$2 known=$root/integration/suites/known/$suite.txt differ
    say "direct: $(wc -l <"$direct") tests, $(grep -c '^ok ' "$direct") ok; through the proxy: $(wc -l <"$proxied") tests, $(grep -c '^ok ' "$proxied") ok"
    grep -q '^ok ' "$direct" || fail "no test succeeds even without the proxy: see $work"
    differ=$({ diff "$direct" "$proxied" || true; } | sed -n 's/^[<>] [a-zA-Z]* //p' | sort -u)
    if [ -e "$known" ]; then
        say "known differences: $(grep -cxFf <(sed -n 's/^\([^# ][^ ]*\).*/\1/p' "$known") <<<"$differ" || true) of $(grep -c '^[^#]' "$known")"
        differ=$(grep -vxFf <(sed -n 's/^\([^# ][^ ]*\).*/\1/p' "$known") <<<"$differ" || true)
    fi
    [ -z "$differ" ] || fail "the proxy makes a difference: $(tr '\n' ' ' <<<"$differ")(see $work)"
    say "no other difference"
}
