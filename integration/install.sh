# Installs what the tests, the demo and the benchmarks need. Sourced by test.sh, demo.sh and
# benches/run.sh, in the project's root folder.
#
# shellcheck shell=bash

# Debian packages for commands that are missing. Without root, says what to install.
install_commands() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null 2>&1 || missing+=("${pair##*=}")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    install_packages "${missing[@]}"
}

install_packages() {
    if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "missing here: please install the Debian packages $* (or run this as root)" >&2
        exit 1
    fi
    echo "installing the Debian packages: $*"
    apt-get -qq update
    DEBIAN_FRONTEND=noninteractive apt-get -qq -y --no-install-recommends install "$@" >/dev/null
}

install_toolchain() {
    if ! command -v cargo >/dev/null 2>&1; then
        echo "missing here: the Rust toolchain, 1.95 or newer" >&2
        exit 1
    fi
    install_commands cc=build-essential
}

# psql and pg_dump of the machine's own version; servers 12 to 18 and the programs of 18 into
# .servers. Debian's postgresql package would start a server of its own, which nobody needs here.
install_servers() {
    install_commands psql=postgresql-client setpriv=util-linux ipcrm=util-linux openssl=openssl
    export POINTSMAN_SERVERS_DIR=${POINTSMAN_SERVERS_DIR:-$PWD/.servers}
    local version
    for version in pg12 pg14 pg15 pg16 pg17 pg18 client18; do
        [ -d "$POINTSMAN_SERVERS_DIR/$version" ] && continue
        install_commands npm=npm node=nodejs
        ./integration/fetch.sh "$POINTSMAN_SERVERS_DIR"
        return
    done
}

# pgbench comes with Debian's server package.
install_pgbench() {
    command -v pgbench >/dev/null 2>&1 && return 0
    compgen -G '/usr/lib/postgresql/*/bin/pgbench' >/dev/null && return 0
    install_packages postgresql
}

# The Python driver, in an environment of its own.
install_python() {
    export POINTSMAN_PYTHON=${POINTSMAN_PYTHON:-$PWD/.cache/python/bin/python}
    "$POINTSMAN_PYTHON" -c 'import psycopg' 2>/dev/null && return 0
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        install_packages python3 python3-venv
    fi
    echo "installing the Python package psycopg into .cache/python"
    python3 -m venv .cache/python
    .cache/python/bin/pip install --quiet --disable-pip-version-check 'psycopg[binary]==3.2.*'
    POINTSMAN_PYTHON=$PWD/.cache/python/bin/python
}
