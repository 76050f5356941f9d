#!/usr/bin/env python3
"""Fails when an object compiled for an instruction set defines code that the linker may share: check_isa_symbols.py BUILD.

Inline functions and templates become weak symbols, of which the linker keeps any one copy. A copy compiled with AVX-512
must not be the one that the baseline calls, so such objects may define weak symbols only in the namespace of their
instruction set: ingot::kernels::<isa>.
"""

import pathlib
import re
import subprocess
import sys

OBJECT_FOLDER = re.compile(r"ingot_kernels_(\w+)\.dir$")
WEAK = set("VvWwu")  # weak objects and functions, unique globals


def foreign_symbols(listing: str, isa: str) -> list[str]:
    """Weak definitions outside of the namespace, from the output of `nm -C --defined-only`."""
    own = re.compile(rf"ingot::kernels::{isa}::")
    found = []
    for line in listing.splitlines():
        match = re.match(r"[0-9a-fA-F]+ (\S) (.*)", line)
        # The name itself must be in the namespace, not only one of its arguments: cut what follows the first bracket.
        if match and match.group(2).startswith("DW.ref."):
            continue  # a pointer to the exception personality, the same in every object
        if match and match.group(1) in WEAK and not own.search(re.split(r"[(<]", match.group(2))[0]):
            found.append(match.group(2))
    return found


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    objects = [
        (match.group(1), path)
        for folder in pathlib.Path(sys.argv[1]).rglob("ingot_kernels_*.dir")
        if (match := OBJECT_FOLDER.search(folder.name))
        for path in sorted(folder.rglob("*.o"))
    ]
    if not objects:
        sys.exit(f"check_isa_symbols: no ingot_kernels_<isa> objects below {sys.argv[1]}")
    failed = False
    for isa, path in objects:
        nm = subprocess.run(["nm", "-C", "--defined-only", path], check=True, capture_output=True, text=True)
        for symbol in foreign_symbols(nm.stdout, isa):
            failed = True
            print(f"{path.name} ({isa}): weak symbol outside of ingot::kernels::{isa}: {symbol}")
    if not failed:
        print(f"check_isa_symbols: {len(objects)} objects, no code that the baseline could pick up")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
