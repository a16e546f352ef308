"""An engine that a server keeps warm for commands of the same user on the same machine.

The server leaves a note in the cache folder. A command connects to the Unix socket that the note names, and sends the
token of the note. Then both sides send frames: four bytes of length, and a pickled batch of messages. Nothing is
unpickled that has not come from a process of the user: a note and its folder are read only if they are private, and so
is the folder of the socket.
"""

import asyncio
import json
import os
import pickle
import platform
import secrets
import socket
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from reasoner.engine import Engine, SampleRequest
from reasoner.engines.remote.calls import Calls
from reasoner.engines.remote.engine import RemoteEngine
from reasoner.engines.remote.host import Facts, Host, Outcome, Plain, ToReplica, versions
from reasoner.errors import EngineDied, EngineUnavailable
from reasoner.models.cache import cache_home
from reasoner.registry import spec_of
from reasoner.specs import Spec, Value
from reasoner.system.files import parse_json, read_whole
from reasoner.types import Completion, Prompt

ANSWER_SECONDS: Final = 2.0
"""How long a server may take to answer a command that connects; then the command ignores it."""
HELLO_SECONDS: Final = 5.0
"""How long a command may take to send the token."""
MAX_FRAME: Final = 1 << 28
"""Bytes of a frame."""
MAX_NOTE: Final = 1 << 16
"""Bytes of a note."""
MAX_ADDRESS: Final = 100
"""Bytes that the path of a socket may have on every system."""


class Note(NamedTuple):
    """What a server leaves for commands: its process and machine, the engine's settings, its socket and a token."""

    pid: int
    machine: str
    settings: dict[str, str]
    address: str
    token: str


def settings_of(engine: Engine) -> dict[str, str]:
    """What two processes must have in common for one to use the engine of the other: its spec, and versions."""
    spec = Spec.parse(spec_of(engine))
    return {
        "engine": str(Spec(spec.name, {name: _absolute(value) for name, value in spec.options.items()}))
    } | versions()


def _absolute(value: Value) -> Value:
    """The value of an option; a path to something that exists does not depend on the current folder."""
    path = os.path.expanduser(value) if isinstance(value, str) else ""  # noqa: PTH111 most values are no paths
    return os.path.abspath(path) if path and os.path.exists(path) else value  # noqa: PTH100, PTH110


def _notes_folder() -> Path:
    return cache_home() / f"servers-{os.getuid()}"


def _is_private(path: Path) -> bool:
    """Whether only this user can read and write it."""
    status = path.lstat()
    return status.st_uid == os.getuid() and not stat.S_IMODE(status.st_mode) & 0o077


def _framed(batch: list[Any]) -> bytes:
    content = pickle.dumps(batch, pickle.HIGHEST_PROTOCOL)
    return len(content).to_bytes(4, "big") + content


def _length(head: bytes) -> int:
    length = int.from_bytes(head, "big")
    if length > MAX_FRAME:
        raise ValueError(f"a frame of {length:,} bytes")
    return length


async def _receive(reader: asyncio.StreamReader) -> list[Any]:
    """The next batch. Raises EOFError, or what a frame raises that is none."""
    content = await reader.readexactly(_length(await reader.readexactly(4)))
    batch: list[Any] = pickle.loads(content)  # noqa: S301 it comes from a process of this user
    return batch


@asynccontextmanager
async def offered(engine: Engine) -> AsyncIterator[Path]:
    """Let commands use a started engine while the body runs, which gets the note; without the note, no more connect.

    The requests of a command are cancelled when it leaves.

    Raises:
        OSError: the note or the socket cannot be made.
    """
    folder = _notes_folder()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(folder):
        raise PermissionError(f"{folder} is open to other users")
    _remove_stale(folder)
    short = folder if len(os.fsencode(folder)) <= MAX_ADDRESS - len("/socket-12345678/s") else Path("/tmp")  # noqa: S108
    token, open_now = secrets.token_hex(32), set[asyncio.Task[Any]]()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        open_now.add(task)
        try:
            await _serve(engine, token, reader, writer)
        finally:
            open_now.discard(task)

    with TemporaryDirectory(prefix="socket-", dir=short, ignore_cleanup_errors=True) as private:
        address = f"{private}/s"
        note = Note(os.getpid(), platform.node(), settings_of(engine), address, token)
        listening = await asyncio.start_unix_server(serve, address)
        file = folder / f"{secrets.token_hex(8)}.json"
        try:
            descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            os.write(descriptor, json.dumps(note._asdict()).encode())
            os.close(descriptor)
            yield file
        finally:
            file.unlink(missing_ok=True)
            listening.close()
            for task in open_now:
                task.cancel()
            await asyncio.gather(*open_now, return_exceptions=True)


def _remove_stale(folder: Path) -> None:
    """Remove what servers left that were killed."""
    for file in folder.glob("*.json"):
        if note := _read(file):
            address = Path(note.address)
            with suppress(OSError, TypeError):
                try:
                    os.kill(note.pid, 0)
                except ProcessLookupError:
                    file.unlink()
                    address.unlink()
                    address.parent.rmdir()


async def _serve(engine: Engine, token: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Run the calls of one command until it leaves or sends something else."""
    loop, due = asyncio.get_running_loop(), False

    def tell() -> None:
        nonlocal due
        if not due:
            due = True
            loop.call_soon(send)

    def send() -> None:
        nonlocal due
        due = False
        if (news := host.news()) and not writer.is_closing():
            writer.write(_framed(news))

    host = Host(lambda: engine, tell)
    try:
        given = await asyncio.wait_for(reader.readexactly(len(token)), HELLO_SECONDS)
        while secrets.compare_digest(given, token.encode()):
            host.take(await _receive(reader))
            # Each task must run once before the next batch may cancel it.
            await asyncio.sleep(0)
    except Exception:  # noqa: S110 it ends with the connection
        pass
    finally:
        host.cancel()
        writer.close()


class _Opened(NamedTuple):
    """A connection to a server that has answered."""

    socket: socket.socket
    facts: Facts


def warm(engine: Engine) -> "WarmEngine | None":
    """The same engine, with the same settings, in a server on this machine; None where there is none that answers."""
    if not hasattr(os, "getuid"):
        return None  # Windows has neither users by number nor, in Python, these sockets.
    with suppress(OSError, EngineUnavailable):  # no folder to look into
        folder = _notes_folder()
        notes = [note for file in sorted(folder.glob("*.json")) if (note := _read(file))] if _is_private(folder) else []
        wanted = settings_of(engine) if notes else {}
        for note in notes:
            if note.settings == wanted and (opened := _open(note)):
                return WarmEngine(engine, note, opened)
    return None


def _read(file: Path) -> Note | None:
    """The note in a file; None if it is not of this user and machine, or no note."""
    try:
        note = Note(**parse_json(read_whole(file, limit=MAX_NOTE))) if _is_private(file) else None
    except (OSError, ValueError, TypeError):
        return None
    return note if note and note.machine == platform.node() else None


def _open(note: Note) -> _Opened | None:
    """A connection to the server of a note; None if it does not answer."""
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(ANSWER_SECONDS)
        connection.connect(note.address)
        start: ToReplica = 0, "start", ()
        connection.sendall(note.token.encode() + _framed([start]))
        with connection.makefile("rb") as answer:
            [outcome] = pickle.loads(answer.read(_length(answer.read(4))))  # noqa: S301 by the note's token
        facts: Facts = Outcome(*outcome).result()
        return _Opened(connection, facts)
    except Exception:
        connection.close()
        return None


@dataclass(slots=True)
class WarmEngine(RemoteEngine):
    """An engine that a server runs already; it has the spec of the engine that it `stands_for`."""

    stands_for: Engine
    note: Note
    _opened: _Opened | None = field(repr=False)
    """The connection until the start takes it."""
    _calls: Calls = field(init=False, repr=False, compare=False)
    _due: bool = field(default=False, init=False, repr=False, compare=False)
    """Whether calls wait to be sent together."""
    _writer: asyncio.StreamWriter | None = field(default=None, init=False, repr=False, compare=False)
    _reading: "asyncio.Task[None] | None" = field(default=None, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        self._calls = Calls(self._wake)
        self._facts = (self._opened.facts,) if self._opened else ()

    @property
    def name(self) -> str:
        """The engine's own name."""
        return self._facts[0].name if self._facts else self.stands_for.name

    @property
    def lost(self) -> EngineDied:
        """The error of calls once the server has ended."""
        end = f"the server that kept the engine (process {self.note.pid}) has ended"
        return EngineDied(f"{end}: run the command again, and it starts an engine of its own")

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
        self._facts = (opened.facts,)
        reader, self._writer = await asyncio.open_unix_connection(sock=opened.socket)
        self._reading = asyncio.ensure_future(self._read(reader, self._writer))

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
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
        elif batch := self._calls.take():
            self._writer.write(_framed(batch))

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
