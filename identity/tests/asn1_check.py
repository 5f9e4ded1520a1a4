#!/usr/bin/env python3
"""Decodes every golden with docs/asn1/koseki.asn1 and a compiler that shares no code with this project, encodes the
result again, and compares. A golden's type is its file name up to the first dot.

Usage: asn1_check.py [DIRECTORY]   DIRECTORY keeps a virtual environment with asn1tools if it is not installed.
Exit:  0 all fit, 1 one does not, 77 asn1tools is neither installed nor installable (skipped).
"""

import pathlib
import subprocess
import sys

ASN1TOOLS = "asn1tools==0.169.0"
SKIPPED = 77
ROOM = pathlib.Path(__file__).resolve().parent.parent
MODULE = ROOM.parent / "docs" / "asn1" / "koseki.asn1"
GOLDENS = ROOM / "tests" / "golden"


def main() -> int:
    try:
        import asn1tools
    except ImportError:
        return again_in_environment()
    types = asn1tools.compile_files([str(MODULE)], "der")
    goldens = sorted(path for path in GOLDENS.glob("*.der") if not path.name.startswith("idevid"))
    wrong = [path.name for path in goldens if not fits(types, path)]
    for name in wrong:
        print(f"{name} does not fit the module", file=sys.stderr)
    print(f"{len(goldens) - len(wrong)} of {len(goldens)} goldens fit {MODULE.name}")
    return 1 if wrong or not goldens else 0


def fits(types, path: pathlib.Path) -> bool:
    kind, content = path.name.split(".")[0], path.read_bytes()
    try:
        value = types.decode(kind, content, check_constraints=True)
        return types.encode(kind, value, check_constraints=True) == content and nested_fits(types, kind, value)
    except Exception as error:
        print(f"{path.name}: {error}", file=sys.stderr)
        return False


def nested_fits(types, kind: str, value) -> bool:
    """A receipt's extra carries three of the other types as octets."""
    if kind != "ReceiptExtra":
        return True
    nested = [("Leaf", leaf) for leaf in value["history"]]
    nested += [("Openings", value["openings"]), ("Evidence", value["evidence"])]
    return all(types.encode(inner, types.decode(inner, content)) == content for inner, content in nested)


def again_in_environment() -> int:
    """Runs this script again where asn1tools can be imported."""
    if len(sys.argv) < 2:
        return skip("asn1tools is not installed and no directory was named to install it in")
    python = pathlib.Path(sys.argv[1]) / "bin" / "python"
    try:
        if not python.exists():
            run([sys.executable, "-m", "venv", sys.argv[1]])
        if subprocess.run([python, "-c", "import asn1tools"], capture_output=True).returncode:
            run([python, "-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "15", ASN1TOOLS])
    except (OSError, subprocess.SubprocessError) as error:
        return skip(f"asn1tools cannot be installed: {error}")
    return subprocess.run([python, __file__]).returncode


def run(command) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=180)


def skip(reason: str) -> int:
    print(f"SKIPPED, nothing was compared: {reason}", file=sys.stderr)
    return SKIPPED


if __name__ == "__main__":
    sys.exit(main())
