"""Text and token ids."""

from __future__ import annotations

import os

from ingot import _core
from ingot.models import find_model

__all__ = ["Tokenizer"]


class Tokenizer:
    """A model's tokenizer, read without its weights: Tokenizer("smollm2").

    model: as for pipeline(). tokenizer_pre: how text is split before a GGUF vocabulary, where the file does not say it.
    Raises NotFound, InvalidFile or Unsupported. All methods may be called from any thread at once.
    """

    def __init__(self, model: str | os.PathLike[str] | _core.Tokenizer, tokenizer_pre: str = "") -> None:
        if isinstance(model, _core.Tokenizer):
            self._core = model
        else:
            self._core = _core.Tokenizer.open(find_model(os.fspath(model)), tokenizer_pre)

    def encode(self, text: str, add_special_tokens: bool = True, parse_special: bool = True) -> list[int]:
        """The ids of a text.

        add_special_tokens: what the tokenizer puts around a text (BOS, EOS).
        parse_special: read "<|im_end|>" as the token; False: as ordinary text, as a user's prompt is read.
        """
        return self._core.encode(text, add_special_tokens, parse_special)

    def decode(self, ids: list[int], skip_special_tokens: bool = True) -> str:
        """The text of ids. Raises InvalidArgument for ids outside the vocabulary."""
        return self._core.decode(ids, skip_special_tokens)

    def token_to_id(self, token: str) -> int | None:
        """The id of a token as the vocabulary spells it; None where there is none."""
        found = self._core.token_to_id(token)
        return None if found < 0 else found

    def id_to_token(self, id: int) -> str:
        """The vocabulary's spelling of a token."""
        return self._core.id_to_token(id)

    @property
    def vocab_size(self) -> int:
        """Ids are in [0, vocab_size)."""
        return self._core.vocab_size

    @property
    def bos_token_id(self) -> int | None:
        """The token that begins a text; None where there is none."""
        return None if self._core.bos_id < 0 else self._core.bos_id

    @property
    def eos_token_ids(self) -> list[int]:
        """All tokens that end an answer."""
        return self._core.eos_ids

    def __len__(self) -> int:
        return self.vocab_size
