"""An engine that a server keeps warm for commands of the same user on the same machine.

The server leaves a note in a folder of the cache, and listens at a Unix socket beside it. Nothing is sent unless the
folder, the note and the process at the other end are the user's own. Then each side proves that it knows the token of
the note, without showing it. After that both send frames: four bytes of length, and some messages, pickled.
"""

import asyncio
import hmac
import json
import os
import pickle
import platform
import secrets
import socket
import stat
import struct
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from reasoner.engine import Engine, EngineUnavailable, SampleRequest
from reasoner.engines.remote.calls import HostCalls, RemoteEngine
from reasoner.engines.remote.host import (
    CallOutcome,
    Host,
    HostFacts,
    Plain,
    ToReplica,
    versions,
)
from reasoner.errors import EngineDied
from reasoner.models.cache import cache_home
from reasoner.registry import spec_of
from reasoner.specs import Spec, Value
from reasoner.system.files import parse_json, read_whole
from reasoner.types import Completion, Prompt

ANSWER_SECONDS: Final = 2.0
"""How long a server may take to answer a command that connects; then the command ignores it."""
HELLO_SECONDS: Final = 5.0
"""How long a command may take to prove that it knows the token."""
MAX_CALLS: Final = 1 << 14
"""Calls of one command that run at a time; further ones wait."""
MESSAGES: Final = 16
"""Messages of a frame: a long reply with log-probabilities has megabytes."""
NONCE: Final = 32
"""Bytes of a random number, and of a proof."""


class ServerNote(NamedTuple):
    """What a server on this machine leaves for commands: a name, the engine's settings, and a token."""

    name: str
    settings: dict[str, str]
    token: str


def settings_of(engine: Engine) -> dict[str, str]:
    """What two processes must have in common for one to use the engine of the other: its spec, and versions."""
    spec = Spec.parse(spec_of(engine))
    return {
        "engine": str(
            Spec(
                spec.name,
                {name: _absolute(value) for name, value in spec.options.items()},
            )
        )
    } | versions()


def _absolute(value: Value) -> Value:
    """The value of an option; a path to something that exists does not depend on the current folder."""
    path = os.path.expanduser(value) if isinstance(value, str) else ""  # noqa: PTH111 most values are no paths
    return os.path.abspath(path) if path and os.path.exists(path) else value  # noqa: PTH100, PTH110


def _notes_folder() -> Path:
    return cache_home() / f"servers-{os.getuid()}"


@contextmanager
def _own_folder() -> Iterator[Path]:
    """The folder of notes, opened: by a path that nothing can replace, and short, as a socket's path must be.

    Raises:
        OSError: it cannot be opened, or is not private.
    """
    folder = _notes_folder()
    descriptor = os.open(
        folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    )
    try:
        if not _is_private(os.fstat(descriptor)):
            raise PermissionError(f"{folder} is open to other users")
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)


def _is_private(status: os.stat_result) -> bool:
    """Whether a file is this user's, and only this user can read and write it."""
    return status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077


def _peer(connection: socket.socket) -> int:
    """The process at the other end of a socket.

    Raises:
        PermissionError: it is another user's.
    """
    credentials = connection.getsockopt(
        socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII")
    )
    process, user, _group = struct.unpack("iII", credentials)
    if user != os.getuid():
        raise PermissionError(f"the process at the other end is of user {user}")
    return int(process)


def _proof(token: str, side: Literal["server", "command"], nonces: bytes) -> bytes:
    """What only a side that knows the token can send."""
    return hmac.digest(token.encode(), side.encode() + nonces, "sha256")


def _frames(batch: Sequence[Any]) -> Iterator[bytes]:
    for first in range(0, len(batch), MESSAGES):
        content = pickle.dumps(batch[first : first + MESSAGES], pickle.HIGHEST_PROTOCOL)
        yield len(content).to_bytes(4, "big") + content


def _length(head: bytes) -> int:
    length = int.from_bytes(head, "big")
    # Bytes of a frame
    if length > 1 << 28:
        raise ValueError(f"a frame of {length:,} bytes")
    return length


async def _receive(reader: asyncio.StreamReader) -> list[Any]:
    """The messages of the next frame. Raises EOFError, or what a frame raises that is none."""
    content = await reader.readexactly(_length(await reader.readexactly(4)))
    messages: list[Any] = pickle.loads(content)  # noqa: S301 the other side knows the token
    return messages


@asynccontextmanager
async def offered(engine: Engine) -> AsyncIterator[Path]:
    """Let commands use a started engine while the body runs, which gets the socket; without it, no more connect.

    The requests of a command are cancelled when it leaves.

    Raises:
        OSError: the note or the socket cannot be made.
    """
    _notes_folder().mkdir(mode=0o700, parents=True, exist_ok=True)
    token, open_now = secrets.token_hex(NONCE), set[asyncio.Task[Any]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        # asyncio would report the end of the server as an error of the connection.
        with suppress(asyncio.CancelledError):
            await _serve(engine, token, reader, writer)
        open_now.discard(task)

    async def end_all() -> None:
        for task in open_now:
            task.cancel()
        await asyncio.gather(*open_now, return_exceptions=True)

    async with AsyncExitStack() as stack:
        folder = stack.enter_context(_own_folder())
        _remove_stale(folder)
        file = folder / f"{secrets.token_hex(8)}.json"
        address = _socket_of(file)

        listening = stack.enter_context(socket.socket(socket.AF_UNIX))
        listening.bind(str(address))
        stack.callback(address.unlink, missing_ok=True)
        stack.push_async_callback(end_all)
        stack.callback((await asyncio.start_unix_server(serve, sock=listening)).close)

        file.touch(0o600, exist_ok=False)
        stack.callback(file.unlink, missing_ok=True)
        file.write_text(
            json.dumps(
                {
                    "machine": platform.node(),
                    "settings": settings_of(engine),
                    "token": token,
                }
            )
        )
        yield address


def _socket_of(note: Path) -> Path:
    return note.with_suffix(".socket")


def _remove_stale(folder: Path) -> None:
    """Remove what servers of this machine left that were killed."""
    for file in folder.glob("*.json"):
        address = _socket_of(file)
        with suppress(OSError):
            if _read(file) and not _answers(address):
                address.unlink(missing_ok=True)
                file.unlink()


def _answers(address: Path) -> bool:
    """Whether there is a server at a socket, or something else than a socket."""
    with socket.socket(socket.AF_UNIX) as probe:
        # It does not wait for a server that is busy.
        probe.setblocking(False)
        try:
            probe.connect(str(address))
        except FileNotFoundError:
            return False
        except ConnectionRefusedError:
            return not address.is_socket()
        except BlockingIOError:
            pass
    return True


async def _serve(
    engine: Engine,
    token: str,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    """Run the calls of one command until it leaves or sends something else."""
    news, sent = asyncio.Event(), asyncio.Event()
    host = Host(lambda: engine, news.set)

    async def send() -> None:
        while True:
            await news.wait()
            news.clear()
            for frame in _frames(host.news()):
                writer.write(frame)
                await writer.drain()
            sent.set()

    async def receive() -> None:
        while True:
            for message in await _receive(reader):
                # A command that reads no replies, or has many calls open, begins no more.
                await writer.drain()
                while host.running >= MAX_CALLS:
                    sent.clear()
                    await sent.wait()
                host.take([message])
            # Each task must run once before the next batch may cancel it.
            await asyncio.sleep(0)

    try:
        async with asyncio.timeout(HELLO_SECONDS):
            await _admit(token, reader, writer)
        async with asyncio.TaskGroup() as both:
            both.create_task(send())
            both.create_task(receive())
    except Exception:  # noqa: S110 it ends with the connection
        pass
    finally:
        host.cancel()
        # A peer that does not read would keep open what waits for what was sent.
        writer.transport.abort()


async def _admit(
    token: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    """Prove that this server knows the token, and see that the command does.

    Raises:
        PermissionError: it does not, or is another user's.
        EOFError: it leaves.
    """
    _peer(writer.get_extra_info("socket"))
    nonces = await reader.readexactly(NONCE) + (own := secrets.token_bytes(NONCE))
    writer.write(own + _proof(token, "server", nonces))
    if not hmac.compare_digest(
        await reader.readexactly(NONCE), _proof(token, "command", nonces)
    ):
        raise PermissionError("a command that does not know the token")


class _Opened(NamedTuple):
    """A connection to a server that has answered, and the server's process."""

    socket: socket.socket
    process: int
    facts: HostFacts


def warm(engine: Engine) -> "WarmEngine | None":
    """The same engine, with the same settings, in a server on this machine; None where there is none that answers."""
    if not hasattr(os, "getuid"):
        return (
            None  # Windows has neither users by number nor, in Python, these sockets.
        )
    with suppress(OSError, EngineUnavailable):  # no folder to look into
        with _own_folder() as folder:
            notes = [
                note for file in sorted(folder.glob("*.json")) if (note := _read(file))
            ]
        wanted = settings_of(engine) if notes else {}
        for note in notes:
            if note.settings == wanted and (opened := _open(note)):
                return WarmEngine(engine, note, opened)
    return None


def _read(file: Path) -> ServerNote | None:
    """The note in a file; None if it is damaged, or not of this user and machine."""
    try:
        content = (
            # Bytes of a note
            parse_json(read_whole(file, limit=1 << 16))
            if _is_private(file.lstat())
            else None
        )
    except (OSError, ValueError):
        return None
    match content:
        case {
            "machine": machine,
            "settings": dict(settings),
            "token": str(token),
            **others,
        }:
            if machine == platform.node() and token.isascii() and not others:
                return ServerNote(file.stem, settings, token)
    return None


def _open(note: ServerNote) -> _Opened | None:
    """A connection to the server that left a note; None if it does not answer in time, or another process does."""
    due = time.monotonic() + ANSWER_SECONDS
    connection = socket.socket(socket.AF_UNIX)
    try:
        with _own_folder() as folder:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(str(_socket_of(folder / f"{note.name}.json")))
        process = _peer(connection)
        own = secrets.token_bytes(NONCE)
        connection.sendall(own)
        nonces = own + _take(connection, NONCE, due)
        if not hmac.compare_digest(
            _take(connection, NONCE, due), _proof(note.token, "server", nonces)
        ):
            raise PermissionError("a server that does not know the token")
        start: ToReplica = 0, "start", ()
        connection.sendall(
            _proof(note.token, "command", nonces) + b"".join(_frames([start]))
        )
        reply = _take(connection, _length(_take(connection, 4, due)), due)
        [outcome] = pickle.loads(reply)  # noqa: S301 it is proven
        facts: HostFacts = CallOutcome(*outcome).result()
        return _Opened(connection, process, facts)
    except Exception:
        connection.close()
        return None


def _take(connection: socket.socket, size: int, due: float) -> bytes:
    """The next `size` bytes of a connection.

    Raises:
        OSError: they do not arrive before the time `due`.
        EOFError: it ends.
    """
    taken = bytearray()
    while len(taken) < size:
        if (left := due - time.monotonic()) <= 0:
            raise TimeoutError
        connection.settimeout(left)
        piece = connection.recv(min(size - len(taken), 1 << 16))
        if not piece:
            raise EOFError
        taken += piece
    return bytes(taken)


@dataclass(slots=True)
class WarmEngine(RemoteEngine):
    """An engine that a server runs already; it has the spec of the engine that it `stands_for`."""

    stands_for: Engine
    note: ServerNote
    _opened: _Opened | None = field(repr=False)
    """The connection until the start takes it."""
    process: int = field(default=0, init=False)
    """The number of the server's process."""
    _calls: HostCalls = field(init=False, repr=False, compare=False)
    _due: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether calls wait to be sent together."""
    _writer: asyncio.StreamWriter | None = field(
        default=None, init=False, repr=False, compare=False
    )
    _reading: "asyncio.Task[None] | None" = field(
        default=None, init=False, repr=False, compare=False
    )

    def __post_init__(self) -> None:
        self._calls = HostCalls(self._wake)
        if self._opened:
            self._know(self._opened)

    def _know(self, opened: _Opened) -> None:
        self.process, self._facts = opened.process, (opened.facts,)

    @property
    def name(self) -> str:
        """The engine's own name."""
        return self._facts[0].name if self._facts else self.stands_for.name

    @property
    def lengths(self) -> list[int]:
        """The tokens of each sequence in flight so far."""
        return [*self._calls.lengths.values()]

    @property
    def lost(self) -> EngineDied:
        """The error of calls once the server has ended."""
        end = f"the server that kept the engine (process {self.process}) has ended"
        return EngineDied(
            f"{end}: run the command again, and it starts an engine of its own"
        )

    async def start(self) -> None:
        """Use the connection.

        Raises:
            EngineUnavailable: the server does not answer any more.
        """
        if self._writer is not None:
            return
        opened, self._opened = self._opened or _open(self.note), None
        if opened is None:
            raise EngineUnavailable(str(self.lost))
        self._know(opened)
        reader, self._writer = await asyncio.open_unix_connection(sock=opened.socket)
        self._reading = asyncio.ensure_future(self._read(reader, self._writer))

    async def _read(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take what the server sends, until one of the two ends."""
        try:
            while True:
                self._calls.receive(await _receive(reader))
        except Exception:  # noqa: S110 whatever it is, the connection has ended
            pass
        finally:
            writer.close()
            self._calls.lose(self.lost)

    def _wake(self) -> None:
        if not self._due:
            self._due = True
            asyncio.get_running_loop().call_soon(self._send)

    def _send(self) -> None:
        self._due = False
        if self._writer is None or self._writer.is_closing():
            self._calls.lose(self.lost)
        else:
            for frame in _frames(self._calls.take()):
                self._writer.write(frame)

    async def _call(self, prompt: Prompt, method: str, *arguments: Any) -> Any:
        await self.start()
        return (await self._calls.send(method, *arguments)).result()

    async def sample(self, request: SampleRequest) -> Completion:
        """Draw one sequence in the server."""
        await self.start()
        values: Plain = (await self._calls.send("sample", request=request)).result()
        return Completion(request.prompt, *values)

    async def reset_caches(self) -> None:
        """Empty the prefix cache of the server's engine; before `start` it does nothing."""
        if self._writer is not None:
            (await self._calls.send("reset_caches")).result()

    async def close(self) -> None:
        """End the connection; the server cancels what is in flight, and keeps its engine."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.socket.close()
        reading, self._reading, self._writer = self._reading, None, None
        if reading is not None:
            reading.cancel()
            await asyncio.wait([reading])
