#!/bin/sh
# Builds the chip's end for bare metal and says how large it is. Needs the target's core and readelf (binutils).
set -eu
target=thumbv7em-none-eabi
cd "$(dirname "$0")/../sdk/device/firmware"
[ -d "$(rustc --print sysroot)/lib/rustlib/$target" ] || {
  echo "core for $target is missing: rustup target add $target" >&2
  exit 69
}
command -v readelf >/dev/null || { echo "readelf is missing: apt-get install binutils" >&2; exit 69; }
cargo build --release --locked --target "$target"
# Sections of the image by their headers: code and constants lie in flash, the rest in RAM.
readelf -SW "target/$target/release/koseki-firmware-size" | awk '
  { sub(/^ *\[ *[0-9]+\] */, "") }
  $1 ~ /^\.(text|rodata|data|bss)$/ { printf "%-8s %7d bytes\n", $1, hex($5) }
  function hex(s,   i, n) { for (i = 1; i <= length(s); i++) n = n * 16 + index("0123456789abcdef", substr(s, i, 1)) - 1; return n }'
