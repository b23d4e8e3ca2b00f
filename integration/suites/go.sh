# Go and the libraries that suites need, of Debian's packages. Sourced by the suites after common.sh.
#
# shellcheck shell=bash

goroot=${work:?}/root/usr/lib/go-1.26

# Fetches Go, and the libraries that are named.
fetch_go() {
    say "fetching Go"
    use_release sid
    fetch_packages golang-1.26-go golang-1.26-src "$@"
}

# Unpacks the source of a library where Go looks for what it imports by a name.
fetch_go_library() {
    local package=$1 import=$2
    say "fetching the source of $import"
    fetch_source "$package" "$work/gopath/src/$import"
}

# Runs the tests of a library and of its packages. What they say goes to a log; a test and its end a line
# to a list.
run_go_tests() {
    local import=$1 out=$2
    shift 2
    (
        cd "$work/gopath/src/$import"
        GO111MODULE=off GOTOOLCHAIN=local GOROOT=$goroot GOCACHE=$work/gocache \
            GOPATH=$work/gopath:$work/root/usr/share/gocode \
            "$goroot/bin/go" test -json -count=1 -p 1 "$@"
    ) >"$work/$out.log" 2>"$work/$out.errors" || true
    python3 - "$work/$out.log" >"$work/$out.txt" <<'PYTHON'
import json, sys
ends = {"pass": "ok", "fail": "FAILED", "skip": "skipped"}
for line in open(sys.argv[1]):
    event = json.loads(line)
    if "Test" in event and event["Action"] in ends:
        print(ends[event["Action"]], event["Package"] + "." + event["Test"])
PYTHON
    sort -o "$work/$out.txt" "$work/$out.txt"
}
