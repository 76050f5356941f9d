"""Runs a file of python/tests with the wheel as it was installed: python_test.py NAME."""

import os
import sys

from support import ROOT, require_model

PYTHON = ROOT / "build/venv-python/bin/python"

if __name__ == "__main__":
    require_model()
    if not PYTHON.exists():
        print(f"skipped: {PYTHON} is not here; make wheel makes it")
        sys.exit(77)
    # Away from python/, so that it is the installed package that is imported.
    os.execv(PYTHON, [str(PYTHON), "-W", "error::ResourceWarning", str(ROOT / "python/tests" / f"{sys.argv[1]}.py")])
