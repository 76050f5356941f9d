"""A demo page: conversations with a server's sessions, in Gradio.

    python -m ingot.gradio_app MODEL|http://SERVER [--server-name ADDRESS] [--server-port 6006] [--api-key KEY] [FLAGS…]

`ingot serve gradio` runs it. FLAGS are those of `ingot serve api_server`, for a MODEL, which is then served on a port of
this machine. Every open page is a user, with a session of its own on the server.
"""

from __future__ import annotations

import argparse
import contextlib
import random
import socket
import sys
from typing import Any, Iterator

import gradio

from ingot.clients import APIClient
from ingot.errors import IngotError
from ingot.serving import serve_with_flags

MAX_NEW_TOKENS, MAX_TEMPERATURE = 2048, 2.0
History = list[dict[str, Any]]


class User:
    """An open page: its session on the server, which begins with the first turn."""

    def __init__(self) -> None:
        self.session_id = random.randrange(1, 10**9)  # the server's own begin there

    def __deepcopy__(self, _: object) -> User:
        return User()  # Gradio copies a state for every page


class Demo:
    """The page's functions over a server."""

    def __init__(self, server: APIClient, model: str) -> None:
        self.server = server
        self.model = model

    def ask(self, prompt: str, history: History, user: User, *settings: float) -> Iterator[tuple[History, Any]]:
        """The conversation as the answer grows, and what is left of the prompt in its box: nothing."""
        if not prompt.strip():
            return
        history = [*history, {"role": "user", "content": prompt}, {"role": "assistant", "content": ""}]
        yield history, ""
        max_new_tokens, top_p, temperature = settings
        fields = {"request_output_len": int(max_new_tokens), "top_p": top_p, "temperature": temperature}
        try:
            for piece in self.server.chat_interactive_v1(prompt, user.session_id, interactive_mode=True, stream=True, **fields):
                history[-1]["content"] += piece["text"]
                yield history, gradio.skip()
        except IngotError as error:
            raise gradio.Error(str(error)) from None

    def cancel(self, user: User) -> None:
        """Stops the answer. The session keeps what has come of it."""
        for _ in self.server.chat_interactive_v1("", user.session_id, interactive_mode=True, cancel=True):
            pass

    def reset(self, user: User) -> tuple[History, User]:
        """Forgets the conversation."""
        self.forget(user)
        return [], User()

    def forget(self, user: User) -> None:
        with contextlib.suppress(IngotError):  # it has none yet, or the server has ended
            self.cancel(user)
            for _ in self.server.chat_interactive_v1("", user.session_id, request_output_len=0):
                pass

    def page(self) -> gradio.Blocks:
        with gradio.Blocks(title=f"Ingot: {self.model}", analytics_enabled=False) as page:
            user = gradio.State(User(), time_to_live=86400, delete_callback=self.forget)
            chatbot = gradio.Chatbot(label=self.model, elem_id="conversation", height=480, buttons=["copy"])
            prompt = gradio.Textbox(placeholder="Type a message, and press Enter", label="Message", elem_id="prompt")
            with gradio.Row():
                cancel = gradio.Button("Cancel", elem_id="cancel")
                reset = gradio.Button("Reset", elem_id="reset")
            with gradio.Row():
                length = gradio.Slider(1, MAX_NEW_TOKENS, value=512, step=1, label="Maximum new tokens", elem_id="length")
                top_p = gradio.Slider(0.01, 1, value=0.8, step=0.01, label="Top_p", elem_id="top_p")
                temperature = gradio.Slider(0, MAX_TEMPERATURE, value=0.7, step=0.01, label="Temperature", elem_id="temperature")
            inputs = [prompt, chatbot, user, length, top_p, temperature]
            answer = prompt.submit(self.ask, inputs, [chatbot, prompt], api_name="ask", concurrency_limit=None, show_progress="hidden")
            cancel.click(self.cancel, user, api_name="cancel", concurrency_limit=None)
            gradio.on([reset.click, chatbot.clear], self.reset, user, [chatbot, user], api_name="reset", concurrency_limit=None, cancels=[answer])
        return page


def _words() -> tuple[str, argparse.Namespace, list[str]]:
    parser = argparse.ArgumentParser(prog="ingot serve gradio", allow_abbrev=False)
    parser.add_argument("--server-name", default="127.0.0.1")
    parser.add_argument("--server-port", type=int, default=6006)
    parser.add_argument("--api-key")
    model, *rest = sys.argv[1:]  # what follows the model are flags, and their values
    return model, *parser.parse_known_args([_with_dashes(word) for word in rest])


def _free_port(address: str) -> int:
    with socket.create_server((address, 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def _with_dashes(word: str) -> str:
    """A flag's name as ours are written: `_` and `-` are the same."""
    name, equals, value = word.partition("=")
    return name.replace("_", "-") + equals + value if word.startswith("--") else word


def main() -> None:
    model, arguments, flags = _words()
    with contextlib.ExitStack() as stack:
        if model.startswith(("http://", "https://")):
            server = APIClient(model, arguments.api_key)
        else:
            words = [*flags, "--server-name", "127.0.0.1", "--server-port", "0"]
            server = stack.enter_context(serve_with_flags(model, words, verbose=True))
        name = server.available_models[0]
        page = Demo(server, name).page()
        page.queue(default_concurrency_limit=None)
        _, url, _ = page.launch(
            server_name=arguments.server_name,
            server_port=arguments.server_port or _free_port(arguments.server_name),
            prevent_thread_lock=True,
            quiet=True,
            ssr_mode=False,
            # Nothing is loaded from elsewhere.
            theme=gradio.themes.Default(font=["system-ui", "sans-serif"], font_mono=["monospace"]),
        )
        print(f"Ingot's demo of {name} is on {url}", file=sys.stderr, flush=True)
        with contextlib.suppress(KeyboardInterrupt):
            page.block_thread()


if __name__ == "__main__":
    try:
        main()
    except IngotError as error:
        sys.exit(f"ingot: {error}")
