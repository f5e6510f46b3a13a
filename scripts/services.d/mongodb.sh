# A server of MongoDB's protocol with change streams, from PyPI (SecantusDB), in an environment of its own.
# shellcheck shell=bash

SECANTUS_VERSION=0.7.0b3

mongodb_variable() { echo MONGODB_URL; }

# HEADGATE_MONGODB_OPTIONS: more options of the server, for tests that start one of their own.
mongodb_start() {
    local name=$1 dir="$STATE/$1"
    mkdir -p "$dir/data"
    cached "$CACHE/secantusdb-$SECANTUS_VERSION" mongodb_install
    ports "$name" 1 >/dev/null
    # shellcheck disable=SC2086 # several options
    spawn "$name" "$CACHE/secantusdb-$SECANTUS_VERSION/run" --port "$(port "$name" 1)" --storage-path "$dir/data" \
        --enable-test-commands --sync-on-commit ${HEADGATE_MONGODB_OPTIONS:-}
    await "$name" 60 listening "$(port "$name" 1)"
}

mongodb_stop() { terminate "$1" TERM; }

mongodb_env() { echo "export MONGODB_URL=mongodb://127.0.0.1:$(port "$1" 1)/"; }

# An environment does not survive being moved, so it is built in its final place beside the cache entry, which holds a link.
mongodb_install() {
    local dir=$1 environment="$CACHE/secantusdb-$SECANTUS_VERSION.venv"
    rm -rf "$environment"
    if ! python3 -m venv "$environment" >/dev/null 2>&1; then
        apt_install python3-venv
        rm -rf "$environment"
        python3 -m venv "$environment" >&2
    fi
    say "fetching SecantusDB $SECANTUS_VERSION"
    "$environment/bin/pip" install -q --disable-pip-version-check "SecantusDB==$SECANTUS_VERSION" >&2 8>&- 9>&- ||
        die "pip could not install SecantusDB $SECANTUS_VERSION; see above"
    ln -s "$environment/bin/secantusd-py" "$dir/run"
}
