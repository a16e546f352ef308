"""What `reasoner solve` reads: the question, the document that it is about, and earlier turns."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from reasoner.errors import UsageError
from reasoner.system.files import open_regular, parse_json

if TYPE_CHECKING:
    from reasoner.types import Message

MAX_LENGTH = 10_000_000
"""Bytes of a question or a file; more would not fit the context window of any model."""


def question_text(argument: str) -> str:
    """The question of the argument, or of standard input for `-`."""
    if argument == "-":
        return _decoded(sys.stdin.buffer, "the question on standard input")
    return _decoded(io.BytesIO(argument.encode("utf-8", "surrogatepass")), "the question")


def file_text(option: str, path: Path) -> str:
    """The text of the file that an option names.

    Raises:
        UsageError: it cannot be read, is too long, is not text or is empty.
    """
    try:
        with open_regular(path) as file:
            text = _decoded(file, f"{option} {path}")
    except OSError as error:
        raise UsageError(f"cannot read {option} {path}: {error.strerror}") from error
    if not text.strip():
        raise UsageError(f"{option} {path} is empty: omit it or give a file with text")
    return text


def read_messages(path: Path) -> "tuple[str, tuple[Message, ...], str]":
    """The system text, the earlier turns and the question of --messages, which is the last turn.

    The file is a list of objects with `role` and `content`, as OpenAI's API takes it, or one object on each line.

    Raises:
        UsageError: as `file_text`, or it holds something else; the message names the line or the entry.
    """
    from reasoner.types import Message

    turns: list[Message] = []
    for where, entry in _turns(path):
        match entry:
            case {"role": "system" | "user" | "assistant" as role, "content": str(content)} if content.strip():
                turns.append(Message(role, content))
            case _:
                raise UsageError(
                    f'{where} is not a turn: write {{"role": "user", "content": "..."}} (got {entry!r:.60})'
                )
        if role == "system" and len(turns) > 1:
            raise UsageError(f"{where}: a system turn must be the first")
    if not turns:
        raise UsageError(f"--messages {path} is an empty list: give at least one turn")
    if turns[-1].role != "user":
        raise UsageError(f"--messages {path} ends with a turn of the {turns[-1].role}: the last must be the user's")
    system = turns.pop(0).content if turns[0].role == "system" else ""
    return system, tuple(turns[:-1]), turns[-1].content


def _turns(path: Path) -> Iterator[tuple[str, Any]]:
    """Each turn of a file of JSON lines or a JSON list, with where it is."""
    name = f"--messages {path}"
    text = file_text("--messages", path)
    if text.lstrip().startswith("["):
        try:
            listed = parse_json(text)
        except ValueError as error:
            raise UsageError(f"{name} is not JSON: {error}") from error
        yield from ((f"{name}, entry {number}", entry) for number, entry in enumerate(listed, 1))
        return
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            try:
                yield f"{name}, line {number}", parse_json(line)
            except ValueError as error:
                raise UsageError(f"{name}, line {number} is not JSON: {error}") from error


def _decoded(file: IO[bytes], name: str) -> str:
    data = file.read(MAX_LENGTH + 1)
    if len(data) > MAX_LENGTH:
        raise UsageError(f"{name} is too long: the limit is {MAX_LENGTH:,} bytes")
    if b"\0" in data:
        raise UsageError(f"{name} is binary: convert it to plain text first")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UsageError(f"{name} is not UTF-8 text: convert it first") from error
