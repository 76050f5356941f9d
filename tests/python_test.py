"""Runs a file of python/tests with the wheel as it was installed: python_test.py NAME."""

import os
import sys

from support import ROOT, require_model

ENVIRONMENTS = {"gradio_test": ("venv-gradio", "make test"), "torch_test": ("venv-torch", "make test TORCH=1"),
                "": ("venv-python", "make wheel")}

if __name__ == "__main__":
    require_model()
    folder, target = ENVIRONMENTS.get(sys.argv[1], ENVIRONMENTS[""])
    python = ROOT / "build" / folder / "bin/python"
    if not python.exists():
        print(f"skipped: {python} is not here; {target} makes it")
        sys.exit(77)
    # Away from python/, so that it is the installed package that is imported.
    os.execv(python, [str(python), "-W", "error::ResourceWarning", str(ROOT / "python/tests" / f"{sys.argv[1]}.py"), *sys.argv[2:]])
