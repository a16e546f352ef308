"""How far a reader walks to follow one request, and what a further sample costs in calls.

    python bench/walk.py [WALK]

A reader follows a request through the functions in the order in which they are entered, each once, and each part of a
plan once. A *stay* is a run of functions in one place, a *return* a stay in a place that was left before. Places are
rooms (packages, and modules beside them) or files. Interfaces and values (`WORDS`) are not walked to: they are words,
not steps. Each request is asked once before, so that caches are full. `WALK` prints one of the walks by file.

Calls are those of our own Python functions: for a further sample, a vote of 16 less a vote of 8, divided by 8.
"""

import asyncio
import contextlib
import io
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field
from inspect import CO_GENERATOR
from itertools import groupby
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Self

from reasoner.cli.group import run
from reasoner.serving.app import App, Keys
from reasoner.serving.config import ServerLimits, Settings, make_offer
from reasoner.serving.service import Service
from reasoner.testing.scripted import ScriptedEngine

PACKAGES = ("reasoner", "reasoner_strategies", "reasoner_verifiers", "reasoner_evals")
PATH = "/v1/chat/completions"
WORDS = {
    "types",
    "errors",
    "system",
    "specs",
    "budget",
    "engine",
    "strategy",
    "verifier",
    "models",
}
"""Rooms of the core that hold values, and the interfaces of plug-ins."""


@dataclass
class Walk:
    """The files of the functions that are entered, in order, and how many calls there are."""

    files: list[str] = field(default_factory=list)
    calls: int = 0
    _known: set[object] = field(default_factory=set)
    _functions: dict[CodeType, tuple[str, int]] = field(default_factory=dict)
    """The file of each function, and the instruction at which it is entered; it is resumed at others."""

    def __enter__(self) -> Self:
        sys.setprofile(self._enter)
        return self

    def __exit__(self, *_failure: object) -> None:
        sys.setprofile(None)

    def _enter(self, frame: FrameType, event: str, _argument: object) -> None:
        if event != "call":
            return
        code, at = frame.f_code, frame.f_lasti
        if code not in self._functions:
            self._functions[code] = file_of(code.co_filename), at
        file, entry = self._functions[code]
        if not file:
            return
        self.calls += at == entry
        step = (code, at) if code.co_flags & CO_GENERATOR else code
        if step not in self._known:
            self._known.add(step)
            if not is_word(file):
                self.files.append(file)

    def steps(self, *, by_room: bool) -> list[str]:
        """The stays, each with its place."""
        stays = [room_of(file) for file in self.files] if by_room else self.files
        return [stay for stay, _ in groupby(stays)]


def file_of(path: str) -> str:
    """A file of ours by its package and name; empty for others."""
    parts = Path(path).with_suffix("").parts
    return next(
        ("/".join(parts[parts.index(name) :]) for name in PACKAGES if name in parts), ""
    )


def is_word(file: str) -> bool:
    """Whether it holds values or interfaces."""
    package, room, *_ = file.split("/")
    return package == "reasoner" and room in WORDS


def room_of(file: str) -> str:
    """The package or module of a file; a package of plug-ins is one room."""
    package, _, rest = file.partition("/")
    return (
        f"{package}/{rest.partition('/')[0]}"
        if package in ("reasoner", "reasoner_evals")
        else package
    )


def solve() -> Walk:
    """One sample, from the command."""
    return command("solve", "What is 3 + 4?", "-e", "simulated", "-s", "single")


def evaluate() -> Walk:
    """One question with its report."""
    with tempfile.TemporaryDirectory() as folder:
        return command(
            "eval",
            "arithmetic",
            "--limit",
            "1",
            "-e",
            "simulated",
            "-s",
            "self_consistency:n=8",
            "--out",
            f"{folder}/run",
        )


def command(*arguments: str) -> Walk:
    """What a command walks."""
    with (
        contextlib.redirect_stdout(io.StringIO()),
        contextlib.redirect_stderr(io.StringIO()) as errors,
        Walk() as walk,
    ):
        code = run([*arguments])
    assert not code, errors.getvalue()
    return walk


def served(**fields: object) -> Walk:
    """A chat of a server, from its application."""
    return asyncio.run(_served(fields))


async def _served(fields: dict[str, object]) -> Walk:
    body = {
        "messages": [{"role": "user", "content": "What is 3 + 4?"}],
        "max_tokens": 64,
        **fields,
    }
    engine = ScriptedEngine(
        lambda request: f"The answer is {7 if request.index % 3 else 8}"
    )
    async with Service(
        engine, make_offer(Settings()), ServerLimits(), report=lambda *_: None
    ) as service:
        app = App(service, Keys())
        await _ask(app, json.dumps(body).encode())
        with Walk() as walk:
            await _ask(app, json.dumps(body).encode())
    return walk


async def _ask(app: App, body: bytes) -> None:
    """Send one request as a listener does."""
    left = asyncio.Event()
    parts = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not parts:
            await left.wait()
        return parts.pop()

    async def send(message: Any) -> None:
        assert message.get("status", 200) == 200, message

    headers = [
        (b"host", b"localhost"),
        (b"content-type", b"application/json"),
        (b"content-length", b"%d" % len(body)),
    ]
    scope = {
        "type": "http",
        "method": "POST",
        "path": PATH,
        "raw_path": PATH.encode(),
        "headers": headers,
        "query_string": b"",
    }
    await app(scope, receive, send)


WALKS: dict[str, Callable[[], Walk]] = {
    "solve": solve,
    "served": lambda: served(model="scripted"),
    "served vote of 8": lambda: served(model="scripted@vote8"),
    "eval": evaluate,
}


def main() -> None:
    if len(sys.argv) > 1:
        WALKS[sys.argv[1]]()
        print("\n".join(WALKS[sys.argv[1]]().steps(by_room=False)))
        return
    print(
        f"{'':18}{'rooms: stays':>14}{'returns':>9}{'files: stays':>14}{'returns':>9}{'calls':>9}"
    )
    for name, walk in WALKS.items():
        walk()
        walked = walk()
        rooms, files = walked.steps(by_room=True), walked.steps(by_room=False)
        figures = (
            len(rooms),
            len(rooms) - len(set(rooms)),
            len(files),
            len(files) - len(set(files)),
            walked.calls,
        )
        print("{:18}{:14,}{:9,}{:14,}{:9,}{:9,}".format(name, *figures))
    eight, sixteen = (
        served(model="scripted", reasoner={"strategy": f"self_consistency:n={n}"})
        for n in (8, 16)
    )
    print(f"{(sixteen.calls - eight.calls) / 8:.0f} calls for each further sample")


if __name__ == "__main__":
    main()
