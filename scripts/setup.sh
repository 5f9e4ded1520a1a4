#!/usr/bin/env bash
# Installs what the tests need besides Rust: a second PKCS#11 module and programs that check our output without our
# code. Does nothing, quickly, when everything is there.
set -euo pipefail

# program or file : Debian package that brings it
needs=(
    "softhsm2-util:softhsm2"
    "pkcs11-tool:opensc"
    "certtool:gnutls-bin"
    "openssl:openssl"
    "/usr/include/mbedtls/x509_crt.h:libmbedtls-dev"
    "strace:strace"
    "gcc:gcc"
    "python3:python3"
)

is_there() {
    case "$1" in
    /*) [ -e "$1" ] ;;
    *) command -v "$1" >/dev/null ;;
    esac
}

missing=()
for need in "${needs[@]}"; do
    is_there "${need%%:*}" || missing+=("${need##*:}")
done
if [ "${#missing[@]}" -gt 0 ]; then
    if ! command -v apt-get >/dev/null || [ "$(id -u)" -ne 0 ]; then
        echo "setup: missing packages: ${missing[*]}" >&2
        echo "setup: as root, run: apt-get install --no-install-recommends ${missing[*]}" >&2
        exit 1
    fi
    echo "setup: installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}"
fi

# Checkers from PyPI, in an environment of their own. Where PyPI is out of reach their tests say loudly that they did not
# run.
checkers=target/checkers
wheels="pkilint==0.13.3 python-pkcs11==0.9.3 buf-bin==1.75.0"
if [ "$(cat "$checkers/whole" 2>/dev/null)" != "$wheels" ]; then
    python3 -c 'import ensurepip' 2>/dev/null || apt-get install -y -qq --no-install-recommends python3-venv ||
        echo "setup: WARNING: python3-venv is missing" >&2
    # shellcheck disable=SC2086
    if python3 -m venv "$checkers" && "$checkers/bin/pip" install --quiet --disable-pip-version-check $wheels; then
        echo "$wheels" >"$checkers/whole"
    else
        echo "setup: WARNING: pkilint, python-pkcs11 and buf could not be installed; their tests will be skipped" >&2
        rm -rf "$checkers"
    fi
fi

# Prometheus' own checker of rules, out of Debian's package and without the server that the package would start.
if [ -d "$checkers" ] && [ ! -x "$checkers/bin/promtool" ] && ! command -v promtool >/dev/null; then
    unpacked=$(mktemp -d)
    if (cd "$unpacked" && apt-get download -qq prometheus && dpkg-deb -x prometheus_*.deb .) 2>/dev/null; then
        mv "$unpacked/usr/bin/promtool" "$checkers/bin/promtool"
    else
        echo "setup: WARNING: promtool could not be fetched; alerts will only be read" >&2
    fi
    rm -rf "$unpacked"
fi
