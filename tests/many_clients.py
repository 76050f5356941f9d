"""HTTP clients by the thousand: one event loop, plain sockets, one request a connection."""

import asyncio
import contextlib
import json
import re
import resource
import urllib.parse
from collections.abc import AsyncIterator

REQUEST_SECONDS = 600  # generous: a thousand requests share two cores


def allow_descriptors(count: int) -> None:
    """As many sockets at once, here and in the servers started from here."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(count, hard), hard))


class Response:
    """What has come of an answer; `chunks` yields the rest of its body."""

    def __init__(self, reader: asyncio.StreamReader, head: str) -> None:
        lines = head.split("\r\n")
        self.reader = reader
        self.status = int(lines[0].split()[1])
        self.headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines[1:] if line)}

    async def chunks(self) -> AsyncIterator[bytes]:
        if self.headers.get("transfer-encoding") != "chunked":
            yield await self.reader.readexactly(int(self.headers.get("content-length", 0)))
            return
        while size := int(await self.reader.readuntil(b"\r\n"), 16):
            yield (await self.reader.readexactly(size + 2))[:-2]
        await self.reader.readexactly(2)

    async def text(self) -> str:
        return b"".join([chunk async for chunk in self.chunks()]).decode()

    async def events(self) -> AsyncIterator[dict]:
        """Server-sent events. The stream must end with [DONE], or with an error as its last event."""
        held = ""
        done = failed = False
        async for chunk in self.chunks():
            held += chunk.decode()
            *whole, held = held.split("\n\n")
            for event in whole:
                if done or failed:
                    raise AssertionError(f"after the end: {event}")
                done = event == "data: [DONE]"
                if event.startswith("data: ") and not done:
                    chunk = json.loads(event.removeprefix("data: "))
                    failed = "error" in chunk
                    yield chunk
        if not (done or failed) or held:
            raise AssertionError(f"the stream ended without [DONE]: {held!r}")


class Client:
    """Requests to one server. The connection is closed with the block, whatever has been read by then."""

    def __init__(self, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self.host, self.port = parts.hostname, parts.port

    def head(self, method: str, path: str, length: int) -> bytes:
        return (
            f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {length}\r\nConnection: close\r\n\r\n"
        ).encode()

    @contextlib.asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection(self.host, self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @contextlib.asynccontextmanager
    async def send(self, method: str, path: str, body: dict | None = None) -> AsyncIterator[Response]:
        data = b"" if body is None else json.dumps(body).encode()
        async with asyncio.timeout(REQUEST_SECONDS), self.connection() as (reader, writer):
            writer.write(self.head(method, path, len(data)) + data)
            yield Response(reader, (await reader.readuntil(b"\r\n\r\n")).decode())

    async def ask(self, path: str, body: dict) -> dict:
        """A JSON answer, which must be a 200."""
        async with self.send("POST", path, body) as response:
            text = await response.text()
            if response.status != 200:
                raise AssertionError(f"{response.status}: {text}")
            return json.loads(text)

    async def metrics(self) -> dict[str, float]:
        """By name, or name{label} for kv_blocks' states; histograms' buckets are left out."""
        async with self.send("GET", "/metrics") as response:
            text = await response.text()
        found = {}
        for name, labels, value in re.findall(r"^(\w+)(\{[^}]*\})? (\S+)$", text, re.MULTILINE):
            state = re.search(r'state="(\w+)"', labels)
            found[f"{name}.{state.group(1)}" if state else name] = float(value)
        return found
