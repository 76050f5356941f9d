"""A client of a server: LMDeploy's APIClient, without dependencies."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any, Iterator

from ingot.errors import ProgramError, SystemFailure

__all__ = ["APIClient", "client"]


def client(api_server_url: str, api_key: str | None = None) -> APIClient:
    """A client of the server at a URL: client("http://127.0.0.1:23333")."""
    return APIClient(api_server_url, api_key)


class APIClient:
    """Calls a server's routes. Bodies and answers are those of docs/server.md.

    Raises ProgramError with the server's message where it refuses a request, and SystemFailure where it is not reached.
    """

    def __init__(self, api_server_url: str, api_key: str | None = None, timeout: float = 600) -> None:
        self.url = api_server_url.rstrip("/")
        self.api_key = api_key
        self.timeout = timeout

    @property
    def available_models(self) -> list[str]:
        """The names of the models that it serves."""
        return [model["id"] for model in self._json("/v1/models")["data"]]

    def encode(self, input: str | list[str], do_preprocess: bool = False, add_bos: bool = True) -> tuple[Any, Any]:
        """The token ids of a text, and how many there are; lists of them for a list of texts."""
        answer = self._json("/v1/encode", {"input": input, "do_preprocess": do_preprocess, "add_bos": add_bos})
        return answer["input_ids"], answer["length"]

    def chat_completions_v1(self, model: str, messages: str | list[dict[str, Any]], **fields: Any) -> Iterator[dict[str, Any]]:
        """The answer; with stream=True its chunks."""
        yield from self._answers("/v1/chat/completions", {"model": model, "messages": messages, **fields})

    def completions_v1(self, model: str, prompt: str | list[Any], **fields: Any) -> Iterator[dict[str, Any]]:
        """The same for /v1/completions."""
        yield from self._answers("/v1/completions", {"model": model, "prompt": prompt, **fields})

    def chat_interactive_v1(self, prompt: str | list[dict[str, Any]], session_id: int = -1, interactive_mode: bool = False, **fields: Any) -> Iterator[dict[str, Any]]:
        """A turn of a session that the server keeps."""
        body = {"prompt": prompt, "session_id": session_id, "interactive_mode": interactive_mode, **fields}
        yield from self._answers("/v1/chat/interactive", body)

    def _request(self, path: str, body: dict[str, Any] | None) -> Any:
        request = urllib.request.Request(self.url + path, None if body is None else json.dumps(body).encode())
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self.api_key:
            request.add_header("Authorization", f"Bearer {self.api_key}")
        try:
            return urllib.request.urlopen(request, timeout=self.timeout)
        except urllib.error.HTTPError as error:
            raise _refusal(error.read().decode(errors="replace"), str(error.code)) from None
        except OSError as error:
            raise SystemFailure(f"{self.url}: {getattr(error, 'reason', error)}") from None

    def _json(self, path: str, body: dict[str, Any] | None = None) -> Any:
        with self._request(path, body) as answer:
            return json.load(answer)

    def _answers(self, path: str, body: dict[str, Any]) -> Iterator[dict[str, Any]]:
        with self._request(path, body) as answer:
            if not body.get("stream"):
                yield json.load(answer)
                return
            for line in answer:
                text = line.decode().removeprefix("data: ").strip()
                if text.startswith("{"):  # neither a ping nor the end
                    piece = json.loads(text)
                    if "error" in piece:
                        raise _refusal(text, "error")
                    yield piece


def _refusal(text: str, status: str) -> ProgramError:
    """An error's body as an exception."""
    try:
        error = json.loads(text)["error"]
        return ProgramError(error["message"], str(error.get("code") or status), error.get("param") or "")
    except (ValueError, KeyError, TypeError):
        return ProgramError(text.strip()[:500] or f"status {status}", status)
