"""Where torch and transformers are installed, the engine has them compute the models that it does not know itself."""

from __future__ import annotations

import importlib.util
from types import ModuleType
from typing import TYPE_CHECKING, Any

from ingot.errors import Unsupported

if TYPE_CHECKING:
    from ingot.torch_engine import Runner

__all__ = ["install"]


def _load(**options: Any) -> Runner:
    missing = [name for name in ("torch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        raise Unsupported(f"the PyTorch engine needs {' and '.join(missing)}: pip install 'ingot-llm[pytorch]'")
    from ingot import torch_engine  # seconds, for those who need it

    return torch_engine.load(**options)


def install(extension: ModuleType) -> None:
    """From now on this extension (ingot._core, ingot._program) loads models with PyTorch, too."""
    extension.set_torch_loader(_load)
