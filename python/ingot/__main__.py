"""The command `ingot`: becomes the program that this package carries."""

import os
import pathlib
import sys


def main() -> None:
    program = str(pathlib.Path(__file__).parent / "bin/ingot")
    os.environ.setdefault("INGOT_PYTHON", sys.executable)
    os.execv(program, ["ingot", *sys.argv[1:]])


if __name__ == "__main__":
    main()
