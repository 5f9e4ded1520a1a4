#!/bin/sh
# Runs fuzz targets one after another, each for so many seconds, at low priority. What libFuzzer finds on the way stays
# in tests/fuzz/found; the seeds in tests/fuzz/corpus are never written to. A crash stops the run and names its input.
#   scripts/fuzz.sh SECONDS [TARGET...]
set -eu
seconds=$1
shift
cd "$(dirname "$0")/.."
cargo fuzz --version >/dev/null 2>&1 || {
  echo "cargo-fuzz is missing: cargo install cargo-fuzz" >&2
  exit 69
}
# Coverage and sanitizers need flags that only nightly takes; a stable compiler takes them if it is told to.
if cargo +nightly --version >/dev/null 2>&1; then
  toolchain=+nightly
else
  echo "no nightly toolchain (rustup toolchain install nightly): using the stable one with RUSTC_BOOTSTRAP=1" >&2
  toolchain=
  export RUSTC_BOOTSTRAP=1
fi
[ $# -gt 0 ] || set -- $(cargo $toolchain fuzz list --fuzz-dir tests/fuzz)
cargo $toolchain fuzz build --fuzz-dir tests/fuzz
for target in "$@"; do
  mkdir -p "tests/fuzz/found/$target"
  echo "fuzz $target: $seconds s"
  nice -n 19 cargo $toolchain fuzz run --fuzz-dir tests/fuzz "$target" \
    "tests/fuzz/found/$target" "tests/fuzz/corpus/$target" -- \
    -max_total_time="$seconds" -jobs=0 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1 -verbosity=0
done
