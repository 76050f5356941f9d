"""Bars on a terminal, where tqdm is installed."""

from __future__ import annotations

import sys
from typing import Any


class ProgressBar:
    """A bar on stderr. It appears with the first update, and nowhere but on a terminal unless it is `required`."""

    def __init__(self, label: str, unit: str = "it", enabled: bool = True, required: bool = False) -> None:
        self._label, self._unit = label, unit
        self._enabled = required or (enabled and sys.stderr.isatty())
        self._required = required
        self._bar: Any = None

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def update(self, done: int, total: int) -> None:
        if not self._enabled or total <= 0:
            return
        if self._bar is None:
            self._bar = self._make(total)
        if self._bar is not None:
            self._bar.update(done - self._bar.n)

    def _make(self, total: int) -> Any:
        try:
            from tqdm import tqdm
        except ImportError:
            if self._required:
                raise
            self._enabled = False
            return None
        return tqdm(total=total, desc=self._label, unit=self._unit, unit_scale=self._unit == "B", leave=self._required)
