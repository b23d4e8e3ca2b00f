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

# psql and pg_dump of the machine's own version; PostgreSQL 12 to 18 and the programs of 18, MySQL
# and MariaDB with their programs into .servers. Debian's postgresql package would start a server of its own, which nobody needs here.
install_servers() {
    install_commands psql=postgresql-client setpriv=util-linux ipcrm=util-linux openssl=openssl
    export POINTSMAN_SERVERS_DIR=${POINTSMAN_SERVERS_DIR:-$PWD/.servers}
    local version recipe
    recipe=$(sed -n 's/^recipe=//p' integration/fetch-mysql.sh)
    for version in pg12 pg14 pg15 pg16 pg17 pg18 client18; do
        [ -d "$POINTSMAN_SERVERS_DIR/$version" ] && continue
        install_commands npm=npm node=nodejs
        ./integration/fetch.sh "$POINTSMAN_SERVERS_DIR" postgres
        break
    done
    for version in mysql97 mysql56 mariadb1011 mariadb118 sysbench; do
        [ "$(cat "$POINTSMAN_SERVERS_DIR/$version/.ready" 2>/dev/null)" = "$recipe" ] && continue
        install_commands npm=npm node=nodejs
        ./integration/fetch.sh "$POINTSMAN_SERVERS_DIR" mysql
        break
    done
}

# What only the benchmarks compare with.
install_peers() {
    ./integration/fetch.sh "$POINTSMAN_SERVERS_DIR" peers
}

# pgbench comes with Debian's server package.
install_pgbench() {
    command -v pgbench >/dev/null 2>&1 && return 0
    compgen -G '/usr/lib/postgresql/*/bin/pgbench' >/dev/null && return 0
    install_packages postgresql
}

# The Python drivers, in an environment of its own.
install_python() {
    export POINTSMAN_PYTHON=${POINTSMAN_PYTHON:-$PWD/.cache/python/bin/python}
    "$POINTSMAN_PYTHON" -c 'import psycopg, asyncpg, pymysql, cryptography' 2>/dev/null && return 0
    if ! python3 -c 'import venv, ensurepip' 2>/dev/null; then
        install_packages python3 python3-venv
    fi
    echo "installing the Python packages psycopg, asyncpg and PyMySQL into .cache/python"
    [ -x .cache/python/bin/pip ] || python3 -m venv .cache/python
    .cache/python/bin/pip install --quiet --disable-pip-version-check \
        'psycopg[binary]==3.2.*' 'asyncpg==0.32.*' 'PyMySQL[rsa]==1.1.*'
    POINTSMAN_PYTHON=$PWD/.cache/python/bin/python
}

# The driver that Node programs use.
install_node() {
    export POINTSMAN_NODE_MODULES=${POINTSMAN_NODE_MODULES:-$PWD/.cache/node/node_modules}
    [ -d "$POINTSMAN_NODE_MODULES/mysql2" ] && return 0
    install_commands npm=npm node=nodejs
    echo "installing the Node package mysql2 into .cache/node"
    mkdir -p .cache/node
    npm install --silent --no-audit --no-fund --prefix .cache/node 'mysql2@3' >/dev/null
    POINTSMAN_NODE_MODULES=$PWD/.cache/node/node_modules
}
