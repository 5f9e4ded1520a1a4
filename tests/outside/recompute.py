#!/usr/bin/env python3
"""Recomputes the root of a log from its published files with nothing but the standard library.

Usage: recompute.py DIR [SIZE]...    prints size and root, base64, if both tree and entries lead to the checkpoint's
                                     root; then the same of every smaller SIZE named

Reads DIR/checkpoint, DIR/tile/entries/... and DIR/tile/0/... as C2SP tlog-tiles describes them, and hashes as
RFC 6962 section 2.1 says. Signatures are not checked here: OpenSSL does that.
"""

import base64
import hashlib
import pathlib
import sys

WIDTH = 256


def leaf_hash(entry):
    return hashlib.sha256(b"\x00" + entry).digest()


def node_hash(left, right):
    return hashlib.sha256(b"\x01" + left + right).digest()


def root_of(hashes):
    if not hashes:
        return hashlib.sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    return node_hash(root_of(hashes[:split]), root_of(hashes[split:]))


def name_of(number):
    """In groups of three digits, all but the last marked with an x."""
    groups = ["%03d" % (number % 1000)]
    while number >= 1000:
        number //= 1000
        groups.insert(0, "x%03d" % (number % 1000))
    return "/".join(groups)


def pieces(directory, size):
    for number in range((size + WIDTH - 1) // WIDTH):
        width = min(WIDTH, size - number * WIDTH)
        full = directory / name_of(number)
        path = full if width == WIDTH else full.with_name(full.name + ".p") / str(width)
        if not path.exists():
            path = full
        yield path.read_bytes(), width


def entries(log, size):
    for data, width in pieces(log / "tile" / "entries", size):
        for _ in range(width):
            length = int.from_bytes(data[:2], "big")
            entry, data = data[2 : 2 + length], data[2 + length :]
            if len(entry) != length:
                sys.exit("an entry is cut short")
            yield entry


def tile_hashes(log, size):
    for data, width in pieces(log / "tile" / "0", size):
        for at in range(width):
            yield data[32 * at : 32 * at + 32]


def main():
    log = pathlib.Path(sys.argv[1])
    origin, size, root = (log / "checkpoint").read_text().split("\n")[:3]
    size, root = int(size), base64.b64decode(root)
    from_entries = [leaf_hash(entry) for entry in entries(log, size)]
    if from_entries != list(tile_hashes(log, size)):
        sys.exit("the tiles are not of the entries")
    if root_of(from_entries) != root:
        sys.exit("the root is not the checkpoint's")
    print(size, base64.b64encode(root).decode())
    for smaller in map(int, sys.argv[2:]):
        if smaller > size:
            sys.exit("the log has %d leaves, not %d" % (size, smaller))
        print(smaller, base64.b64encode(root_of(from_entries[:smaller])).decode())


if __name__ == "__main__":
    main()
