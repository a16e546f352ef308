"""A server in the test's own event loop that replies to sampling requests with the bytes that a test writes."""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

Serve = Callable[
    [dict[str, Any], asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]
]
Tokenize = Callable[[dict[str, Any]], Awaitable[bytes]]
STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


def whole(content: object, status: str = "200 OK", headers: str = "") -> bytes:
    """A whole reply: JSON, or bytes as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return (
        f"HTTP/1.1 {status}\r\n{headers}Content-Length: {len(body)}\r\n\r\n".encode()
        + body
    )


@asynccontextmanager
async def raw_server(
    serve: Serve, tokenize: Tokenize | None = None
) -> AsyncGenerator[str, None]:
    """Its address; `serve` gets the body of each sampling request and both ends of the connection."""

    async def connected(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        with suppress(
            ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError
        ):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lengths = [
                    line
                    for line in head.splitlines()
                    if line.lower().startswith("content-length:")
                ]
                body = (
                    await reader.readexactly(int(lengths[0].split(":")[1]))
                    if lengths
                    else b"{}"
                )
                if "/completions" in head.splitlines()[0]:
                    await serve(json.loads(body), reader, writer)
                elif "/models" in head.splitlines()[0]:
                    writer.write(whole({"data": [{"id": "tiny"}]}))
                elif tokenize:
                    writer.write(await tokenize(json.loads(body)))
                else:
                    writer.write(whole({}, "404 Not Found"))
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
