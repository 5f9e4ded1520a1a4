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

# pkilint is optional: tests that use it say loudly when it is not there.
lint=${PKILINT:-target/pkilint}
if [ ! -x "$lint/bin/lint_pkix_cert" ] && python3 -c 'import venv, ensurepip' 2>/dev/null; then
    if ! { python3 -m venv "$lint" && "$lint/bin/pip" install --quiet --disable-pip-version-check pkilint==0.13.3; }; then
        echo "setup: WARNING: pkilint could not be installed; its test will be skipped" >&2
        rm -rf "$lint"
    fi
fi
